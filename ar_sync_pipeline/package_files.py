"""Paths of the pages and scripts that messages name, in a checkout or an installed wheel."""

from __future__ import annotations

import sys
from pathlib import Path

RUNBOOK = " Runbook: "
"""Introduces the runbook page at the end of a description."""

_CHECKOUT = Path(__file__).parents[1]
_INSTALLED = "share/ar_sync_pipeline"


def installed_path(path: str) -> str:
    """Return the path of a file in ``docs`` or ``deploy`` that the operator can open.

    Args:
        path: Path relative to the project root, as in a checkout.
    """
    return path if (_CHECKOUT / path).exists() else str(Path(sys.prefix) / _INSTALLED / path)


def runbook_page(name: str) -> Path:
    """Return the absolute path of a runbook page.

    Args:
        name: Name of the page, without its suffix.
    """
    return _CHECKOUT / installed_path(f"docs/runbook/{name}.md")


def see(name: str) -> str:
    """Return the end of a check description: the runbook page to read."""
    return f"{RUNBOOK}{runbook_page(name)}"


def package_text(path: str) -> str:
    """Return the content of a file in ``docs`` or ``deploy``."""
    return (_CHECKOUT / installed_path(path)).read_text("utf-8")
