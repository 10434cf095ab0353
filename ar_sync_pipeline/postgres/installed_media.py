"""A sample of the media files that the newest complete left in the receiver's media folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import may_read_ledger


@dataclass(frozen=True)
class InstalledMedia:
    """Where media files were installed.

    Attributes:
        mounted_at: Where the file system of the media folder was mounted.
        paths: Paths of some of the files, relative to the media folder.
    """

    mounted_at: str
    paths: tuple[str, ...]


def record_installed(connection: Connection, mounted_at: str, paths: Sequence[str]) -> None:
    """Replace the sample, in the transaction that applies a complete."""
    # Escaped: the encoding of the database may lack a character of a path.
    facts = json.dumps({"mounted_at": mounted_at, "paths": list(paths)})
    connection.execute(
        "INSERT INTO ar_sync.installed_media (facts) VALUES (%s)"
        " ON CONFLICT (only_one) DO UPDATE SET facts = excluded.facts",
        [facts],
    )


def read_installed(connection: Connection) -> InstalledMedia | None:
    """Return the sample; None: no complete was applied since the receiver's version records it."""
    if not may_read_ledger(connection, "installed_media"):
        return None
    row = connection.execute("SELECT facts FROM ar_sync.installed_media").fetchone()
    if row is None:
        return None
    facts = json.loads(row[0])
    return InstalledMedia(facts["mounted_at"], tuple(facts["paths"]))
