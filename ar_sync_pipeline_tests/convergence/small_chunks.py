"""Chunks of two keys: the few rows of a history fill several, some of which are carried."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.export import held_tables
from ar_sync_pipeline.export.chunk_totals import CountedChunk
from ar_sync_pipeline.postgres import digest


def use_small_chunks(patch: pytest.MonkeyPatch) -> None:
    """Patch the number of bits of a key that a chunk covers, at both sides.

    Most changed chunks are then carried as changes, however few rows they have.
    """
    patch.setattr(digest, "CHUNK_KEY_BITS", 1)
    patch.setattr(held_tables, "_pays", _is_partly_old)


def _is_partly_old(counted: CountedChunk, _: int) -> bool:
    return counted.new_rows < counted.row_count
