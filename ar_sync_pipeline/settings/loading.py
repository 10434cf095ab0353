"""Load a settings model from an environment: report all errors at once, without any secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from ar_sync_pipeline.errors import ValidationProblem, ValidationProblemsError
from ar_sync_pipeline.package_files import installed_path
from ar_sync_pipeline.redact import MASK, without_passwords
from ar_sync_pipeline.settings.places import settings_places
from ar_sync_pipeline.settings.values import INVALID_VALUE, nearest

PREFIX: Final = "AR_SYNC_"
# Read by the demo and the tests, not by a side.
_TOOLING = re.compile(r"AR_SYNC_(TEST|DEMO)_\w+|AR_SYNC_SAMPLE")
_LONGEST_SHOWN = 120

SettingsModel = TypeVar("SettingsModel", bound=BaseModel)


@dataclass(frozen=True)
class Variable:
    """Documentation of one variable, in the annotation of its field.

    Attributes:
        meaning: One sentence.
        example: Value that a settings file could contain; empty for a secret.
    """

    meaning: str
    example: str


@dataclass(frozen=True)
class DescribedVariable:
    """A variable as the documentation must show it; ``default`` is None if it is required."""

    name: str
    meaning: str
    example: str
    default: str | None
    secret: bool


@dataclass(frozen=True)
class SettingProblem(ValidationProblem):
    """One error of a variable; ``place`` is the variable with its value, masked if a secret."""

    variable: str


class SettingsError(ValidationProblemsError[SettingProblem]):
    """Settings that cannot be used, with every error in the order of the documentation.

    Args:
        side: ``sender`` or ``receiver``.
        problems: Validation errors, at least one.
        written_in: Where the settings are written; unless given, where commands and Dagster read
            them.
    """

    def __init__(
        self, side: str, problems: Sequence[SettingProblem], *, written_in: str | None = None
    ) -> None:
        super().__init__(
            f"the settings of the {side}",
            problems,
            remedy=f"correct {written_in or settings_places()}, then try again",
        )


def variable_name(field: str) -> str:
    """Return the name of the variable of a field of settings."""
    return PREFIX + field.upper()


def field_name(variable: str) -> str:
    """Return the name of the field that a variable sets."""
    return variable.removeprefix(PREFIX).lower()


@cache
def variables(model: type[BaseModel]) -> MappingProxyType[str, DescribedVariable]:
    """Return every variable of a side by its name, in the order of the model's fields."""
    described = {}
    for field, info in model.model_fields.items():
        about = next(part for part in info.metadata if isinstance(part, Variable))
        name = variable_name(field)
        default = None if info.is_required() else _as_text(info.default)
        secret = _mentions_secret(info.annotation)
        described[name] = DescribedVariable(name, about.meaning, about.example, default, secret)
    return MappingProxyType(described)


def load(
    model: type[SettingsModel],
    *,
    side: str,
    other: type[BaseModel],
    environ: Mapping[str, str],
    found_before: Iterable[SettingProblem] = (),
) -> SettingsModel:
    """Build a settings model; the environment may also contain variables of the ``other`` side.

    An empty variable counts as unset.

    Raises:
        SettingsError: A variable is missing, invalid or unknown, or ``found_before`` is not empty.
    """
    known = variables(model)
    given = given_variables(environ)
    problems = list(found_before)
    own = {field_name(name): value for name, value in given.items() if name in known}
    settings = None
    try:
        settings = model.model_validate(own)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems += [_problem(detail, known, given) for detail in details]
    places = {name: place for place, name in enumerate(known)}
    problems.sort(key=lambda found: places[found.variable])
    problems += _unknown(given, known, side, variables(other))
    if problems or settings is None:
        raise SettingsError(side, problems, written_in=_of_other_side(given, known, other, side))
    return settings


def given_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the set variables of the product, known or not; an empty one counts as unset."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(PREFIX) and value.strip() and not _TOOLING.fullmatch(name)
    }


def meant(name: str, known: Iterable[str], *, likeness: float = 0.6) -> list[str]:
    """Return the known names that an unknown one may mean, the likeliest first; several if unclear.

    Names that contain all words of the unknown name come before names that are only similar.

    Args:
        likeness: Minimum similarity of the two names, at most 1.
    """
    known = list(known)
    words = set(name.split("_"))
    longer = [one for one in known if words < set(one.split("_"))]
    guess = nearest(name, longer or known, likeness)
    if guess and not nearest(name.removeprefix(PREFIX), [guess.removeprefix(PREFIX)], 0.5):
        guess = None  # only the prefix is alike
    if guess is None:
        return longer
    return [guess, *(one for one in longer if one != guess)]


def _of_other_side(
    given: Mapping[str, str],
    known: Mapping[str, DescribedVariable],
    other: type[BaseModel],
    side: str,
) -> str | None:
    """Return where the settings are written if they are only those of the other side."""
    others = variables(other)
    if given.keys() & (known.keys() - others) or not given.keys() & (others.keys() - known):
        return None
    name = "receiver" if side == "sender" else "sender"
    return f"{settings_places()}, where the settings of the {name} are, not of the {side}"


def _problem(
    detail: ErrorDetails, known: Mapping[str, DescribedVariable], given: Mapping[str, str]
) -> SettingProblem:
    name = variable_name(str(detail["loc"][0]))
    variable = known[name]
    if detail["type"] == "missing":
        example = f", for example {variable.example}" if variable.example else ""
        remedy = f"set it: {variable.meaning.rstrip('.')}{example}"
        return SettingProblem(name, "is not set", remedy, name)
    facts: dict[str, Any] = detail.get("ctx", {})
    problem, remedy = (
        (facts["problem"], facts["remedy"])
        if detail["type"] == INVALID_VALUE
        else ("has a value that cannot be read", f"{variable.meaning.rstrip('.')}")
    )
    return SettingProblem(_shown(variable, given.get(name)), problem, remedy, name)


def _unknown(
    given: Mapping[str, str],
    known: Mapping[str, DescribedVariable],
    side: str,
    others: Mapping[str, DescribedVariable],
) -> list[SettingProblem]:
    """Return errors for variables of neither side, without their values, which may be secrets."""
    problems = []
    for name in sorted(given.keys() - known.keys() - others.keys()):
        guess = next(iter(meant(name, known) or meant(name, others)), None)
        settings_page = installed_path("docs/settings.md")
        remedy = f"did you mean {guess}?" if guess else f"remove it, or see {settings_page}"
        problems.append(SettingProblem(name, f"is no setting of the {side}", remedy, name))
    return problems


def _shown(variable: DescribedVariable, value: str | None) -> str:
    if value is None:
        return f"{variable.name}={variable.default} (the default)"
    if variable.secret or "PRIVATE KEY" in value:
        return f"{variable.name}={MASK}"
    text = without_passwords(value)
    if len(text) > _LONGEST_SHOWN:
        text = text[:_LONGEST_SHOWN] + "..."
    return f"{variable.name}={text if text.isprintable() else ascii(text)}"


def _mentions_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_mentions_secret, get_args(annotation)))


def _as_text(default: object) -> str:
    """Return a default as it is written in a settings file."""
    match default:
        case None | SecretStr():
            return ""
        case bool():
            return str(default).lower()
        case tuple():
            return ",".join(default)
        case Enum():
            return str(default.value)
        case _:
            return str(default)
