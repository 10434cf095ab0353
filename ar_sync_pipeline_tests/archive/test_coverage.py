"""A partial says of which tables it may lack changes, in a format of its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ar_sync_pipeline.archive.manifest import COVERAGE_FORMAT, Manifest, Watermark, Window
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline_tests.archive.building import SNAPSHOT_AT, make_manifest

BEFORE = SNAPSHOT_AT - timedelta(minutes=5)
SINCE = Watermark(snapshot_at=BEFORE, snapshot="5:5:", system_identifier="7", timeline=1)


def partial(**fields: object) -> Manifest:
    window = Window(start=BEFORE, end=SNAPSHOT_AT)
    return make_manifest(kind=ArchiveKind.PARTIAL, window=window, **fields)


@pytest.mark.parametrize("uncovered", [(), ("t_event",)])
def test_manifest_keeps_it(uncovered: tuple[str, ...]) -> None:
    manifest = partial(format=COVERAGE_FORMAT, since=SINCE, uncovered=uncovered)
    assert parse_manifest(manifest.to_json(), ReadLimits()) == manifest


def test_older_receiver_reads_a_manifest_without_it() -> None:
    assert b"uncovered" not in partial(since=SINCE).to_json()


def test_it_needs_its_own_format_number() -> None:
    with pytest.raises(ValueError, match="in format 5, and in no other"):
        partial(since=SINCE, uncovered=())
    with pytest.raises(ValueError, match="in format 5, and in no other"):
        partial(format=COVERAGE_FORMAT, since=SINCE)


def test_only_a_partial_that_starts_from_a_point_says_it() -> None:
    with pytest.raises(ValueError, match="only a partial that starts from a point"):
        partial(format=COVERAGE_FORMAT, uncovered=())
    with pytest.raises(ValueError, match="only a partial that starts from a point"):
        make_manifest(format=COVERAGE_FORMAT, since=SINCE, uncovered=())
