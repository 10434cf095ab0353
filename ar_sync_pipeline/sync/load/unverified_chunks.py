"""Chunks that a late complete could not verify; the sender's next complete carries them whole.

Later archives have changed them, so that the digests of the complete are not those of the
receiver's rows. A chunk that is carried whole is verified however late it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from uuid import UUID

from ar_sync_pipeline.archive.manifest import Chunk
from ar_sync_pipeline.spool.lacking import MOST_UNVERIFIED_CHUNKS, Lacking
from ar_sync_pipeline.sync.load.stage_archives import StagedArchive


def unverified_chunks(archive: StagedArchive) -> dict[str, list[Chunk]]:
    """Return the chunks of an archive that are not compared, by table."""
    found = {
        table.target.name: [c for c in table.manifest.chunks if c.member in table.unverified]
        for table in archive.tables
    }
    return {table: chunks for table, chunks in found.items() if chunks}


def chunks_to_carry(archive_id: UUID, unverified: Mapping[str, Sequence[Chunk]]) -> Lacking:
    """Return what the next complete should carry whole: others each time, if there are many.

    Args:
        archive_id: Id of the archive that could not verify them.
    """
    found = [(table, chunk) for table, chunks in unverified.items() for chunk in chunks]
    found.sort(key=lambda one: hashlib.sha256(f"{archive_id}/{one[1].member}".encode()).digest())
    chosen = dict[str, list[Chunk]]()
    for table, chunk in found[:MOST_UNVERIFIED_CHUNKS]:
        chosen.setdefault(table, []).append(chunk)
    return Lacking.of(chosen, [])
