"""What a writer puts in, a reader gets out, with any tar as a witness."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ar_sync_pipeline.archive.errors import CorruptArchiveError, MemberChangedError
from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.member_names import name_problem
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive, verify_archive
from ar_sync_pipeline.archive.tar_layout import member_header
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline_tests.archive.building import (
    SNAPSHOT_AT,
    make_entry,
    make_manifest,
    make_source,
    write_archive,
)

NAMES = {
    "1234.jpeg": b"one",
    "-rf.jpeg": b"option",
    "ñandú grande $(reboot).jpeg": b"unicode",
    "2017/11/" + "largo" * 30 + ".jpeg": b"x" * 513,
    "empty.jpeg": b"",
    "block.jpeg": b"y" * 512,
}


def _read_all(path: Path) -> dict[str, bytes]:
    with open_archive(path) as reader:
        return {name: stream.read() for name, stream in reader.members()}


def test_every_member_comes_back_in_the_manifests_order(tmp_path: Path) -> None:
    source = make_source(tmp_path / "files", media=NAMES, tables={"AndroidRequests_bus": [b"rows"]})
    path = write_archive(tmp_path, source)

    contents = _read_all(path)

    assert list(contents) == [name for name, _, _ in source.manifest.members()]
    assert {name: contents[f"media/{name}"] for name in NAMES} == NAMES
    assert verify_archive(path, signing_keys=()) == source.manifest
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.size_bytes == path.stat().st_size


def test_pythons_tarfile_and_gnu_tar_read_the_archive_without_a_warning(tmp_path: Path) -> None:
    source = make_source(tmp_path / "files", media=NAMES, tables={"t": [b"rows"]})
    path = write_archive(tmp_path, source)
    names = ["manifest.json", *(name for name, _, _ in source.manifest.members())]

    with tarfile.open(path) as tar:
        assert tar.getnames() == names
        read = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    gnu = subprocess.run(
        ["tar", "--quoting-style=literal", "-tf", path], capture_output=True, check=True
    )

    assert read["media/-rf.jpeg"] == b"option"
    assert gnu.stdout.decode().splitlines() == names
    assert gnu.stderr == b""


@pytest.mark.parametrize("name", ["a", "é", "n" * 100, "n" * 101, "media/" + "ñ" * 500])
@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 2**50])
def test_headers_mean_to_tarfile_what_they_mean_here(name: str, size: int) -> None:
    header = member_header(name, size)
    last = tarfile.TarInfo.frombuf(header[-512:], "utf-8", "strict")

    assert len(header) % 512 == 0
    assert (last.type, last.mode, last.uid) == (tarfile.REGTYPE, 0o644, 0)
    needs_pax = not name.isascii() or len(name) > 100 or size >= 8**11
    assert (len(header) > 512) == needs_pax
    if not needs_pax:
        assert (last.name, last.size) == (name, size)
    if len(name) > 100 or not name.isascii():
        assert b" path=" + name.encode() + b"\n" in header
    if size >= 8**11:
        assert b" size=%d\n" % size in header


def test_the_same_archive_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    first = make_source(tmp_path / "a", media=NAMES)
    second = make_source(tmp_path / "b", media=NAMES)

    assert first.open().read() == second.open().read()


NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(NAME, st.binary(max_size=1100), max_size=5), st.data())
def test_any_offset_of_the_stream_is_that_offset_of_the_file(
    tmp_path: Path, media: dict[str, bytes], data: st.DataObject
) -> None:
    media = {name: content for name, content in media.items() if name_problem(name) is None}
    media = {name: content for name, content in media.items() if "/" not in name}
    folder = tmp_path / str(time.monotonic_ns())
    source = make_source(folder, media=media)
    path = write_archive(folder, source)
    whole = path.read_bytes()
    assert verify_archive(path, signing_keys=()) == source.manifest

    with source.open() as stream:
        for _ in range(4):
            offset = data.draw(st.integers(0, source.size_bytes + 10))
            count = data.draw(st.integers(0, 3000))
            assert stream.seek(offset) == offset
            assert stream.read(count) == whole[offset : offset + count]
            assert stream.tell() == max(offset, min(offset + count, len(whole)))
        assert stream.seek(-5, 2) == len(whole) - 5
        assert stream.read() == whole[-5:]


def test_what_a_reader_does_not_read_is_verified_all_the_same(tmp_path: Path) -> None:
    source = make_source(tmp_path / "files", media={"a.jpeg": b"a" * 5000, "b.jpeg": b"b"})
    path = write_archive(tmp_path, source)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"aaa")] ^= 1
    path.write_bytes(content)

    with open_archive(path) as reader:
        members = reader.members()
        _, stream = next(members)
        assert stream.read(10) == b"a" * 10
        with pytest.raises(CorruptArchiveError, match=r"media/a\.jpeg.*sha256"):
            next(members)


def test_a_partial_is_named_after_its_kind_and_snapshot(tmp_path: Path) -> None:
    window = Window(start=SNAPSHOT_AT - timedelta(minutes=5), end=SNAPSHOT_AT)
    source = make_source(tmp_path / "files", kind=ArchiveKind.PARTIAL, window=window)

    assert write_archive(tmp_path, source).name == (
        "NEW_backup_partial_20261123T153000.123456Z.tar"
    )


def test_d15_a_partial_without_a_picture_is_an_archive_like_any_other(tmp_path: Path) -> None:
    window = Window(start=SNAPSHOT_AT - timedelta(minutes=5), end=SNAPSHOT_AT)
    source = make_source(
        tmp_path / "files", kind=ArchiveKind.PARTIAL, window=window, tables={"t": [b"rows"]}
    )

    assert verify_archive(write_archive(tmp_path, source), signing_keys=()).media == ()


@pytest.mark.long
def test_d16_sixty_thousand_pictures_are_archived_and_read(tmp_path: Path) -> None:
    # One file stands for all of them: what is measured is members, not the file system.
    file = tmp_path / "picture"
    file.write_bytes(b"jpeg")
    model = make_entry("x.jpeg", b"jpeg")
    media = tuple(model.model_copy(update={"path": f"{n}.jpeg"}) for n in range(60_000))
    source = ArchiveSource(make_manifest(media=media), {entry.member: file for entry in media})
    path = write_archive(tmp_path, source)

    assert len(verify_archive(path, signing_keys=()).media) == 60_000


def test_d17_d18_d36_any_file_name_is_only_a_name(tmp_path: Path) -> None:
    names = [
        "-rf.jpeg",
        "--help",
        "ñandú-foto-grande.jpeg",
        "a b.jpeg",
        "$HOME `id` ;rm 'x\"y\\.jpeg",
    ]
    source = make_source(tmp_path / "files", media={name: name.encode() for name in names})

    contents = _read_all(write_archive(tmp_path, source))

    assert contents == {f"media/{name}": name.encode() for name in names}


def test_d40_an_archive_tells_nothing_of_the_machine_that_made_it(tmp_path: Path) -> None:
    source = make_source(tmp_path / "files", media={"a.jpeg": b"a"})
    path = write_archive(tmp_path, source)

    with tarfile.open(path) as tar:
        infos = tar.getmembers()

    assert [info.name for info in infos] == ["manifest.json", "media/a.jpeg"]
    assert {(i.uid, i.gid, i.uname, i.gname, i.mtime) for i in infos} == {
        (0, 0, "", "", datetime(1980, 1, 1, tzinfo=UTC).timestamp())
    }
    assert str(tmp_path).encode() not in path.read_bytes()


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def _rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def _link(path: Path) -> None:
    other = path.with_name("other")
    path.rename(other)
    path.symlink_to(other)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [_grow, _rewrite, _link, _empty, _pipe, Path.unlink])
def test_a_picture_that_changes_before_it_is_sent_stops_the_archive(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    source = make_source(tmp_path / "files", media={"a.jpeg": b"abc" * 1000, "b.jpeg": b"b"})
    change(tmp_path / "files" / "picture0")

    with pytest.raises(MemberChangedError, match=r"media/a\.jpeg"):
        source.write_to(tmp_path / "archive.tar")

    assert {path.name for path in tmp_path.iterdir()} == {"files"}
    with source.open() as stream:
        stream.seek(source.size_bytes - 2048 - 1024)
        with pytest.raises(MemberChangedError):
            stream.read()


def test_an_empty_picture_that_has_grown_stops_the_archive(tmp_path: Path) -> None:
    source = make_source(tmp_path / "files", media={"a.jpeg": b""})
    (tmp_path / "files" / "picture0").write_bytes(b"content")

    with pytest.raises(MemberChangedError):
        source.open().read()


def test_reading_from_the_middle_of_a_changed_member_is_no_way_round_the_check(
    tmp_path: Path,
) -> None:
    content = bytes(range(256)) * 40
    source = make_source(tmp_path / "files", media={"a.jpeg": content})
    (tmp_path / "files" / "picture0").write_bytes(b"\xff" + content[1:])

    with source.open() as stream:
        stream.seek(source.size_bytes - 1024 - 512)
        with pytest.raises(MemberChangedError, match="sha256"):
            stream.read()


def test_members_other_than_the_manifests_are_an_error_of_the_caller(tmp_path: Path) -> None:
    manifest = make_manifest(media=(make_entry("a.jpeg", b"a"),))

    with pytest.raises(ValueError, match="not those"):
        ArchiveSource(manifest, {})
    with pytest.raises(ValueError, match=r"'\.\.'"):
        ArchiveSource(make_manifest(media=(make_entry("../a", b"a"),)), {"media/../a": tmp_path})
