"""The first files of a side: settings and catalog, validated before anything is written."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ar_sync_pipeline.catalog.draft import as_toml
from ar_sync_pipeline.catalog.errors import CatalogError
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.masks import MaskFunction
from ar_sync_pipeline.settings.env_file import env_text
from ar_sync_pipeline.settings.model import (
    DescribedVariable,
    ReceiverSettings,
    SenderSettings,
    SettingProblem,
    SettingsError,
    load_receiver_settings,
    load_sender_settings,
    variables,
)
from ar_sync_pipeline.sync.setup.draft_catalog import draft_catalog
from ar_sync_pipeline.sync.setup.new_files import refuse_existing

SideName = Literal["sender", "receiver"]

CATALOG, DRAFT, BUILT_IN = "AR_SYNC_CATALOG", "draft", "android_requests"
_KEY, _TRANSFORM = "AR_SYNC_PRIVATE_KEY", "AR_SYNC_TRANSFORM"
_PSEUDONYMS = "AR_SYNC_PSEUDONYM_KEY"
_PSEUDONYM_KEY_BYTES = 32
_PORT, _THIS_HOST = "5432", ("", "localhost", "127.0.0.1", "::1")
_PLACE = ("service", "host", "hostaddr", "port", "dbname")
_WRITTEN_PSEUDONYM = re.compile(r"""["']pseudonym["']""")


@dataclass(frozen=True)
class FirstFiles:
    """Files to be written for a side.

    Attributes:
        side: ``sender`` or ``receiver``.
        contents: Text by path.
        psql: Command that runs SQL as a superuser in the side's database.
        catalog: Path of the catalog, or ``android_requests``.
        drafted: Whether the catalog is a proposal that must be read.
        new_key: Whether the settings contain a new secret for pseudonyms.
        pair: Name of the pair, which begins the names of its jobs; may be empty.
    """

    side: SideName
    contents: Mapping[Path, str]
    psql: str
    catalog: str
    drafted: bool
    new_key: bool = False
    pair: str = ""

    def next_commands(self) -> tuple[str, str, str]:
        """Return the commands to run next, in this order."""
        job = "complete_dump" if self.side == "sender" else "complete_loaddata"
        prefix = f"{self.pair}_" if self.pair else ""
        folder = next(iter(self.contents)).parent.absolute()
        # Every command reads the settings of the current folder.
        there = "" if folder == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
        return (
            f"{there}ar-sync grants {self.side} | {self.psql}",
            "ar-sync check",
            f"dagster job execute -m ar_sync_pipeline.{self.side} -j {prefix}{job}",
        )


def asked_variables(side: SideName) -> dict[str, DescribedVariable]:
    """Return the variables that `ar-sync init` asks for: required ones, and the sender's key."""
    known = known_variables(side)
    login = {_KEY} if side == "sender" else set()
    return {n: v for n, v in known.items() if v.default is None or n in login}


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:  # the check of the settings reports the unknown user
        return path


def known_variables(side: SideName) -> Mapping[str, DescribedVariable]:
    """Return all variables of a side."""
    return variables(SenderSettings if side == "sender" else ReceiverSettings)


def validation_problems(side: SideName, values: Mapping[str, str]) -> tuple[SettingProblem, ...]:
    """Return all validation errors of values, including missing ones.

    An SSH agent does not count: services have another agent than this shell, or none.
    """
    try:
        _load(side, values)
    except SettingsError as error:
        return error.problems
    return ()


def first_files(
    side: SideName, values: Mapping[str, str], catalog: str, folder: Path
) -> FirstFiles:
    """Prepare the files of a side; nothing is written.

    Args:
        side: ``sender`` or ``receiver``.
        values: Values by variable.
        catalog: ``draft`` (sender), ``android_requests``, or the path of a file.
        folder: Folder of the files.

    Raises:
        SettingsError: A value is invalid or missing.
        FileExistsAlreadyError: A file of this name exists.
        ArSyncError: The catalog or the database cannot be used.
    """
    _refuse_draft_at_the_receiver(side, catalog)
    env, drafted = folder / ".env", folder / "catalog.toml"
    refuse_existing([env, *([drafted] if catalog == DRAFT else [])])
    values = dict(values)
    # What the environment says gives way to what was chosen.
    values.pop(CATALOG, None)
    if catalog not in {DRAFT, BUILT_IN}:
        values[CATALOG] = _absolute(catalog)
    if catalog != BUILT_IN and side == "receiver":
        # The built-in transform knows the tables of one application.
        values.setdefault(_TRANSFORM, "none")
    pair = _load(side, values).pair
    contents: dict[Path, str] = {}
    if catalog == DRAFT:
        contents[drafted] = _drafted(values)
        values[CATALOG] = str(drafted.absolute())
        pseudonyms = _WRITTEN_PSEUDONYM.search(contents[drafted]) is not None
    else:
        pseudonyms = _has_pseudonyms(Path(values[CATALOG]) if CATALOG in values else None)
    new_key = side == "sender" and not values.get(_PSEUDONYMS) and pseudonyms
    if new_key:
        # Also for rules that are still comments: settings are not written a second time.
        values[_PSEUDONYMS] = secrets.token_hex(_PSEUDONYM_KEY_BYTES)
    url = conninfo_to_dict(values[f"AR_SYNC_{side.upper()}_DATABASE_URL"])
    files = {env: env_text(side, values)} | contents
    taken, is_drafted = values.get(CATALOG, BUILT_IN), bool(contents)
    return FirstFiles(side, files, _psql(url), taken, is_drafted, new_key=new_key, pair=pair)


def _psql(url: Mapping[str, object]) -> str:
    """Return the command that runs SQL as a superuser in the database of a URL."""
    if url.get("service"):
        # Its file says what the URL does not.
        place = {name: str(url[name]) for name in _PLACE if name in url}
        return shlex.join(["psql", "-d", make_conninfo(**place), "-U", "postgres"])
    host = str(url.get("host") or url.get("hostaddr") or "")
    port = str(url.get("port") or _PORT)
    words = ["psql"]
    if host and host not in _THIS_HOST:
        words += ["-h", host]
    if port != _PORT:
        words += ["-p", port]
    is_local = host in _THIS_HOST or host.startswith(("/", "@"))
    words = ["sudo", "-u", "postgres", *words] if is_local else [*words, "-U", "postgres"]
    words += ["-d", str(url.get("dbname") or url.get("user") or "DATABASE")]
    return shlex.join(words)


def _refuse_draft_at_the_receiver(side: SideName, catalog: str) -> None:
    if side == "receiver" and catalog == DRAFT:
        raise CatalogError(
            "a catalog is proposed from the sender's database, and this is the receiver",
            remedy="copy the sender's catalog.toml, and name it with --catalog",
        )


def _has_pseudonyms(file: Path | None) -> bool:
    """Return whether a catalog has pseudonyms, or rules with them that are still comments."""
    catalog = load_catalog(file)
    masks = (mask for rules in catalog.table.values() for mask in rules.mask.values())
    if any(mask.function is MaskFunction.PSEUDONYM for mask in masks):
        return True
    return file is not None and bool(_WRITTEN_PSEUDONYM.search(file.read_text("utf-8")))


def _drafted(values: Mapping[str, str]) -> str:
    media = values.get("AR_SYNC_SENDER_MEDIA_FLDR")
    return as_toml(
        draft_catalog(
            values["AR_SYNC_SENDER_DATABASE_URL"],
            values.get("AR_SYNC_RECEIVER_DATABASE_URL"),
            Path(media) if media else None,
        )
    )


def _load(side: SideName, values: Mapping[str, str]) -> SenderSettings | ReceiverSettings:
    try:
        return load_sender_settings(values) if side == "sender" else load_receiver_settings(values)
    except SettingsError as error:
        # There is no file of settings yet.
        raise SettingsError(side, error.problems, written_in="--set or the environment") from None
