"""How far the receiver is known to be whole: spans that join from the newest complete on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.chain import Chain, Span, chain_of

COMPLETE, PARTIAL = ArchiveKind.COMPLETE, ArchiveKind.PARTIAL
START = datetime(2026, 11, 23, tzinfo=UTC)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def base(minute: int) -> Span:
    return Span(UUID(int=minute), COMPLETE, at(minute))


def partial(minute: int, since: int | None) -> Span:
    covers_from = None if since is None else at(since)
    return Span(UUID(int=minute), PARTIAL, at(minute), covers_from)


def chain(*spans: Span) -> Chain:
    found = chain_of(spans)
    assert found is not None
    return found


def gaps(found: Chain) -> list[tuple[datetime, datetime | None]]:
    return [(gap.start, gap.end) for gap in found.gaps]


def test_spans_that_join_reach_to_the_last_snapshot() -> None:
    found = chain(base(0), partial(10, 5), partial(5, 0))
    assert (found.until, found.end, found.gaps) == (at(10), UUID(int=10), ())


def test_data_until_ends_at_the_first_hole() -> None:
    found = chain(base(0), partial(5, 0), partial(20, 10), partial(25, 20))
    assert (found.until, gaps(found)) == (at(5), [(at(5), at(10))])


def test_every_hole_is_named() -> None:
    found = chain(base(0), partial(10, 5), partial(20, 15))
    assert gaps(found) == [(at(0), at(5)), (at(10), at(15))]


def test_hole_is_closed_by_the_archive_that_covers_it() -> None:
    found = chain(base(0), partial(5, 0), partial(20, 10), partial(25, 5))
    assert (found.until, found.gaps) == (at(25), ())


def test_hole_is_closed_by_the_next_complete() -> None:
    found = chain(base(0), partial(20, 10), base(30), partial(35, 30))
    assert (found.until, found.gaps) == (at(35), ())


def test_span_without_a_watermark_never_joins() -> None:
    """After a failover a window alone does not tell what late commits it missed."""
    found = chain(base(0), partial(5, None), partial(10, 5))
    assert (found.until, gaps(found)) == (at(0), [(at(0), None)])


def test_only_a_complete_closes_the_gap_of_another_history() -> None:
    """The sender went back to its old primary: what the other one changed is still there."""
    other = replace(partial(10, None), new_history=True)
    found = chain(base(0), partial(5, 0), other, partial(20, 15), partial(25, 5))
    assert (found.until, gaps(found)) == (at(25), [(at(5), None)])
    found = chain(base(0), partial(5, 0), other, partial(20, 5), base(30))
    assert (found.until, found.gaps) == (at(30), ())


def test_partials_from_before_the_base_do_not_count() -> None:
    assert chain(partial(5, 0), base(10)).until == at(10)


def test_without_a_complete_there_is_no_chain() -> None:
    assert chain_of([partial(5, 0)]) is None


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 30)), unique_by=lambda s: s[0], max_size=10
    )
)
def test_every_instant_up_to_the_end_is_covered_by_some_span(spans: list[tuple[int, int]]) -> None:
    partials = [partial(minute, max(0, minute - length)) for minute, length in spans]
    found = chain(base(0), *partials)
    for minute in range(1, int((found.until - START).total_seconds() // 60) + 1):
        assert any(
            p.covers_from is not None and p.covers_from <= at(minute - 1) < p.snapshot_at
            for p in partials
        )
    uncovered = [p for p in partials if p.snapshot_at > found.until]
    assert bool(uncovered) == bool(found.gaps)
