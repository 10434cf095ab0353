"""Two equal servers whose completes carry chunks as changes."""

from __future__ import annotations

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline_tests.sync.fix_differential import (
    assert_equal,
    load,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender


def equal_pair(media_sender: MediaSender) -> MediaSender:
    """Two equal servers: 2,000 children in chunk 0, and 1,100 in each of the chunks -1, 1, 2.

    Chunk 2 has every third key only. There are 1,550 parents, in one chunk.
    """
    media_sender.sites.at_sender(
        "INSERT INTO app_parent SELECT n, 'c' || n, 'label ' || n FROM generate_series(51, 1550) n",
        "INSERT INTO app_child (id, parent_id, amount, changed)"
        " SELECT (n << 16) + k * (2 * n - 1), 1, k, now() - interval '1 day'"
        " FROM generate_series(1, 2) n, generate_series(0, 1099) k",
        "INSERT INTO app_child (id, parent_id, amount) SELECT -k, 2, k"
        " FROM generate_series(1, 1100) k",
    )
    media_sender.complete()
    load(media_sender)
    assert_equal(media_sender)
    return media_sender


def changes(manifest: Manifest, table: str = "app_child") -> dict[int, int]:
    """Number of rows in each chunk of a table that is carried as a change."""
    found = next(one for one in manifest.tables if one.name == table)
    return {c.key_range.low >> 16: c.member_rows for c in found.changes if c.key_range}


def complete_after(pair: MediaSender, *statements: str) -> Manifest:
    pair.sites.at_sender(*statements)
    return pair.complete()
