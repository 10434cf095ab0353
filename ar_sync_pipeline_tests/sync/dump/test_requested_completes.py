"""Which completes the sender requests by itself, by its journal and the receiver's checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.receipts import ReceiptState
from ar_sync_pipeline.sync.dump.choose_base import complete_to_compare, complete_to_repeat
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE, SentArchive
from ar_sync_pipeline_tests.sync.dump.test_starting_point import START, mark, sent


def complete(
    minute: int,
    state: ReceiptState | None,
    *,
    lacking: bool = False,
    differential: bool = True,
) -> SentArchive:
    known = sent(minute, kind=ArchiveKind.COMPLETE)
    return known.model_copy(
        update={
            "watermark": known.watermark.model_copy(update={"archive_id": UUID(int=minute)}),
            "heard": state is not None,
            "state": state,
            "lacking": Lacking() if lacking else None,
            "differential": differential,
        }
    )


def lacks(minute: int, *, differential: bool = True) -> SentArchive:
    return complete(minute, ReceiptState.PARKED, lacking=True, differential=differential)


def write_journal(scratch: Path, *archives: SentArchive) -> None:
    texts = ",".join(archive.model_dump_json() for archive in archives)
    (scratch / SENT_FILE).write_text(f'{{"archives": [{texts}]}}')


class TestAReceiverThatLacksSomething:
    def repeated(self, scratch: Path, *archives: SentArchive) -> str | None:
        write_journal(scratch, *archives)
        return complete_to_repeat(scratch, None, START + timedelta(days=1))

    @pytest.mark.parametrize("rounds", [1, 2, 3, 5])
    def test_next_complete_is_requested_however_many_are_parked(
        self, tmp_path: Path, rounds: int
    ) -> None:
        """A new receiver finds the differential completes of many days in its spool."""
        parked = [lacks(minute) for minute in range(1, rounds + 1)]
        assert self.repeated(tmp_path, *parked) == parked[-1].name
        first = complete(0, ReceiptState.APPLIED, differential=False)
        assert self.repeated(tmp_path, first, *parked) == parked[-1].name

    def test_nothing_is_requested_for_one_that_carries_everything(self, tmp_path: Path) -> None:
        whole = lacks(3, differential=False).model_copy(update={"lacking": Lacking(media=("a",))})
        parked = [lacks(1), lacks(2), whole]
        assert self.repeated(tmp_path, *parked) is None

    @pytest.mark.parametrize("state", [None, *ReceiptState])
    def test_nothing_is_requested_once_another_complete_was_sent(
        self, tmp_path: Path, state: ReceiptState | None
    ) -> None:
        assert self.repeated(tmp_path, lacks(1), lacks(2), complete(3, state)) is None

    def test_nothing_is_requested_without_a_complete(self, tmp_path: Path) -> None:
        assert self.repeated(tmp_path) is None
        assert self.repeated(tmp_path, sent(5, 0)) is None


class TestTablesThatAreUnverified:
    def compared(self, scratch: Path, archives: Sequence[SentArchive], reached: int) -> str | None:
        """What is requested if the receiver has reached an archive's snapshot."""
        write_journal(scratch, *archives)
        point = mark(reached).model_copy(update={"archive_id": UUID(int=reached)})
        at = START + timedelta(minutes=reached)
        said = Checkpoint(at=at, watermark=point, unverified=("app_child",))
        return complete_to_compare(scratch, said, START + timedelta(days=1))

    @pytest.mark.parametrize("state", [None, ReceiptState.PARKED, ReceiptState.QUARANTINED])
    @pytest.mark.parametrize("reached", [10, 30])
    def test_complete_on_its_way_is_waited_for_though_later_partials_are_applied(
        self, tmp_path: Path, state: ReceiptState | None, reached: int
    ) -> None:
        archives = [complete(5, ReceiptState.APPLIED), sent(10, 5), complete(20, state)]
        assert self.compared(tmp_path, [*archives, sent(30, 10)], reached) is None

    @pytest.mark.parametrize("state", [ReceiptState.APPLIED, ReceiptState.SUPERSEDED])
    def test_another_one_is_requested_after_the_newest_was_loaded(
        self, tmp_path: Path, state: ReceiptState
    ) -> None:
        archives = [complete(5, ReceiptState.APPLIED), complete(20, state), sent(30, 20)]
        assert self.compared(tmp_path, archives, 30) == archives[1].name
        assert self.compared(tmp_path, archives, 10) is None

    def test_checkpoint_tells_it_before_the_receipt_is_read(self, tmp_path: Path) -> None:
        archives = [complete(5, ReceiptState.APPLIED), complete(20, None)]
        assert self.compared(tmp_path, archives, 20) == archives[1].name
