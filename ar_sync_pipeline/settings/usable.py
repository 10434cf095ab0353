"""Settings of which some cannot be used, for a check of all that does not depend on those."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, Field, ValidationError, create_model

from ar_sync_pipeline.settings.loading import SettingsError, field_name, given_variables, variables

SettingsModel = TypeVar("SettingsModel", bound=BaseModel)
_NOT_SET = Field(default=None, validate_default=False)


class UnusableSettingError(Exception):
    """A setting was needed that has no usable value.

    It is no `ArSyncError`, which code on the way would take for an error of its own object.

    Attributes:
        variable: Name of the variable.
    """

    def __init__(self, variable: str) -> None:
        super().__init__(variable)
        self.variable = variable


def usable_settings(
    model: type[SettingsModel], error: SettingsError, environ: Mapping[str, str]
) -> SettingsModel | None:
    """Return the settings that are right; those that ``error`` names refuse to be read.

    None if the others cannot be read without them.
    """
    known = variables(model)
    wrong = {problem.variable for problem in error.problems} & known.keys()
    unset: dict[str, Any] = {field_name(name): (Any, _NOT_SET) for name in wrong}
    lax = create_model(model.__name__, __base__=model, **unset)
    given = given_variables(environ)
    values = {field_name(n): v for n, v in given.items() if n in known.keys() - wrong}
    try:
        settings = lax.model_validate(values)
    except ValidationError:
        return None
    for name in wrong:
        # It precedes the value of the instance (descriptor protocol).
        setattr(lax, field_name(name), property(partial(_refuse, name)))
    return settings


def _refuse(variable: str, _: BaseModel) -> NoReturn:
    raise UnusableSettingError(variable)
