"""A member that lists the media files: read back as written, refused in any other form."""

from __future__ import annotations

import hashlib
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import MEDIA_LIST_FORMAT, BaseArchive
from ar_sync_pipeline.archive.manifest_media import MEDIA_LIST_MEMBER, MediaEntry, MediaList
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
from ar_sync_pipeline.archive.media_list import ListedFile, write_media_list
from ar_sync_pipeline.archive.media_members import CarriedFile
from ar_sync_pipeline.archive.member_names import PathOrder, manifest_names_problem, name_problem
from ar_sync_pipeline.archive.reader import open_archive, verify_archive
from ar_sync_pipeline.archive.tar_layout import (
    END_OF_ARCHIVE,
    manifest_header,
    member_bytes,
    member_header,
    padding_bytes,
)
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline_tests.archive.building import (
    SNAPSHOT_AT,
    ListedFiles,
    make_entry,
    make_manifest,
    make_source,
    write_archive,
)

KEY = b"shared secret"
PICTURES = {
    "b.jpeg": b"b" * 3000,
    "a/1.jpeg": b"",
    "a-b.jpeg": b"x",
    "ñ/ñandú grande.jpeg": b"bird" * 200,
    "-rf.jpeg": b"option",
    "n" * 120 + ".jpeg": b"long name",
    "2017/" + "ñ" * 100 + ".jpeg": b"long and not ASCII",
}
SHA = hashlib.sha256(b"").hexdigest()


def line(path: str, size: object = 0, sha: str = SHA, modified: object = 0, sign: str = "-") -> str:
    return f"{path}\t{size}\t{sha}\t{modified}\t{sign}\n"


def lines(*paths: str) -> Iterator[ListedFile]:
    """Empty files."""
    return (ListedFile(path, 0, SHA, 0, carried=True) for path in paths)


def forged(folder: Path, text: bytes, rest: bytes = b"", **declared: Any) -> Path:
    """An archive around any list, declared as it is, unless ``declared`` says otherwise."""
    packed = zstd.compress(text)
    facts = {
        "size_bytes": len(packed),
        "raw_bytes": len(text),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "file_count": text.count(b"\n"),
        "file_bytes": 0,
        "carried_count": 0,
        "carried_bytes": 0,
        "archive_bytes": len(rest),
    }
    base = BaseArchive(archive_id=UUID(int=2), snapshot_at=SNAPSHOT_AT - timedelta(days=1))
    listed = MediaList(**(facts | declared))
    manifest = make_manifest(format=MEDIA_LIST_FORMAT, media_list=listed, base=base)
    content = manifest.to_json()
    path = folder / manifest.name.waiting
    path.write_bytes(
        manifest_header(len(content), hashlib.sha256(content).hexdigest())
        + content
        + bytes(padding_bytes(len(content)))
        + member_header(MEDIA_LIST_MEMBER, len(packed))
        + packed
        + bytes(padding_bytes(len(packed)))
        + rest
        + END_OF_ARCHIVE
    )
    return path


def refusal(path: Path, limits: ReadLimits | None = None) -> str:
    """The sentence in which the verification of an archive ends."""
    with pytest.raises(CorruptArchiveError) as caught:
        verify_archive(path, limits=limits or ReadLimits(), signing_keys=())
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence


def media_of(path: Path) -> list[MediaEntry]:
    with open_archive(path) as reader:
        return list(reader.media())


class TestRoundTrip:
    def test_the_files_are_read_as_they_are_listed_and_after_all_other_members(
        self, tmp_path: Path
    ) -> None:
        source = make_source(
            tmp_path / "files", media=PICTURES, tables={"t": [b"rows"]}, listed=True, key=KEY
        )
        path = write_archive(tmp_path, source)
        manifest = verify_archive(path, signing_keys=[KEY])
        assert (manifest, manifest.media) == (source.manifest, ())
        assert media_of(path) == [make_entry(name, PICTURES[name]) for name in sorted(PICTURES)]
        with open_archive(path) as reader:
            content = {name: stream.read() for name, stream in reader.members()}
        assert list(content)[:2] == [MEDIA_LIST_MEMBER, "tables/t.00000.copy.zst"]
        assert list(content)[2:] == [f"media/{name}" for name in sorted(PICTURES)]
        assert {n: content[f"media/{n}"] for n in PICTURES} == PICTURES

    def test_any_tar_reads_the_archive(self, tmp_path: Path) -> None:
        source = make_source(tmp_path / "files", media=PICTURES, listed=True)
        with tarfile.open(write_archive(tmp_path, source)) as tar:
            names = tar.getnames()
        assert names[:2] == ["manifest.json", MEDIA_LIST_MEMBER]
        assert names[2:] == [f"media/{name}" for name in sorted(PICTURES)]

    def test_figures_of_both_forms_are_equal(self, tmp_path: Path) -> None:
        inline = make_source(tmp_path / "a", media=PICTURES).manifest
        listed = make_source(tmp_path / "b", media=PICTURES, listed=True).manifest
        for name in (
            "media_count",
            "media_bytes",
            "carried_media_count",
            "carried_media_bytes",
            "carries_everything",
            "listed_count",
            "not_carried_count",
        ):
            assert getattr(listed, name) == getattr(inline, name), name

    def test_files_that_are_not_carried_take_no_space(self, tmp_path: Path) -> None:
        text = line("a.jpeg", 5) + line("b.jpeg", 7)
        path = forged(tmp_path, text.encode(), file_bytes=12)
        manifest = verify_archive(path, signing_keys=())
        assert (manifest.media_count, manifest.media_bytes) == (2, 12)
        assert (manifest.carried_media_count, manifest.carries_everything) == (0, False)
        assert [entry.carried for entry in media_of(path)] == [False, False]

    def test_any_offset_of_the_stream_is_that_offset_of_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ar_sync_pipeline.archive.media_members._MARK_EVERY", 2)
        folder = tmp_path / "files"
        source = make_source(folder, media=PICTURES, tables={"t": [b"rows"]}, listed=True)
        whole = write_archive(tmp_path, source).read_bytes()
        offsets = Random(7).choices(range(len(whole) + 10), k=300)  # noqa: S311  a test
        with source.open() as stream:
            for offset in offsets:
                stream.seek(offset)
                assert stream.read(1200) == whole[offset : offset + 1200]


class TestOrder:
    @given(st.lists(st.text("a/-0.", min_size=1, max_size=6), unique=True))
    def test_sorted_paths_are_refused_exactly_if_the_manifests_are(self, paths: list[str]) -> None:
        paths = sorted(path for path in paths if name_problem(path) is None)
        order = PathOrder()
        problems = [order.problem(path) for path in paths]
        entries = tuple(make_entry(path, b"") for path in paths)
        whole = manifest_names_problem(make_manifest(media=entries))
        assert any(problems) == (whole is not None)

    def test_it_holds_no_more_paths_than_a_path_has_characters(self) -> None:
        order = PathOrder()
        for number in range(20_000):
            assert order.problem(f"2017/{number:06}.jpeg") is None
        assert len(order._open) == 1  # noqa: SLF001  what the memory depends on


class TestHostileLists:
    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            (line("b") + line("a"), "not after"),
            (line("a") + line("a"), "not after"),
            (line("a") + line("a-b") + line("a/b"), "is a file and the folder of"),
            (line("../../etc/passwd"), "'..' component"),
            (line("/etc/passwd"), "empty or absolute"),
            (line("a//b"), "'' component"),
            (line("a\x1bb"), "U+001B"),
            (line("x" * 1025), "line 1 is not"),
            (line("x" * 300), "longer than 255 bytes"),
            (line(""), "line 1 is not that of a file"),
            (line("a", "01"), "line 1 is not"),
            (line("a", "-1"), "line 1 is not"),
            (line("a", 2**50 + 1), "line 1 is not"),
            (line("a", "1_0"), "line 1 is not"),
            (line("a", "٣"), "line 1 is not"),
            (line("a", sha=SHA.upper()), "line 1 is not"),
            (line("a", sha="abc"), "line 1 is not"),
            (line("a", modified=-(10**17)), "line 1 is not"),
            (line("a", modified="+5"), "line 1 is not"),
            (line("a", modified=10**17 * 9), "line 1 is not"),
            (line("a", sign="*"), "line 1 is not"),
            (line("a") + "\n", "line 2 is not"),
            (line("a")[:-1] + "\tmore\n", "line 1 is not"),
            (line("a")[:-1] + "\r\n", "line 1 is not"),
            (line("a") + line("b")[:-1], "last line has no end"),
            ("x" * 300_000, "longer than 4300 bytes"),
        ],
    )
    def test_line_that_is_not_one_is_refused(self, tmp_path: Path, text: str, fault: str) -> None:
        assert fault in refusal(forged(tmp_path, text.encode()))

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        text = line("a").encode().replace(b"a\t", b"\xff\xfe\t")
        assert "line 1 is not" in refusal(forged(tmp_path, text))

    @pytest.mark.parametrize(
        ("declared", "fault"),
        [
            ({"file_count": 3}, "its file_count is 2, and 3 in the manifest"),
            ({"file_count": 1}, "file_count"),
            ({"file_bytes": 1}, "file_bytes"),
            ({"sha256": "0" * 64}, "sha256 differs"),
            ({"raw_bytes": 10}, "holds more than the 10 bytes"),
            ({"raw_bytes": 100_000}, "where it declares 100000"),
            ({"archive_bytes": 512}, "truncated, 512 bytes are missing"),
            ({"carried_count": 1}, "carried_count"),
        ],
    )
    def test_list_that_differs_from_the_manifest_is_refused(
        self, tmp_path: Path, declared: dict[str, Any], fault: str
    ) -> None:
        text = (line("a") + line("b")).encode()
        assert fault in refusal(forged(tmp_path, text, **declared))

    def test_archive_may_be_as_large_as_a_list_can_state(self) -> None:
        """A first complete carries all files, be it terabytes, and none can be a smaller one."""
        numbers = ("size_bytes", "raw_bytes", "file_count", "file_bytes", "carried_count")
        facts = dict.fromkeys((*numbers, "carried_bytes"), 1)
        most = ReadLimits().archive_bytes
        assert MediaList(sha256=SHA, archive_bytes=most, **facts).archive_bytes == most
        with pytest.raises(ValidationError, match="archive_bytes"):
            MediaList(sha256=SHA, archive_bytes=most + 1, **facts)

    def test_carried_file_without_its_bytes_is_refused(self, tmp_path: Path) -> None:
        text = line("a", 5, hashlib.sha256(b"12345").hexdigest(), sign="+").encode()
        size = member_bytes("media/a", 5)
        declared = {"file_bytes": 5, "carried_bytes": 5, "carried_count": 1}
        whole = member_header("media/a", 5) + b"12345" + bytes(507)
        assert (
            verify_archive(forged(tmp_path, text, whole, **declared), signing_keys=()).media_count
            == 1
        )
        for rest in (bytes(size), whole.replace(b"media/a", b"media/b"), whole[:-507] + b"x" * 507):
            refusal(forged(tmp_path, text, rest, **declared))
        other = whole.replace(b"12345", b"12346")
        assert "sha256 differs" in refusal(forged(tmp_path, text, other, **declared))

    def test_bomb_is_refused_before_it_is_decompressed(self, tmp_path: Path) -> None:
        bomb = zstd.compress(bytes(64 * 1024**2))
        path = forged(tmp_path, bytes(64 * 1024**2), file_count=10)
        assert len(bomb) * 1000 < 64 * 1024**2
        assert "more than 1000 times" in refusal(path)

    def test_memory_does_not_depend_on_a_bomb_that_the_limits_allow(self, tmp_path: Path) -> None:
        path = forged(tmp_path, b"\n" * 15 * 1024**2)
        with peak_memory() as peak:
            assert "line 1 is not" in refusal(path)
        assert peak() < 8 * 1024**2

    @pytest.mark.parametrize("limit", ["media_count", "media_list_bytes"])
    def test_list_beyond_a_limit_is_refused(self, tmp_path: Path, limit: str) -> None:
        path = forged(tmp_path, (line("a") + line("b")).encode())
        assert "more than 1:" in refusal(path, ReadLimits(**{limit: 1}))

    @pytest.mark.long
    def test_flipped_bit_and_truncation_are_refused_anywhere(self, tmp_path: Path) -> None:
        source = make_source(tmp_path / "files", media=PICTURES, listed=True)
        path = write_archive(tmp_path, source)
        whole = path.read_bytes()
        for offset in range(0, len(whole), 11):
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << offset % 8
            path.write_bytes(damaged)
            refusal(path)
        for length in range(0, len(whole), 500):
            path.write_bytes(whole[:length])
            refusal(path)

    def test_list_that_is_replaced_while_it_is_read_is_refused_at_its_end(
        self, tmp_path: Path
    ) -> None:
        texts = [b"".join(line(f"{n:04}", n % 10).encode() for n in range(i, 3000)) for i in (0, 1)]
        path = forged(tmp_path, texts[0], file_bytes=13500)
        with open_archive(path) as reader:
            assert len(list(reader.media())) == 3000
            content = path.read_bytes()
            place = content.index(zstd.compress(texts[0])[:8])
            with path.open("r+b") as file:
                file.seek(place)
                file.write(zstd.compress(texts[1])[:20_000])
            with pytest.raises(CorruptArchiveError):
                list(reader.media())


class TestManifest:
    def test_list_needs_its_own_format_number_and_no_other_list(self, tmp_path: Path) -> None:
        listed = write_media_list(tmp_path / "list", lines("a"))
        with pytest.raises(ValueError, match="in format 3, 4 or 5, and in no other"):
            make_manifest(media_list=listed)
        with pytest.raises(ValueError, match="in format 3, 4 or 5, and in no other"):
            make_manifest(format=3)
        with pytest.raises(ValueError, match="the manifest and a member list media"):
            make_manifest(format=3, media_list=listed, media=(make_entry("a", b""),))
        with pytest.raises(ValueError, match="carries more files than it lists"):
            MediaList(**(listed.model_dump() | {"carried_count": 2}))
        with pytest.raises(ValueError, match="only a differential complete"):
            fewer = listed.model_copy(update={"carried_count": 0})
            make_manifest(format=3, media_list=fewer)

    def test_an_archive_without_a_list_does_not_mention_one(self) -> None:
        content = make_manifest().to_json()
        assert b"media_list" not in content
        assert parse_manifest(content, ReadLimits()).format == 1

    def test_signature_covers_the_list(self, tmp_path: Path) -> None:
        manifest = make_source(tmp_path / "files", media=PICTURES, listed=True, key=KEY).manifest
        assert manifest.media_list is not None
        other = manifest.media_list.model_copy(update={"sha256": "0" * 64})
        assert manifest.signature(KEY) == manifest.hmac
        assert manifest.model_copy(update={"media_list": other}).signature(KEY) != manifest.hmac


class TestWriter:
    def test_unsorted_and_unsafe_paths_are_not_written(self, tmp_path: Path) -> None:
        for paths in (["b", "a"], ["a", "a"], ["a", "a/b"], ["../a"]):
            with pytest.raises(ValueError, match="media name"):
                write_media_list(tmp_path / "list", lines(*paths))

    def test_files_that_are_not_those_of_the_list_are_refused(self, tmp_path: Path) -> None:
        source = make_source(tmp_path / "files", media=PICTURES, listed=True)
        members = {MEDIA_LIST_MEMBER: tmp_path / "files" / MEDIA_LIST_MEMBER}
        with pytest.raises(ValueError, match="not those that the media list carries"):
            ArchiveSource(source.manifest, members, media=ListedFiles([], {}))
        with pytest.raises(ValueError, match="without it, or it without them"):
            ArchiveSource(source.manifest, members)

    @pytest.mark.long
    def test_memory_does_not_grow_with_the_number_of_files(self, tmp_path: Path) -> None:
        peaks = {count: self._peak(tmp_path, count) for count in (3_000, 30_000)}
        assert peaks[30_000] < peaks[3_000] + 1024**2

    def _peak(self, folder: Path, count: int) -> int:
        (folder / "empty").touch()
        with peak_memory() as peak:
            listed = write_media_list(folder / MEDIA_LIST_MEMBER, _many(count))
            manifest = make_manifest(format=MEDIA_LIST_FORMAT, media_list=listed)
            members = {MEDIA_LIST_MEMBER: folder / MEDIA_LIST_MEMBER}
            source = ArchiveSource(manifest, members, media=_Many(count, folder / "empty"))
            path = write_archive(folder, source)
            assert verify_archive(path, signing_keys=()).media_count == count
        path.unlink()
        return peak()


class _Many:
    """Empty files, generated on demand."""

    def __init__(self, count: int, location: Path) -> None:
        self._count, self._location = count, location

    def carried_after(self, path: str) -> Iterator[CarriedFile]:
        folder, name = self._location.parent, self._location.name
        for file in _many(self._count):
            if file.path > path:
                yield CarriedFile(file.path, file.size_bytes, file.sha256, folder, name, None)


def _many(count: int) -> Iterator[ListedFile]:
    return (next(lines(f"report-{number:07}.jpeg")) for number in range(count))


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak of Python's memory in the block, in bytes."""
    tracemalloc.start()
    found = list[int]()
    try:
        yield lambda: found[0]
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
