"""Masks: what is sent instead of a column's value.

The list of functions is closed, so that every masked row can be loaded at the receiver.
`ar_sync_pipeline.export.masking` contains their SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator
from pydantic_core import PydanticCustomError

Value = bool | int | float | str

UNITS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade")
MOST_DIGITS = 18
_MOST_CHARACTERS = 1_000_000


class MaskFunction(StrEnum):
    """Replacement of a value."""

    NULL = "null"
    """By NULL."""
    CONSTANT = "constant"
    """By one value for all rows."""
    PSEUDONYM = "pseudonym"
    """By a keyed hash: equal values stay equal, different ones stay different."""
    TRUNCATE = "truncate"
    """By the first characters of a text, or the beginning of a unit of time."""
    ROUND = "round"
    """By the nearest number with so many digits after the point."""


class Mask(BaseModel):
    """A function and its argument.

    In a catalog file it is ``"null"``, ``"pseudonym"``, ``{ constant = VALUE }``, ``{ truncate =
    CHARACTERS }``, ``{ truncate = "UNIT" }`` or ``{ round = DIGITS }``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: MaskFunction
    argument: Value | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, data: Any) -> Any:  # noqa: ANN401  what pydantic passes
        if isinstance(data, str) and data in {MaskFunction.NULL, MaskFunction.PSEUDONYM}:
            return {"function": data}
        if isinstance(data, dict) and len(data) == 1:
            ((name, argument),) = data.items()
            if name in _ARGUMENTS:
                takes, accepts = _ARGUMENTS[name]
                if not accepts(argument):
                    raise PydanticCustomError(
                        "mask_argument", "{name} takes {takes}", {"name": name, "takes": takes}
                    )
                return {"function": name, "argument": argument}
        raise PydanticCustomError(
            "mask",
            'a mask is "null", "pseudonym", { constant = VALUE }, { truncate = CHARACTERS or'
            ' "UNIT" } or { round = DIGITS }',
        )

    @property
    def constant_text(self) -> str:
        """Constant as the text that PostgreSQL reads."""
        return str(self.argument).lower() if isinstance(self.argument, bool) else str(self.argument)

    @model_serializer
    def _as_in_file(self) -> object:
        name = str(self.function)
        return name if self.argument is None else {name: self.argument}


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


_ARGUMENTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "constant": (
        "a text, a number, true or false",
        lambda v: isinstance(v, bool | int | float | str),
    ),
    "truncate": (
        f"a number of characters from 1 on, or a unit of time ({', '.join(UNITS)})",
        lambda v: v in UNITS or _is_whole(v, 1, _MOST_CHARACTERS),
    ),
    "round": (
        f"a number of digits from -{MOST_DIGITS} to {MOST_DIGITS}",
        lambda v: _is_whole(v, -MOST_DIGITS, MOST_DIGITS),
    ),
}
