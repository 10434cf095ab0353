"""Settings of one pair and side as the YAML of a Dagster component.

If several pairs share a code location, its environment can contain the settings of only one. The
YAML contains the values of the others, and for each secret the name of a variable.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from ar_sync_pipeline.settings.loading import field_name, variable_name
from ar_sync_pipeline.settings.model import SettingProblem, SettingsError, variables

_FROM_OUTSIDE = "SSH_AUTH_SOCK"
# Secrets of a pair's database and its signing key, which pairs cannot share.
_SECRETS_SHOWN = ("sender_database_url", "receiver_database_url", "signing_key")

_YAML = "the component's YAML or the variables that its secrets name"


class PairAttributes(dg.Model):
    """The attributes of both components."""

    settings: dict[str, Any] = Field(
        description="Settings by their names in docs/settings.md, in lower case and without"
        " AR_SYNC_, such as `partial_interval: 5`. No secret stands here.",
    )
    secrets: dict[str, str] = Field(
        default_factory=dict,
        description="For each secret setting the name of the environment variable that holds it,"
        " such as `sender_database_url: SANTIAGO_DATABASE_URL`.",
    )


def environment_of(
    attributes: PairAttributes, model: type[BaseModel], side: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment that the side would have in a process of its own.

    Raises:
        SettingsError: A secret is in the YAML, or its variable is not set.
    """
    problems = tuple(_problems(attributes, model, environ))
    if problems:
        raise SettingsError(side, problems, written_in=_YAML)
    made = {variable_name(name): _as_text(value) for name, value in attributes.settings.items()}
    made |= {variable_name(name): environ[held_by] for name, held_by in attributes.secrets.items()}
    return made | {name: environ[name] for name in (_FROM_OUTSIDE,) if name in environ}


@contextmanager
def read_from_yaml(side: str) -> Iterator[None]:
    """Let an error of the settings name the YAML, not the places of a side's own process."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(side, error.problems, written_in=_YAML) from None


class PairScaffolder(dg.Scaffolder[Any]):
    """Scaffolder of a component's YAML with all required settings of a side.

    Attributes:
        model: Settings model of the side.
    """

    model: type[BaseModel]

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write ``defs.yaml``, with examples as values."""
        pair = request.target_path.name
        known = variables(self.model)
        required = {field_name(name): one for name, one in known.items() if one.default is None}
        settings = {
            name: _example(name, one.example, pair)
            for name, one in required.items()
            if not one.secret
        }
        secrets = [name for name in _SECRETS_SHOWN if variable_name(name) in known]
        dg.scaffold_component(
            request,
            {
                "settings": {"pair": pair, **settings},
                "secrets": {name: f"{pair}_{name}".upper() for name in secrets},
            },
        )


def _problems(
    attributes: PairAttributes, model: type[BaseModel], environ: Mapping[str, str]
) -> Iterator[SettingProblem]:
    known = variables(model)
    for name in attributes.settings:
        variable = known.get(variable_name(name))
        if variable is not None and variable.secret:
            yield SettingProblem(
                f"settings.{name}",
                "is a secret, and is written in a file",
                f"write `{name}: NAME_OF_A_VARIABLE` below `secrets` and set that variable",
                variable.name,
            )
    for name, held_by in attributes.secrets.items():
        if not environ.get(held_by, "").strip():
            yield SettingProblem(
                f"secrets.{name}",
                f"the environment has no variable {held_by}",
                "set it for the code server, or name another one",
                variable_name(name),
            )


def _example(setting: str, example: str, pair: str) -> str:
    """Return an example value; pairs with the same folder would overwrite each other's files."""
    return f"{example}/{pair}" if setting.endswith("_fldr") else example


def _as_text(value: object) -> str:
    """Return a YAML value as the text of an environment variable."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list() | tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)
