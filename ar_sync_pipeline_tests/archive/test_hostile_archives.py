"""Whatever the bytes are, reading them ends in one `CorruptArchiveError`, with little memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ar_sync_pipeline.archive.errors import (
    CorruptArchiveError,
    NewerFormatError,
    UnreadableArchiveError,
    UnsignedArchiveError,
)
from ar_sync_pipeline.archive.manifest import NEWEST_FORMAT, Chunk, Manifest
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
from ar_sync_pipeline.archive.reader import open_archive, verify_archive
from ar_sync_pipeline.archive.tar_layout import (
    END_OF_ARCHIVE,
    manifest_header,
    member_header,
    padding_bytes,
)
from ar_sync_pipeline_tests.archive.building import (
    make_entry,
    make_manifest,
    make_source,
    make_table,
    write_archive,
)

NAME = make_manifest().name.waiting
KEY = b"shared secret"
EMPTY_FRAME = b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"
_one_folder = settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def refusal(path: Path, *, key: bytes | None = None) -> CorruptArchiveError:
    """The one error in which verifying ends; its sentence is one line and has an end."""
    with pytest.raises(CorruptArchiveError) as caught:
        verify_archive(path, signing_keys=[key] if key else [])
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert sentence.endswith(".")
    assert len(sentence) < 1000
    return caught.value


def forge(folder: Path, manifest_json: bytes, rest: bytes = END_OF_ARCHIVE) -> Path:
    """An archive around any manifest: what an attacker who knows the format can make."""
    digest = hashlib.sha256(manifest_json).hexdigest()
    path = folder / NAME
    path.write_bytes(
        manifest_header(len(manifest_json), digest)
        + manifest_json
        + bytes(padding_bytes(len(manifest_json)))
        + rest
    )
    return path


def member(name: str, content: bytes) -> bytes:
    return member_header(name, len(content)) + content + bytes(padding_bytes(len(content)))


def altered(change: Callable[[dict[str, Any]], object], **fields: Any) -> bytes:
    """Canonical JSON of a manifest that was changed without the models."""
    content = json.loads(make_manifest(**fields).to_json())
    change(content)
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    source = make_source(
        tmp_path / "files",
        media={"a.jpeg": b"picture" * 100, "ñ.jpeg": b"", "b.jpeg": b"x" * 1024},
        tables={"t": [b"rows" * 50, b"more rows"]},
        key=KEY,
    )
    return write_archive(tmp_path, source)


@pytest.mark.long
def test_d12_a_flipped_byte_anywhere_is_refused(archive: Path) -> None:
    whole = archive.read_bytes()
    for offset in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        archive.write_bytes(damaged)
        refusal(archive)


def test_d12_an_archive_truncated_anywhere_is_refused_before_a_member_is_read(
    archive: Path,
) -> None:
    whole = archive.read_bytes()
    for length in [*range(0, len(whole), 512), 1, 100, 1535, 1537, len(whole) - 1]:
        archive.write_bytes(whole[:length])
        with pytest.raises(CorruptArchiveError), open_archive(archive):
            pass


def test_an_appended_byte_is_refused(archive: Path) -> None:
    whole = archive.read_bytes()
    for tail in (b"x", b"\0", bytes(10240), whole):
        archive.write_bytes(whole + tail)
        assert "too many at its end" in str(refusal(archive))


@_one_folder
@given(content=st.binary(max_size=4000))
def test_any_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    refusal(path)


@pytest.mark.long
@_one_folder
@given(content=st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_json_or_none_in_the_manifests_place_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(forge(tmp_path, content))


JSON_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [10**30, -(2**63) - 1, 1e300, "", "x", "5", "NaN", [], {}, [[]], "\x00", "../"]
    )
    | st.text(max_size=20)
)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    paths = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            paths += _paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            paths += _paths(inner, (*path, index))
    return paths


@_one_folder
@given(data=st.data())
def test_a_manifest_with_any_value_of_any_type_is_read_or_refused(
    tmp_path: Path, data: st.DataObject
) -> None:
    source = make_source(tmp_path / "f", media={"a.jpeg": b"a"}, tables={})
    content = json.loads(source.manifest.to_json())
    content["tables"] = [
        json.loads(make_table("t", chunks=(_chunk(),), row_count=1).model_dump_json())
    ]
    *parents, last = data.draw(st.sampled_from(_paths(content)))
    target = content
    for step in parents:
        target = target[step]
    target[last] = data.draw(JSON_VALUES)
    raw = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        parsed = parse_manifest(raw.encode("utf-8", "surrogatepass"), ReadLimits())
    except CorruptArchiveError:
        return
    assert isinstance(parsed, Manifest)


def _chunk(**fields: Any) -> Chunk:
    defaults: dict[str, Any] = {
        "member": "tables/t.00000.copy.zst",
        "key_range": None,
        "row_count": 1,
        "size_bytes": 10,
        "raw_bytes": 10,
        "sha256": "0" * 64,
        "digest": "0",
    }
    return Chunk(**(defaults | fields))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"format":1' + b"," * 5_000_000 + b"}",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"{" + b'"format":' + b"9" * 10_000 + b"}",
        b'{"format":NaN}',
        b'{"format":true}',
        b'{"format":"1"}',
        b'{"format":0}',
        b'{"format":1,"format":1}',
        b'{"archive_id":"\\ud800","format":1}',
        b'{"format":1}\xff',
        altered(lambda m: m.update(unknown=1)),
        altered(lambda m: m.update(snapshot_at="0001-01-01T00:00:00+14:00")),
        altered(lambda m: m.update(snapshot_at="2026-11-23T15:30:00")),
        altered(lambda m: m.update(snapshot_at=1)),
        altered(lambda m: m.update(kind="partial")),
        altered(lambda m: m.update({"evil\n\x1b[31m": 1})),
        json.dumps(json.loads(make_manifest().to_json())).encode(),  # blanks
    ],
)
def test_a_bad_manifest_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    assert "manifest" in str(refusal(forge(tmp_path, content)))


FILLED = {
    "empty lists in a key that does not exist": b'{"format":1,"x":[%s]}'
    % b",".join([b"[]"] * 10**6),
    "empty objects for tables": b'{"format":1,"tables":[%s]}' % b",".join([b"{}"] * 10**6),
    "few objects for media": b'{"format":1,"media":[%s]}' % b",".join([b"{}"] * 40_000),
    "wrong texts for migrations": b'{"format":1,"migrations":[%s]}' % b",".join([b"1"] * 10**5),
    "keys that do not exist": b"{%s}" % b",".join(b'"a%d":0' % n for n in range(10**5)),
    "nothing but commas": b'{"format":1%s}' % (b"," * 10**7),
}
MEASURE = """
import pathlib, sys
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
def peak_kib():
    # Not ru_maxrss, which a process inherits from whoever started it.
    words = pathlib.Path("/proc/self/status").read_text().split()
    return int(words[words.index("VmHWM:") + 1])
content = sys.stdin.buffer.read()
before = peak_kib()
try:
    parse_manifest(content, ReadLimits())
except CorruptArchiveError:
    print(peak_kib() - before)
"""


@pytest.mark.parametrize("filling", FILLED)
def test_a_small_manifest_never_costs_much_memory(filling: str) -> None:
    # In a process of its own: the parser's memory is not Python's, tracemalloc does not see it.
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE], input=FILLED[filling], capture_output=True, check=True
    )

    grown_kib = int(measured.stdout)
    assert grown_kib < 100 * 1024


def test_a_later_format_was_made_by_a_newer_version(tmp_path: Path) -> None:
    path = forge(tmp_path, b'{"format":%d,"what":"else"}' % (NEWEST_FORMAT + 1))

    assert isinstance(refusal(path), NewerFormatError)
    assert "newer version" in str(refusal(path))


@pytest.mark.parametrize(
    "name",
    [
        *("../secret", "/etc/passwd", "a/../../b", "a//b", "./a", "a/", ".", "a\nb", "a\x00b"),
        *("a\x1b[31m", "x" * 256, "a\u2028b", "d/" * 600 + "a"),
    ],
)
def test_d19_a_name_that_is_no_plain_relative_path_is_refused(tmp_path: Path, name: str) -> None:
    entry = make_entry("a", b"a").model_copy(update={"path": name})
    content = make_manifest().model_copy(update={"media": (entry,)}).to_json()

    refusal(forge(tmp_path, content, member(f"media/{name}", b"a") + END_OF_ARCHIVE))


def test_a_file_where_another_name_needs_a_folder_is_refused(tmp_path: Path) -> None:
    media = (make_entry("a/b/c", b"x"), make_entry("a", b"x"))

    assert "folder" in str(refusal(forge(tmp_path, make_manifest(media=media).to_json())))


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("t", "tables/u.00000.copy.zst"),
        ("t", "tables/t.00001.copy.zst"),
        ("t", "tables/t.0.copy.zst"),
        ("t", "media/t.00000.copy.zst"),
        ("../t", "tables/../t.00000.copy.zst"),
        ("a\nb", "tables/a\nb.00000.copy.zst"),
    ],
)
def test_a_chunk_is_named_after_its_table_and_place(tmp_path: Path, table: str, name: str) -> None:
    tables = (make_table(table, chunks=(_chunk(member=name),), row_count=1),)

    refusal(forge(tmp_path, make_manifest(tables=tables).to_json()))


def _tar_member(**fields: Any) -> bytes:
    info = tarfile.TarInfo("media/a.jpeg")
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    "forged",
    [
        _tar_member(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        _tar_member(type=tarfile.LNKTYPE, linkname="manifest.json"),
        _tar_member(type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        _tar_member(type=tarfile.FIFOTYPE),
        _tar_member(type=tarfile.DIRTYPE),
        _tar_member(name="../a.jpeg", size=512),
        _tar_member(name="/media/a.jpeg", size=512),
        _tar_member(name="media/other.jpeg", size=512),
        _tar_member(size=513),
        _tar_member(size=8**12),
        _tar_member(size=512, mode=0o6755),
        _tar_member(size=512, pax_headers={"path": "../a.jpeg"}),
        _tar_member(size=512, pax_headers={"size": "999999999999"}),
        _tar_member(size=512, type=tarfile.GNUTYPE_SPARSE),
        _tar_member(size=512, type=tarfile.GNUTYPE_LONGNAME),
    ],
)
def test_links_devices_and_other_names_and_sizes_are_refused(tmp_path: Path, forged: bytes) -> None:
    content = b"x" * 512
    manifest = make_manifest(media=(make_entry("a.jpeg", content),)).to_json()
    honest = len(member("media/a.jpeg", content) + END_OF_ARCHIVE)
    rest = (forged + content + END_OF_ARCHIVE)[:honest].ljust(honest, b"\0")

    error = refusal(forge(tmp_path, manifest, rest))

    assert (error.member, error.offset) == ("media/a.jpeg", 1536 + -(-len(manifest) // 512) * 512)


def test_repeated_extra_missing_and_reordered_members_are_refused(tmp_path: Path) -> None:
    a, b = member("media/a", b"a"), member("media/b", b"b")
    manifest = make_manifest(media=(make_entry("a", b"a"), make_entry("b", b"b"))).to_json()

    for rest in (b + a, a + a, a, a + b + b, a + b + member("c", b"c")):
        refusal(forge(tmp_path, manifest, rest + END_OF_ARCHIVE))
    verify_archive(forge(tmp_path, manifest, a + b + END_OF_ARCHIVE), signing_keys=())


def test_a_member_listed_twice_is_refused(tmp_path: Path) -> None:
    entry = make_entry("a", b"a")
    content = make_manifest().model_copy(update={"media": (entry, entry)}).to_json()

    assert "twice" in str(refusal(forge(tmp_path, content)))


def _bomb_archive(folder: Path, raw: bytes, declared_bytes: int) -> Path:
    source = make_source(folder / "files", tables={"t": [raw]})
    (table,) = source.manifest.tables
    (chunk,) = table.chunks
    # Without the padding by which a sender keeps to the limit.
    content = zstd.compress(raw, 1)
    chunk = chunk.model_copy(
        update={
            "raw_bytes": declared_bytes,
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    )
    table = table.model_copy(update={"chunks": (chunk,)})
    manifest = source.manifest.model_copy(update={"tables": (table,)})
    return forge(folder, manifest.to_json(), member(chunk.member, content) + END_OF_ARCHIVE)


def test_a_bomb_is_refused_as_soon_as_it_exceeds_what_it_declares(tmp_path: Path) -> None:
    path = _bomb_archive(tmp_path, bytes(256 * 1024**2), declared_bytes=1000)
    tracemalloc.start()
    try:
        assert "more than the 1000 bytes" in str(refusal(path))
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


def test_a_bomb_that_declares_itself_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = _bomb_archive(tmp_path, bytes(64 * 1024**2), declared_bytes=64 * 1024**2)

    assert "more than 1000 times" in str(refusal(path))


def test_a_chunk_shorter_than_it_declares_is_refused(tmp_path: Path) -> None:
    path = _bomb_archive(tmp_path, b"rows", declared_bytes=5)

    assert "4 bytes where it declares 5" in str(refusal(path))


@pytest.mark.parametrize("content", [b"", b"junk", b"\x28\xb5\x2f\xfd", EMPTY_FRAME * 2])
def test_a_chunk_that_is_not_one_zstd_frame_is_refused(tmp_path: Path, content: bytes) -> None:
    chunk = _chunk(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), raw_bytes=0)
    tables = (make_table("t", chunks=(chunk,), row_count=1),)
    manifest = make_manifest(tables=tables).to_json()

    refusal(forge(tmp_path, manifest, member(chunk.member, content) + END_OF_ARCHIVE))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ReadLimits(manifest_bytes=100), "larger than 100"),
        (ReadLimits(member_count=2), "more than 2"),
        (ReadLimits(archive_bytes=1000), "larger than 1000"),
        (ReadLimits(compression_ratio=1, free_raw_bytes=0), "more than 1 times"),
    ],
)
def test_each_limit_holds(archive: Path, limits: ReadLimits, words: str) -> None:
    with pytest.raises(CorruptArchiveError, match=words):
        verify_archive(archive, limits=limits, signing_keys=())


def test_a_manifest_that_claims_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(manifest_header(8**11 - 1, "0" * 64))
    tracemalloc.start()
    try:
        refusal(path)
        verify = pytest.raises(CorruptArchiveError, match="too early")
        with verify:
            verify_archive(path, limits=ReadLimits(manifest_bytes=2**40), signing_keys=())
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


def test_the_file_must_be_named_as_what_it_holds(archive: Path) -> None:
    for name in (
        "NEW_backup_partial_20261123T153000.123456Z.tar",
        "NEW_backup_complete_20261123T153000.123457Z.tar",
        "archive.tar",
    ):
        assert "name" in str(refusal(archive.rename(archive.with_name(name))))
        archive.with_name(name).rename(archive)
    applied = archive.rename(archive.with_name(make_manifest().name.applied))
    verify_archive(applied, signing_keys=())


def test_with_a_key_an_archive_must_carry_that_keys_signature(
    archive: Path, tmp_path: Path
) -> None:
    verify_archive(archive, signing_keys=[KEY])
    assert isinstance(refusal(archive, key=b"another"), UnsignedArchiveError)

    content = altered(lambda manifest: manifest.update(product_version="9"), hmac="0" * 64)
    assert isinstance(refusal(forge(tmp_path, content), key=KEY), UnsignedArchiveError)
    unsigned = forge(tmp_path, make_manifest().to_json())
    assert "not signed" in str(refusal(unsigned, key=KEY))
    verify_archive(unsigned, signing_keys=())


@_one_folder
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
@example(text="\x1b]0;title\x07")
def test_no_text_of_an_archive_reaches_a_message_raw(tmp_path: Path, text: str) -> None:
    content = altered(lambda manifest: manifest.update({text + "!": 1, "kind": text}))

    refusal(forge(tmp_path, content))


def test_an_unreadable_file_differs_from_a_bad_archive(tmp_path: Path) -> None:
    with pytest.raises(UnreadableArchiveError):
        verify_archive(tmp_path / NAME, signing_keys=())
    (tmp_path / NAME).symlink_to("/etc/passwd")
    assert "symbolic link" in str(refusal(tmp_path / NAME))
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    assert "regular file" in str(refusal(tmp_path / NAME))


def test_a_closed_stream_gives_no_more_bytes(archive: Path) -> None:
    with open_archive(archive) as reader:
        members = reader.members()
        _, first = next(members)
        next(members)
        with pytest.raises(ValueError, match="next member"):
            first.read()
