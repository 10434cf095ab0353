"""Chunks of two keys: the few rows of a history fill several, some of which are carried."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.export import table_export
from ar_sync_pipeline.merge import staging
from ar_sync_pipeline.postgres import digest


def use_small_chunks(patch: pytest.MonkeyPatch) -> None:
    """Patch the number of bits of a key that a chunk covers, at both sides."""
    for module in (digest, table_export, staging):
        patch.setattr(module, "CHUNK_KEY_BITS", 1)
