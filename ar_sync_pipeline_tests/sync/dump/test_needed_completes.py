"""Whether the receiver needs a complete is seen beside one of a clock that was ahead."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.lacking import Lacking, LackingTable
from ar_sync_pipeline.spool.receipts import ReceiptState
from ar_sync_pipeline.sync.dump.choose_base import (
    complete_to_compare,
    complete_to_repeat,
    complete_to_replace,
)
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE, SentArchive
from ar_sync_pipeline_tests.sync.dump.test_starting_point import COMPLETE, START, mark, sent

APPLIED, PARKED = ReceiptState.APPLIED, ReceiptState.PARKED
QUARANTINED = ReceiptState.QUARANTINED
NOW = START + timedelta(minutes=30)
AHEAD = 60 * 24 * 30
MICROSECOND = timedelta(microseconds=1)


def complete(minute: int, state: ReceiptState, *, lacking: bool = False) -> SentArchive:
    made = sent(minute, kind=COMPLETE)
    return made.model_copy(
        update={
            "state": state,
            "lacking": Lacking(media=("a",)) if lacking else None,
            "differential": lacking,
        }
    )


def needed(
    scratch: Path, *completes: SentArchive, reached: int = 10, unverified: tuple[str, ...] = ()
) -> list[str | None]:
    """What each function names after these completes, which are sorted by date."""
    archives = [json.loads(one.model_dump_json()) for one in completes]
    (scratch / SENT_FILE).write_text(json.dumps({"archives": archives}))
    said = Checkpoint(at=NOW, watermark=mark(reached), unverified=unverified)
    return [
        find(scratch, said, NOW)
        for find in (complete_to_repeat, complete_to_replace, complete_to_compare)
    ]


@pytest.mark.parametrize("state", [PARKED, QUARANTINED])
class TestCompleteOfAClockThatWasAhead:
    def test_does_not_hide_that_content_is_lacking(
        self, tmp_path: Path, state: ReceiptState
    ) -> None:
        lacks = complete(20, PARKED, lacking=True)
        found = needed(tmp_path, complete(10, APPLIED), lacks, complete(AHEAD, state))
        assert found == [lacks.name, None, None]

    def test_does_not_hide_that_one_is_in_quarantine(
        self, tmp_path: Path, state: ReceiptState
    ) -> None:
        damaged = complete(20, QUARANTINED)
        found = needed(tmp_path, complete(10, APPLIED), damaged, complete(AHEAD, state))
        assert found == [None, damaged.name, None]

    def test_does_not_hide_that_tables_are_unverified(
        self, tmp_path: Path, state: ReceiptState
    ) -> None:
        applied = complete(10, APPLIED)
        found = needed(tmp_path, applied, complete(AHEAD, state), unverified=("t",))
        assert found == [None, None, applied.name]

    def test_needs_none_after_another_was_applied(
        self, tmp_path: Path, state: ReceiptState
    ) -> None:
        assert needed(tmp_path, complete(10, APPLIED), complete(AHEAD, state)) == [None] * 3


def test_complete_that_only_came_late_is_repeated(tmp_path: Path) -> None:
    """It has rows of which a partial after it does not say what became of them."""
    late = complete(20, PARKED, lacking=True).model_copy(update={"lacking": Lacking()})
    assert needed(tmp_path, complete(10, APPLIED), late) == [late.name, None, None]


class TestPartialThatDoesNotSayWhatTheSenderDeleted:
    """The receiver parked it, and no later partial says more."""

    def parked(self, minute: int) -> SentArchive:
        lacking = Lacking(tables=(LackingTable(name="t"),))
        return sent(minute).model_copy(update={"state": PARKED, "lacking": lacking})

    def test_needs_a_complete(self, tmp_path: Path) -> None:
        applied = complete(10, APPLIED)
        assert needed(tmp_path, applied, self.parked(20)) == [None, None, applied.name]

    def test_needs_none_that_is_on_its_way(self, tmp_path: Path) -> None:
        later = sent(25, kind=COMPLETE)
        found = needed(tmp_path, complete(10, APPLIED), self.parked(20), later)
        assert found == [None, None, None]

    def test_needs_none_after_later_archives_were_applied(self, tmp_path: Path) -> None:
        found = needed(tmp_path, complete(10, APPLIED), self.parked(20), sent(25), reached=25)
        assert found == [None, None, None]

    def test_needs_none_if_it_is_parked_for_another_reason(self, tmp_path: Path) -> None:
        parked = sent(20).model_copy(update={"state": PARKED})
        assert needed(tmp_path, complete(10, APPLIED), parked) == [None, None, None]


def test_complete_after_a_checkpoint_ahead_counts(tmp_path: Path) -> None:
    """The receiver's clock was ahead too, so archives are dated after what it has applied."""
    applied, lacks = complete(AHEAD, APPLIED), complete(AHEAD, PARKED, lacking=True)
    later = mark(AHEAD).model_copy(update={"snapshot_at": mark(AHEAD).snapshot_at + MICROSECOND})
    lacks = lacks.model_copy(update={"watermark": later})
    assert needed(tmp_path, applied, lacks, reached=AHEAD) == [lacks.name, None, None]


def test_complete_that_a_later_partial_contradicts_is_repeated_though_it_carries_everything(
    tmp_path: Path,
) -> None:
    refused = complete(20, PARKED).model_copy(update={"lacking": Lacking()})
    assert needed(tmp_path, complete(10, APPLIED), refused) == [refused.name, None, None]
