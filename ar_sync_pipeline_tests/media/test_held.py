"""Whether a file must be read to know that the receiver has it."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.media.held import HeldFiles, is_checked_by_content
from ar_sync_pipeline_tests.archive.building import make_entry

SECOND = 10**9
AT = 1_700_000_001 * SECOND + 123_456_000


@pytest.mark.parametrize(
    ("kept_ns", "is_read"),
    [
        (AT, False),
        (1_700_000_001 * SECOND, False),
        (1_700_000_000 * SECOND, False),
        (1_700_000_002 * SECOND, True),
        (1_699_999_999 * SECOND, True),
        (AT - 1000, True),
        (AT - SECOND, True),
    ],
    ids=["ext4", "ext3", "FAT", "later", "earlier", "a microsecond off", "a second off"],
)
def test_file_is_not_read_where_the_file_system_keeps_seconds_only(
    tmp_path: Path, kept_ns: int, is_read: bool
) -> None:
    """Other content of the same size shows whether it was read."""
    entry = make_entry("a.jpeg", b"right").model_copy(
        update={
            "modified_at": datetime.fromtimestamp(1_700_000_001, UTC).replace(microsecond=123456)
        }
    )
    (tmp_path / "a.jpeg").write_bytes(b"wrong")
    os.utime(tmp_path / "a.jpeg", ns=(kept_ns, kept_ns))
    day = datetime(2026, 12, 1, tzinfo=UTC)
    if is_checked_by_content("a.jpeg", day):
        day += timedelta(days=1)

    with closing(HeldFiles(tmp_path, dates=True)) as held:
        assert held.has(entry, day) is not is_read
