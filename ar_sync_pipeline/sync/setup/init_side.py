"""The first files of a side: settings and catalog, checked before anything is written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict

from ar_sync_pipeline.catalog.draft import as_toml
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.settings.env_file import env_text
from ar_sync_pipeline.settings.model import (
    DescribedVariable,
    ReceiverSettings,
    SenderSettings,
    SettingsError,
    ValidationProblem,
    load_receiver_settings,
    load_sender_settings,
    variables,
)
from ar_sync_pipeline.sync.setup.draft_catalog import draft_catalog
from ar_sync_pipeline.sync.setup.new_files import refuse_existing

SideName = Literal["sender", "receiver"]

CATALOG, DRAFT, SHIPPED = "AR_SYNC_CATALOG", "draft", "android_requests"
_KEY, _TRANSFORM = "AR_SYNC_PRIVATE_KEY", "AR_SYNC_TRANSFORM"


@dataclass(frozen=True)
class FirstFiles:
    """What is written for a side.

    Attributes:
        contents: by path.
        database: the name of the side's database.
        drafted: whether the catalog is a proposal that a person has to read.
    """

    side: SideName
    contents: Mapping[Path, str]
    database: str
    drafted: bool

    def next_commands(self) -> tuple[str, str, str]:
        """What follows, in this order."""
        job = "complete_dump" if self.side == "sender" else "complete_loaddata"
        return (
            f"ar-sync grants {self.side} | sudo -u postgres psql -d {shlex.quote(self.database)}",
            "ar-sync check",
            f"dagster job execute -m ar_sync_pipeline.{self.side} -j {job}",
        )


def asked_variables(side: SideName) -> dict[str, DescribedVariable]:
    """The variables that a person is asked for: the required ones, and how the sender logs in."""
    known = known_variables(side)
    login = {_KEY} if side == "sender" else set()
    return {n: v for n, v in known.items() if v.default is None or n in login}


def known_variables(side: SideName) -> Mapping[str, DescribedVariable]:
    """All variables of a side."""
    return variables(SenderSettings if side == "sender" else ReceiverSettings)


def validation_problems(side: SideName, values: Mapping[str, str]) -> tuple[ValidationProblem, ...]:
    """Everything that is wrong with values, what is missing included.

    An SSH agent does not count: the services have another one than this shell, or none.
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
        catalog: ``draft``, ``android_requests``, or the path of a file.
        folder: into which the files are written.

    Raises:
        SettingsError: a value is wrong or missing.
        FileExistsAlreadyError: a file of this name is there.
        ArSyncError: the catalog or the database cannot be used.
    """
    env, drafted = folder / ".env", folder / "catalog.toml"
    refuse_existing([env, *([drafted] if catalog == DRAFT else [])])
    values = dict(values)
    if catalog not in {DRAFT, SHIPPED}:
        values[CATALOG] = str(Path(catalog).expanduser().absolute())
    if catalog != SHIPPED and side == "receiver":
        # The built-in transform knows the tables of one application.
        values.setdefault(_TRANSFORM, "none")
    _load(side, values)
    contents: dict[Path, str] = {}
    if catalog == DRAFT:
        contents[drafted] = _drafted(values)
        values[CATALOG] = str(drafted.absolute())
    else:
        load_catalog(Path(values[CATALOG]) if CATALOG in values else None)
    url = conninfo_to_dict(values[f"AR_SYNC_{side.upper()}_DATABASE_URL"])
    database = str(url.get("dbname") or url.get("user") or "DATABASE")
    return FirstFiles(side, {env: env_text(side, values)} | contents, database, bool(contents))


def _drafted(values: Mapping[str, str]) -> str:
    media = values.get("AR_SYNC_SENDER_MEDIA_FLDR")
    return as_toml(
        draft_catalog(
            values["AR_SYNC_SENDER_DATABASE_URL"],
            values.get("AR_SYNC_RECEIVER_DATABASE_URL"),
            Path(media) if media else None,
        )
    )


def _load(side: SideName, values: Mapping[str, str]) -> None:
    if side == "sender":
        load_sender_settings(values)
    else:
        load_receiver_settings(values)
