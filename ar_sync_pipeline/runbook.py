"""Where the runbook's pages are: beside the source code, or inside an installed wheel."""

from pathlib import Path

RUNBOOK = " Runbook: "
"""Begins the end of a description that names a page."""

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE.parent / "docs" / "runbook", _PACKAGE / "docs" / "runbook")


def runbook_page(name: str) -> Path:
    """The file of a page, by its name without the suffix."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
    return folder / f"{name}.md"


def see(name: str) -> str:
    """The end of a check's description: which page to read."""
    return f"{RUNBOOK}{runbook_page(name)}"
