"""The file of an archive, as an operator names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def archive_argument() -> Callable[[Command], Command]:
    """The argument ARCHIVE; a person, unlike the spool, may name a folder that is a link."""
    return click.argument(
        "archive",
        type=click.Path(path_type=Path),
        callback=lambda _context, _parameter, path: (
            path.parent.resolve() / path.name if path.parent.is_symlink() else path
        ),
    )
