"""Receipts: what the receiver says of an archive, and what the sender believes of it."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.spool.errors import ReceiptError, SpoolMissingError
from ar_sync_pipeline.spool.receipts import (
    Receipt,
    ReceiptState,
    clean_receipts,
    list_receipts,
    parse_receipt,
    read_receipt,
    write_receipt,
)
from ar_sync_pipeline.spool.signed_json import MAX_BYTES
from ar_sync_pipeline_tests.spool.conftest import NOON

KEY = b"shared by both sides"
NAME = ArchiveName(ArchiveKind.PARTIAL, NOON)


def receipt(name: ArchiveName = NAME, state: ReceiptState = ReceiptState.APPLIED) -> Receipt:
    return Receipt(
        archive=name.applied,
        archive_id=UUID(int=7),
        state=state,
        at=NOON + timedelta(minutes=1),
    )


@pytest.mark.parametrize("key", [None, KEY])
def test_receipt_comes_back_as_it_was_written(spool: Path, key: bytes | None) -> None:
    write_receipt(spool, receipt(), signing_keys=[key] if key else [])
    found = read_receipt(spool, NAME, signing_keys=[key] if key else [])
    assert found is not None
    assert found.model_copy(update={"hmac": None}) == receipt()
    assert (found.hmac is None) == (key is None)
    assert list_receipts(spool) == [NAME]


def test_the_account_of_the_sender_may_read_it_whatever_the_umask(spool: Path) -> None:
    before = os.umask(0o077)
    try:
        path = write_receipt(spool, receipt(), signing_keys=())
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


def test_last_state_wins(spool: Path) -> None:
    write_receipt(spool, receipt(state=ReceiptState.PARKED), signing_keys=())
    write_receipt(spool, receipt(state=ReceiptState.APPLIED), signing_keys=())
    found = read_receipt(spool, NAME, signing_keys=())
    assert found is not None
    assert found.state is ReceiptState.APPLIED
    assert len(list((spool / "receipts").iterdir())) == 1


def test_archive_without_receipt_has_none(spool: Path) -> None:
    assert read_receipt(spool, NAME, signing_keys=()) is None


def test_missing_spool_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpoolMissingError):
        write_receipt(tmp_path / "missing", receipt(), signing_keys=())


@pytest.mark.parametrize("key", [None, b"another key"])
def test_receipt_that_is_not_signed_with_the_shared_key_is_refused(
    spool: Path, key: bytes | None
) -> None:
    write_receipt(spool, receipt(), signing_keys=[key] if key else [])
    with pytest.raises(ReceiptError, match="not signed with the shared key"):
        read_receipt(spool, NAME, signing_keys=[KEY])


def test_changed_receipt_is_refused(spool: Path) -> None:
    path = write_receipt(spool, receipt(state=ReceiptState.PARKED), signing_keys=[KEY])
    forged = path.read_bytes().replace(b'"parked"', b'"applied"')
    with pytest.raises(ReceiptError, match="not signed"):
        parse_receipt(forged, signing_keys=[KEY])


@pytest.mark.parametrize(
    "change",
    [
        {"archive": "../../etc/passwd"},
        {"archive": NAME.waiting},
        {"state": "lost"},
        {"at": "2026-11-23T12:00:00"},
        {"format": 2},
        {"surprise": 1},
        {"reason": "x" * 5000},
    ],
)
def test_receipt_with_a_wrong_field_is_one_sentence(change: dict[str, object]) -> None:
    content = json.dumps(json.loads(receipt().model_dump_json()) | change).encode()
    with pytest.raises(ReceiptError, match="cannot be read"):
        parse_receipt(content, signing_keys=())


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading_of_a_receipt(content: bytes) -> None:
    with pytest.raises(ReceiptError):
        parse_receipt(content, signing_keys=())


def test_huge_receipt_is_refused_unread(spool: Path) -> None:
    path = write_receipt(spool, receipt(), signing_keys=())
    path.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ReceiptError, match="bytes"):
        read_receipt(spool, NAME, signing_keys=())


def test_other_files_among_receipts_are_ignored(spool: Path) -> None:
    (spool / "receipts" / "README.json").write_bytes(b"{}")
    (spool / "receipts" / NAME.applied).write_bytes(b"{}")
    assert list_receipts(spool) == []


def test_old_receipts_go(spool: Path) -> None:
    names = [
        ArchiveName(ArchiveKind.PARTIAL, NOON + timedelta(minutes=5 * number))
        for number in range(3)
    ]
    for name in names:
        write_receipt(spool, receipt(name), signing_keys=())
    kept = [names[0].applied]
    assert clean_receipts(spool, older_than=names[2].snapshot_at, kept=kept) == [names[1]]
    assert clean_receipts(spool, older_than=names[2].snapshot_at) == [names[0]]
    assert list_receipts(spool) == [names[2]]
