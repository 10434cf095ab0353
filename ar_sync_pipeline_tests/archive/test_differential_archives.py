"""Archives that list members that they do not carry: read as strictly as any other."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from ar_sync_pipeline.archive import report
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import BaseArchive, Chunk, Manifest, Window
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive, verify_archive
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline_tests.archive.building import (
    SNAPSHOT_AT,
    make_entry,
    make_manifest,
    make_source,
    make_table,
    write_archive,
)

BASE = BaseArchive(archive_id=UUID(int=9), snapshot_at=SNAPSHOT_AT - timedelta(days=1))


def make_differential(folder: Path) -> ArchiveSource:
    """Carries the second of two chunks and the first of two files."""
    whole = make_source(
        folder, tables={"bus": [b"one", b"two"]}, media={"a.jpeg": b"a", "b.jpeg": b"b"}
    )
    (table,) = whole.manifest.tables
    first, second = table.chunks
    chunks = (first.model_copy(update={"carried": False}), second)
    carried, other = whole.manifest.media
    manifest = whole.manifest.model_copy(
        update={
            "format": 2,
            "base": BASE,
            "tables": (table.model_copy(update={"chunks": chunks}),),
            "media": (carried, other.model_copy(update={"carried": False})),
        }
    )
    members = {
        second.member: folder / second.member.rpartition("/")[2],
        carried.member: folder / "picture0",
    }
    return ArchiveSource(manifest, members)


def test_it_lists_everything_and_contains_what_is_carried(tmp_path: Path) -> None:
    path = write_archive(tmp_path, make_differential(tmp_path / "members"))
    with open_archive(path) as reader:
        manifest = reader.manifest
        names = [name for name, stream in reader.members() if stream.read() is not None]
    assert names == ["tables/bus.00001.copy.zst", "media/a.jpeg"]
    assert (manifest.row_count, manifest.listed_count, len(manifest.media)) == (2, 4, 2)
    assert not manifest.carries_everything
    shown = dict(report.facts(manifest))
    assert shown["carries"].startswith("1 of 2 chunks and 1 of 2 files; the receiver should have")
    carried = report.summary(manifest)["carried"]
    assert (carried["chunk_count"], carried["file_count"]) == (1, 1)
    assert carried["base"]["archive_id"] == str(BASE.archive_id)


def test_carried_members_are_compared_with_the_manifest(tmp_path: Path) -> None:
    path = write_archive(tmp_path, make_differential(tmp_path / "members"))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"a" + bytes(100))
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptArchiveError, match="its sha256 differs"):
        verify_archive(path, signing_keys=())


def test_member_that_is_not_carried_must_not_be_in_the_file(tmp_path: Path) -> None:
    """The bytes of a whole archive around the manifest of a differential one."""
    source = make_differential(tmp_path / "members")
    path = write_archive(tmp_path, source)
    with path.open("ab") as file:
        file.write(bytes(1024))
    with pytest.raises(CorruptArchiveError, match="1024 bytes too many"):
        verify_archive(path, signing_keys=())


def test_archive_that_carries_everything_says_nothing_of_it(tmp_path: Path) -> None:
    """An older receiver forbids fields that it does not know."""
    source = make_source(tmp_path / "m", tables={"bus": [b"one"]}, media={"a.jpeg": b"a"})
    content = source.manifest.to_json()
    assert b"carried" not in content
    assert b'"base":' not in content
    assert json.loads(content)["format"] == 1


@pytest.mark.parametrize("key", [None, b"shared secret"])
def test_manifest_is_read_as_it_was_written(tmp_path: Path, key: bytes | None) -> None:
    manifest = make_differential(tmp_path / "members").manifest
    manifest = manifest.signed(key) if key else manifest
    assert parse_manifest(manifest.to_json(), ReadLimits()) == manifest


CHUNK = {
    "member": "tables/bus.00000.copy.zst",
    "key_range": None,
    "row_count": 0,
    "size_bytes": 1,
    "raw_bytes": 1,
    "sha256": "0" * 64,
    "digest": "0",
}
ABSENT = make_entry("a.jpeg", b"a").model_copy(update={"carried": False})


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"format": 2}, "names its base"),
        ({"base": BASE}, "names its base"),
        ({"format": 1, "media": (ABSENT,)}, "only a differential complete"),
        (
            {"base": BASE, "format": 2, "kind": ArchiveKind.PARTIAL, "window": "window"},
            "only a complete can be differential",
        ),
        (
            {"base": BASE.model_copy(update={"snapshot_at": SNAPSHOT_AT}), "format": 2},
            "after its own snapshot",
        ),
        (
            {"base": BASE, "format": 2, "media": (ABSENT, make_entry("a.jpeg", b"b"))},
            "a member is listed twice",
        ),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], problem: str) -> None:
    if "window" in fields:
        window = Window(start=SNAPSHOT_AT - timedelta(minutes=5), end=SNAPSHOT_AT)
        fields = fields | {"window": window}
    with pytest.raises(ValidationError, match=problem):
        make_manifest(**fields)


def test_changed_keys_must_be_carried() -> None:
    keys = Chunk.model_validate(CHUNK | {"member": "tables/bus.keys.copy.zst", "carried": False})
    with pytest.raises(ValidationError, match="changed keys are not carried"):
        make_table("bus", changed_keys=keys)


def test_names_that_are_not_carried_are_checked_too() -> None:
    manifest = make_manifest(base=BASE, format=2)
    absent = make_entry("../secret.jpeg", b"a").model_copy(update={"carried": False})
    manifest = Manifest.model_validate(manifest.model_copy(update={"media": (absent,)}))
    with pytest.raises(CorruptArchiveError, match="component"):
        parse_manifest(manifest.to_json(), ReadLimits())


def test_listed_members_count_against_the_limit() -> None:
    media = tuple(
        make_entry(f"{n}.jpeg", b"a").model_copy(update={"carried": False}) for n in range(3)
    )
    manifest = make_manifest(base=BASE, format=2, media=media)
    with pytest.raises(CorruptArchiveError, match="lists 3 members, more than 2"):
        parse_manifest(manifest.to_json(), ReadLimits(member_count=2))


KEY_RANGE = {"low": 0, "high": 65536}
ROWS = CHUNK | {"key_range": KEY_RANGE, "row_count": 9, "changed_rows": 2}
KEYS = Chunk.model_validate(CHUNK | {"member": "tables/bus.absent.copy.zst"})


def make_changed(**fields: Any) -> Manifest:
    """Carries one chunk as a change."""
    table = make_table("bus", row_count=9, chunks=(Chunk.model_validate(ROWS),), absent_keys=KEYS)
    return make_manifest(**{"format": 4, "base": BASE, "tables": (table,)} | fields)


def test_change_is_listed_with_the_content_that_it_leads_to() -> None:
    manifest = make_changed()
    assert parse_manifest(manifest.to_json(), ReadLimits()) == manifest
    (chunk,) = manifest.tables[0].changes
    assert (chunk.row_count, chunk.member_rows) == (9, 2)
    assert [name for name, _, _ in manifest.members()] == [
        "tables/bus.00000.copy.zst",
        "tables/bus.absent.copy.zst",
    ]
    listed = chunk.not_carried("tables/bus.00007.copy.zst")
    assert (listed.is_change, listed.carried, listed.row_count) == (False, False, 9)


@pytest.mark.parametrize("fields", [{"format": 2}, {"format": 1, "base": None}])
def test_changes_have_a_format_of_their_own(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="chunks are carried as changes in format 4"):
        make_changed(**fields)


def test_format_of_changes_has_some() -> None:
    with pytest.raises(ValidationError, match="chunks are carried as changes in format 4"):
        make_changed(tables=())


@pytest.mark.parametrize("fields", [{"changed_rows": 10}, {"key_range": None}, {"carried": False}])
def test_impossible_changes_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a change is carried, has a key range"):
        Chunk.model_validate(ROWS | fields)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"absent_keys": None}, "absent keys do not belong"),
        ({"chunks": (), "row_count": 0}, "absent keys do not belong"),
        (
            {"absent_keys": KEYS.model_copy(update={"carried": False})},
            "absent keys are not carried",
        ),
    ],
)
def test_absent_keys_belong_to_changes(fields: dict[str, Any], problem: str) -> None:
    chunks = (Chunk.model_validate(ROWS),)
    usual = {"row_count": 9, "chunks": chunks, "absent_keys": KEYS}
    with pytest.raises(ValidationError, match=problem):
        make_table("bus", **usual | fields)
