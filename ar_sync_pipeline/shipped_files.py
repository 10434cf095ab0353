"""Where the pages and scripts are that messages name: beside the code, or in an installed wheel."""

from __future__ import annotations

import sys
from pathlib import Path

_INSTALLED = "share/ar_sync_pipeline"


def shipped(path: str) -> str:
    """The path of a file of ``docs`` or ``deploy`` that the reader of a message can open.

    Args:
        path: relative to the project, as in a checkout.
    """
    if (Path(__file__).parents[1] / path).exists():
        return path
    return str(Path(sys.prefix) / _INSTALLED / path)


def shipped_text(path: str) -> str:
    """The content of such a file, wherever the process runs."""
    return (Path(__file__).parents[1] / shipped(path)).read_text("utf-8")
