"""Manifests of what waits in the spool: archives may continue those that no load takes yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.spool.states import list_applied, list_parked, list_waiting


def read_waiting(
    spool: Path, ledger: Sequence[AppliedArchive], signing_keys: Collection[bytes]
) -> dict[UUID, Manifest]:
    """Return the manifests, by archive id, of all archives that the ledger does not name.

    Those that cannot be read, or are not signed, are left out: their own check says why.
    """
    known, found = {line.name for line in ledger}, dict[UUID, Manifest]()
    for archive in (*list_waiting(spool), *list_parked(spool), *list_applied(spool)):
        if archive.name.applied in known:
            continue
        with suppress(ArSyncError, OSError), open_archive(archive.path) as reader:
            reader.check_signature(signing_keys)
            found[reader.manifest.archive_id] = reader.manifest
    return found
