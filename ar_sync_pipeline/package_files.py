"""Where the pages and scripts are that messages name: beside the code, or in an installed wheel."""

from __future__ import annotations

import sys
from pathlib import Path

RUNBOOK = " Runbook: "
"""Begins the end of a description that names a page."""

_CHECKOUT = Path(__file__).parents[1]
_INSTALLED = "share/ar_sync_pipeline"


def shipped(path: str) -> str:
    """The path of a file of ``docs`` or ``deploy`` that the reader of a message can open.

    Args:
        path: relative to the project, as in a checkout.
    """
    return path if (_CHECKOUT / path).exists() else str(Path(sys.prefix) / _INSTALLED / path)


def runbook_page(name: str) -> Path:
    """The file of a page of the runbook, for readers in any folder.

    Args:
        name: of the page, without its suffix.
    """
    return _CHECKOUT / shipped(f"docs/runbook/{name}.md")


def see(name: str) -> str:
    """The end of a check's description: which page of the runbook to read."""
    return f"{RUNBOOK}{runbook_page(name)}"


def package_text(path: str) -> str:
    """The content of such a file, wherever the process runs."""
    return (_CHECKOUT / shipped(path)).read_text("utf-8")
