"""An archive names tables and columns that it lacks, in a format of its own."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.archive.manifest import (
    CHANGES_FORMAT,
    COVERAGE_FORMAT,
    OMISSIONS_FORMAT,
    BaseArchive,
    Manifest,
)
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
from ar_sync_pipeline_tests.archive.building import SNAPSHOT_AT, make_manifest, make_table
from ar_sync_pipeline_tests.archive.test_coverage import BEFORE, SINCE, partial
from ar_sync_pipeline_tests.archive.test_differential_archives import make_changed

COMPUTED = make_table("t_event", generated=("total",))
BASE = BaseArchive(archive_id="00000000-0000-4000-8000-000000000007", snapshot_at=BEFORE)


@pytest.mark.parametrize(
    "manifest",
    [
        make_manifest(format=OMISSIONS_FORMAT, tables=(COMPUTED,)),
        make_manifest(format=OMISSIONS_FORMAT, tables=(COMPUTED,), base=BASE),
        partial(format=OMISSIONS_FORMAT, since=SINCE, uncovered=("t",), redefined=("t",)),
        partial(format=OMISSIONS_FORMAT, since=SINCE, gone=("t",)),
        make_changed(format=OMISSIONS_FORMAT, tables=(*make_changed().tables, COMPUTED)),
    ],
)
def test_manifest_keeps_them_beside_what_every_other_format_has(manifest: Manifest) -> None:
    assert parse_manifest(manifest.to_json(), ReadLimits()) == manifest


def test_older_receiver_reads_a_manifest_without_them() -> None:
    written = partial(since=SINCE, tables=(make_table("t", primary_key=("id",)),)).to_json()
    assert not any(name in written for name in (b"generated", b"redefined", b"gone"))


def test_they_need_their_own_format_number() -> None:
    for number in (1, CHANGES_FORMAT, COVERAGE_FORMAT):
        with pytest.raises(ValueError, match="in format 6, and in no other"):
            make_manifest(format=number, tables=(COMPUTED,))
    with pytest.raises(ValueError, match="in format 6, and in no other"):
        make_manifest(format=OMISSIONS_FORMAT)


def test_they_contradict_nothing_else() -> None:
    with pytest.raises(ValueError, match="sent and computed"):
        make_table("t_event", generated=("id",))
    with pytest.raises(ValueError, match="only a partial that starts from a point"):
        make_manifest(format=OMISSIONS_FORMAT, gone=("t",))
    with pytest.raises(ValueError, match="only a partial that starts from a point"):
        partial(format=OMISSIONS_FORMAT, redefined=("t",))
    with pytest.raises(ValueError, match="only a differential complete"):
        make_changed(format=OMISSIONS_FORMAT, tables=(*make_changed().tables, COMPUTED), base=None)
    with pytest.raises(ValueError, match="after its own snapshot"):
        late = BASE.model_copy(update={"snapshot_at": SNAPSHOT_AT})
        make_manifest(format=OMISSIONS_FORMAT, tables=(COMPUTED,), base=late)
