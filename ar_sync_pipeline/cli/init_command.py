"""``ar-sync init``: writes the settings and the catalog of a side, from questions or options."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import click

from ar_sync_pipeline.cli.given_path import GivenPath
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.loading import PREFIX
from ar_sync_pipeline.settings.model import DescribedVariable, SettingsError
from ar_sync_pipeline.sync.setup.init_side import (
    BUILT_IN,
    DRAFT,
    FirstFiles,
    SideName,
    asked_variables,
    first_files,
    known_variables,
    validation_problems,
)
from ar_sync_pipeline.sync.setup.new_files import refuse_existing, write_new_files

_CHOICES: Mapping[SideName, str] = {
    "sender": "Catalog: a file, `draft` for a proposal, or `android_requests`",
    "receiver": "Catalog: the sender's file, or `android_requests`",
}


@click.command()
@click.argument("side", type=click.Choice(["sender", "receiver"]))
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A variable; repeatable.")
@click.option("--catalog", help="A file; `draft`, at the sender only; or `android_requests`.")
@click.option("--folder", type=GivenPath(), default=Path(), help="Where to write.")
@click.option("--no-input", is_flag=True, help="Ask nothing; a missing value is an error.")
@json_option
def init(
    side: SideName,
    given: tuple[str, ...],
    catalog: str | None,
    folder: Path,
    no_input: bool,
    as_json: bool,
) -> None:
    """Write the .env of SIDE, and at the sender a catalog proposed for its database.

    A catalog with pseudonyms gets a secret for them, unless one is given.

    Values come from --set, from environment variables, and from questions for missing required
    values. The input of a secret, such as the URL of a database, is not shown; a secret in --set is
    visible to other accounts of this machine while the command runs. All values are checked first:
    if one is wrong, nothing is written. Existing files are never overwritten. The new files are
    readable only for their owner.

    Exit codes: 0 written; 1 values are wrong or missing, and nothing is written; 2 a file exists
    already, the database or the catalog cannot be used, or an invalid call.
    """
    values = {n: v for n, v in os.environ.items() if n in known_variables(side) and v.strip()}
    values |= dict(map(_pair, given))
    try:
        refuse_existing([folder / ".env"])
        if not no_input:
            _ask(side, values)
        default = values.get("AR_SYNC_CATALOG") or (DRAFT if side == "sender" else BUILT_IN)
        if catalog is None and not no_input and "AR_SYNC_CATALOG" not in values:
            catalog = click.prompt(_CHOICES[side], default=default, err=True)
        files = first_files(side, values, catalog or default, folder)
        write_new_files(files.contents)
    except SettingsError as error:
        fail(error, as_json=as_json, exit_code=FOUND_WRONG)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    except OSError as error:
        raise click.UsageError(f"{folder} cannot be written to ({error.strerror})") from error
    _show(files, as_json)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {name} has no value: write --set NAME=VALUE")
    name = name.upper()
    return (name if name.startswith(PREFIX) else PREFIX + name), value


def _ask(side: SideName, values: dict[str, str]) -> None:
    """Ask for each missing required value until it is valid."""
    for variable in asked_variables(side).values():
        while not values.get(variable.name):
            answer = _answer(variable)
            problem = _problem(side, values | {variable.name: answer}, variable.name)
            if problem:
                click.echo(plain(problem), err=True)
            else:
                values[variable.name] = answer


def _answer(variable: DescribedVariable) -> str:
    example = f" For example: {variable.example}" if variable.example else ""
    click.echo(f"{variable.meaning}{example}", err=True)
    # Questions go to stderr, because the output may be JSON.
    answer: str = click.prompt(variable.name, hide_input=variable.secret, err=True)
    return answer


def _problem(side: SideName, values: Mapping[str, str], name: str) -> str:

    return "; ".join(str(one) for one in validation_problems(side, values) if one.variable == name)


def _show(files: FirstFiles, as_json: bool) -> None:
    written, commands = [str(path) for path in files.contents], files.next_commands()
    if as_json:
        shown = {"ok": True, "written": written, "next": list(commands)}
        more = {"catalog": files.catalog, "new_pseudonym_key": files.new_key}
        click.echo(json.dumps(shown | more))
        return
    for path in written:
        click.echo(plain(f"Written: {path}"))
    other = (
        " (built in); --catalog names another application's" if files.catalog == BUILT_IN else ""
    )
    click.echo(plain(f"Catalog: {files.catalog}{other}"))
    if files.new_key:
        click.echo(
            "AR_SYNC_PSEUDONYM_KEY is a new secret: keep a copy, since another one gives other"
            " pseudonyms."
        )
    if files.drafted:
        click.echo("Read catalog.toml first, and decide what its comments leave to you.")
    click.echo("Next:")
    for command in commands:
        click.echo(plain(f"  {command}"))
