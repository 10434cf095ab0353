"""The promise: the receiver's state is a function of the set of archives, in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.chain import Span, chain_of
from ar_sync_pipeline.spool.load_order import Candidate, plan_load

COMPLETE, PARTIAL = ArchiveKind.COMPLETE, ArchiveKind.PARTIAL
START = datetime(2026, 11, 23, tzinfo=UTC)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def archive(minute: int, kind: ArchiveKind = PARTIAL, *, waiting: bool = True) -> Candidate:
    return Candidate(UUID(int=minute), kind, at(minute), waiting)


def applied(minute: int, kind: ArchiveKind = PARTIAL, covers_from: int | None = None) -> Span:
    start = at(minute - 5 if covers_from is None else covers_from)
    return Span(UUID(int=minute), kind, at(minute), None if kind is COMPLETE else start)


def minutes(candidates: tuple[Candidate, ...]) -> list[int]:
    return [c.archive_id.int for c in candidates]


def test_partials_are_applied_oldest_first() -> None:
    plan = plan_load([archive(20), archive(10)], [applied(5, COMPLETE)])
    assert minutes(plan.apply) == [10, 20]


def test_partial_older_than_base_is_superseded() -> None:
    plan = plan_load([archive(10)], [applied(20, COMPLETE)])
    assert (minutes(plan.apply), minutes(plan.superseded)) == ([], [10])


def test_partial_that_comes_late_is_followed_by_the_retained_later_ones() -> None:
    candidates = [archive(10), archive(15, waiting=False), archive(20, waiting=False)]
    plan = plan_load(candidates, [applied(5, COMPLETE), applied(15), applied(20)])
    assert minutes(plan.apply) == [10, 15, 20]


def test_complete_that_comes_late_never_takes_a_reader_back_in_time() -> None:
    candidates = [archive(10, COMPLETE), archive(15, waiting=False)]
    plan = plan_load(candidates, [applied(5, COMPLETE), applied(15)])
    assert minutes(plan.apply) == [10, 15]


def test_complete_older_than_the_base_is_superseded() -> None:
    plan = plan_load([archive(10, COMPLETE)], [applied(20, COMPLETE)])
    assert (minutes(plan.apply), minutes(plan.superseded)) == ([], [10])


def test_archive_that_the_ledger_knows_is_only_renamed() -> None:
    plan = plan_load([archive(10)], [applied(5, COMPLETE), applied(10)])
    assert (minutes(plan.apply), minutes(plan.already_applied)) == ([], [10])


def test_partials_before_any_complete_are_applied() -> None:
    assert minutes(plan_load([archive(10), archive(5)], []).apply) == [5, 10]


def test_database_that_was_restored_gets_its_applied_archives_again() -> None:
    """The ledger, not the name, is the truth: a file may be named applied and be unknown."""
    candidates = [archive(10, COMPLETE, waiting=False), archive(15, waiting=False), archive(20)]
    plan = plan_load(candidates, [applied(5, COMPLETE)])
    assert minutes(plan.apply) == [10, 15, 20]


def test_late_partial_within_the_unbroken_chain_brings_nothing() -> None:
    """Its changes came with the later one; what was deleted meanwhile must not come back."""
    ledger = [applied(5, COMPLETE), applied(20, covers_from=5)]
    plan = plan_load([archive(10)], ledger)
    assert (minutes(plan.apply), minutes(plan.superseded)) == ([], [10])


def test_partials_after_a_gap_are_marked() -> None:
    joining = replace(archive(10), covers_from=at(5))
    after_gap = replace(archive(20), covers_from=at(15))
    plan = plan_load([joining, after_gap, archive(25)], [applied(5, COMPLETE)])
    assert {found.int for found in plan.after_gap} == {20, 25}


class TestReadersNeverGoBack:
    """A late archive is held back where an applied later one cannot be applied after it."""

    def test_late_complete_is_held_back_when_a_later_partial_is_gone(self) -> None:
        plan = plan_load([archive(10, COMPLETE)], [applied(5, COMPLETE), applied(15)])
        assert (minutes(plan.apply), minutes(plan.held_back)) == ([], [10])

    def test_late_partial_is_held_back_when_a_later_partial_is_gone(self) -> None:
        plan = plan_load([archive(10), archive(20)], [applied(5, COMPLETE), applied(15)])
        assert (minutes(plan.apply), minutes(plan.held_back)) == ([20], [10])

    def test_gone_partial_is_no_loss_when_others_cover_what_it_brought(self) -> None:
        covering = replace(archive(20, waiting=False), covers_from=at(10))
        ledger = [applied(5, COMPLETE), applied(15), applied(20)]
        plan = plan_load([archive(10, COMPLETE), covering], ledger)
        assert (minutes(plan.apply), minutes(plan.held_back)) == ([10, 20], [])

    def test_partials_after_a_complete_that_is_held_back_are_applied(self) -> None:
        candidates = [archive(10, COMPLETE), archive(20)]
        plan = plan_load(candidates, [applied(5, COMPLETE), applied(15)])
        assert (minutes(plan.apply), minutes(plan.held_back)) == ([20], [10])


kinds = st.sampled_from([COMPLETE, PARTIAL, PARTIAL, PARTIAL])
histories = st.lists(
    st.tuples(st.integers(1, 40), kinds), unique_by=lambda archive: archive[0], max_size=12
)


@given(histories, st.data())
def test_any_order_of_delivery_ends_with_base_and_later_partials_in_order(
    history: list[tuple[int, ArchiveKind]], data: st.DataObject
) -> None:
    """Applied one after the other in any order and any grouping, the outcome is the model's.

    Left out are only partials that came when the unbroken chain had reached beyond them.
    """
    pending = data.draw(st.permutations(history))
    state: list[int] = []
    ledger: dict[int, Span] = {}
    while pending:
        size = data.draw(st.integers(1, len(pending)))
        batch, pending = pending[:size], pending[size:]
        retained = [archive(m, s.kind, waiting=False) for m, s in ledger.items()]
        plan = plan_load([archive(m, k) for m, k in batch] + retained, list(ledger.values()))
        for candidate in plan.apply:
            minute = candidate.archive_id.int
            state = [minute] if candidate.kind is COMPLETE else [*_without(state, minute), minute]
            ledger[minute] = applied(minute, candidate.kind)
    model, chain = _model(history), chain_of(ledger.values())
    left_out = [m for m in model if m not in state]
    assert state == [m for m in model if m in state]
    assert all(chain is not None and at(m) < chain.until for m in left_out)


def _without(state: list[int], minute: int) -> list[int]:
    return [m for m in state if m != minute]


def _model(history: list[tuple[int, ArchiveKind]]) -> list[int]:
    base = max((m for m, kind in history if kind is COMPLETE), default=None)
    partials = sorted(m for m, kind in history if kind is PARTIAL and m > (base or 0))
    return ([base] if base is not None else []) + partials
