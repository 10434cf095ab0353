"""Paths of the pages and scripts that messages name, in a checkout or an installed wheel."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]
_INSTALLED = "share/ar_sync_pipeline"
_DOCS_URL: ContextVar[str | None] = ContextVar("docs_url", default=None)
_LOCAL_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\)")


def installed_path(path: str) -> str:
    """Return the path of a file in ``docs`` or ``deploy`` that the operator can open.

    Args:
        path: Path relative to the project root, as in a checkout.
    """
    return path if (_CHECKOUT / path).exists() else str(Path(sys.prefix) / _INSTALLED / path)


def runbook_page(name: str, docs_url: str | None = None) -> str:
    """Return the address of a runbook page, or else its absolute path on this machine.

    Args:
        name: Name of the page, without its suffix.
        docs_url: Address under which the folder ``docs`` is published.
    """
    page = f"runbook/{name}.md"
    if docs_url:
        return f"{docs_url.rstrip('/')}/{page}"
    return str(_CHECKOUT / installed_path(f"docs/{page}"))


@contextmanager
def linked_to(docs_url: str | None) -> Iterator[None]:
    """Let the descriptions that are made in a block link to published pages."""
    token = _DOCS_URL.set(docs_url)
    try:
        yield
    finally:
        _DOCS_URL.reset(token)


def see(name: str) -> str:
    """Return the end of a check description: the runbook page to read, a link if there is one."""
    docs_url = _DOCS_URL.get()
    page = runbook_page(name, docs_url)
    return f" Runbook: [{name}]({page})" if docs_url else f" Runbook: {page}"


def runbook_text(name: str) -> str:
    """Return a runbook page as Markdown that can be shown elsewhere: other pages are named."""
    return _LOCAL_LINK.sub(r"\1", package_text(f"docs/runbook/{name}.md"))


def package_text(path: str) -> str:
    """Return the content of a file in ``docs`` or ``deploy``."""
    return (_CHECKOUT / installed_path(path)).read_text("utf-8")
