"""The list of what a receiver lacks: short, and never less than what is lacking."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.manifest import Chunk, KeyRange
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.errors import ParkedError
from ar_sync_pipeline.spool.capabilities import Capabilities
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.reasons import read_reason, write_reason
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState, parse_receipt
from ar_sync_pipeline.spool.signed_json import MAX_BYTES
from ar_sync_pipeline_tests.spool.conftest import NOON

NAME = ArchiveName(ArchiveKind.COMPLETE, NOON)
KEY = b"shared by both sides"


def chunk(low: int | None) -> Chunk:
    return Chunk(
        member="tables/t.00000.copy.zst",
        key_range=None if low is None else KeyRange(low=low, high=low + 65536),
        row_count=1,
        size_bytes=1,
        raw_bytes=1,
        sha256="0" * 64,
        digest="0",
        carried=False,
    )


def entry(path: str, hours: int = 0) -> MediaEntry:
    modified_at = NOON - timedelta(hours=hours)
    return MediaEntry(path=path, size_bytes=1, sha256="0" * 64, modified_at=modified_at)


def receipt(lacking: Lacking | None) -> Receipt:
    return Receipt(
        archive=NAME.applied,
        state=ReceiptState.PARKED,
        reason="r" * 700,
        remedy="r" * 400,
        at=NOON,
        lacking=lacking,
    )


_names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=63)


@given(
    st.dictionaries(_names, st.lists(st.integers(-(2**46), 2**46), min_size=1), max_size=9),
    st.lists(st.tuples(_names, st.integers(0, 9999)), max_size=400),
)
def test_it_includes_all_that_is_lacking(
    tables: dict[str, list[int]], files: list[tuple[str, int]]
) -> None:
    chunks = {name: [chunk(low << 16) for low in lows] for name, lows in tables.items()}
    media = [entry(path, hours) for path, hours in files]
    lacking = Lacking.of(chunks, media)
    assert all(lacking.has_chunk(name, one) for name, found in chunks.items() for one in found)
    assert all(lacking.has_file(one) for one in media)
    written = receipt(lacking).signed([KEY, b"old"]).to_bytes()
    assert len(written) < MAX_BYTES
    assert parse_receipt(written, signing_keys=[KEY]).lacking == lacking


def test_it_is_exact_if_it_is_short() -> None:
    lacking = Lacking.of({"bus": [chunk(0), chunk(3 << 16)], "trip": []}, [entry("a.jpeg")])
    assert lacking.has_chunk("bus", chunk(3 << 16))
    assert not lacking.has_chunk("bus", chunk(2 << 16))
    assert not lacking.has_chunk("trip", chunk(0))
    assert not lacking.has_file(entry("b.jpeg"))
    assert lacking.in_words == "2 chunks of bus; 1 media file, such as a.jpeg"


@pytest.mark.parametrize(
    ("tables", "files", "words"),
    [
        ({"bus": 201}, 0, "rows of bus"),
        ({f"table{n}": 150 for n in range(60)}, 0, "rows of table0; rows of table1"),
        ({"t" * 60 + str(n): 1 for n in range(300)}, 0, "most of it"),
        ({"bus": 1}, 201, "1 chunk of bus; media files, the oldest of 2026"),
    ],
)
def test_long_list_is_shortened(tables: dict[str, int], files: int, words: str) -> None:
    chunks = {name: [chunk(n << 16) for n in range(count)] for name, count in tables.items()}
    media = [entry(f"{n}.jpeg", n) for n in range(files)]
    lacking = Lacking.of(chunks, media)
    assert lacking.in_words.startswith(words)
    assert all(lacking.has_chunk(name, one) for name, found in chunks.items() for one in found)
    assert all(lacking.has_file(one) for one in media)
    assert not lacking.has_file(entry("old.jpeg", 9999)) or lacking.everything


def test_whole_table_is_named_if_it_is_one_chunk() -> None:
    lacking = Lacking.of({"bus": [chunk(None)]}, [])
    assert lacking.has_chunk("bus", chunk(None))
    assert lacking.in_words == "rows of bus"


def test_longest_reason_file_can_be_read_again(spool: Path) -> None:
    """It is written on many lines."""
    lacking = Lacking.of({f"t{n}": [chunk(k << 16) for k in range(-99, 99)] for n in range(9)}, [])
    archive = spool / "parked" / NAME.waiting
    write_reason(archive, ParkedError("r" * 700, remedy="r" * 400), NOON, lacking=lacking)
    found = read_reason(archive)
    assert found is not None
    assert found.lacking == lacking


def test_earlier_sender_reads_a_receipt_without_a_list() -> None:
    assert b"lacking" not in receipt(None).to_bytes()


def test_capabilities_of_the_receiver_are_signed(spool: Path) -> None:
    said = Capabilities(at=NOON, archive_formats=(1, 2), digest_probe="7")
    said.write(spool, signing_keys=[KEY])
    content = (spool / "receipts" / "capabilities.json").read_bytes()
    assert Capabilities.parse(content, signing_keys=[KEY]).archive_formats == (1, 2)
    with pytest.raises(ReceiptError, match="not signed"):
        Capabilities.parse(content, signing_keys=[b"another"])
