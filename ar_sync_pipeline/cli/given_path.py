"""Type of the arguments and options that name a file or folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class GivenPath(click.Path):
    """A path that is not empty: a shell variable that is not set would name the current folder."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(
        self,
        value: Any,  # noqa: ANN401  as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401
        """Return the path, or fail as click does."""
        if value == "":
            self.fail("it is empty, such as by a shell variable that is not set", param, ctx)
        return super().convert(value, param, ctx)
