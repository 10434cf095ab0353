"""What retention deletes, and what it never does."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.spool.retention import (
    Decision,
    RetentionPolicy,
    apply_retention,
    plan_retention,
)
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState, list_applied, list_waiting
from ar_sync_pipeline_tests.spool.conftest import NOON, PutArchive

COMPLETE, PARTIAL = ArchiveKind.COMPLETE, ArchiveKind.PARTIAL
POLICY = RetentionPolicy(timedelta(days=4))
Ledger = dict[ArchiveName, datetime]


def stored(
    kind: ArchiveKind, days_old: float, state: SpoolState = SpoolState.APPLIED
) -> SpooledArchive:
    name = ArchiveName(kind, NOON - timedelta(days=days_old))
    file = name.applied if state is SpoolState.APPLIED else name.waiting
    return SpooledArchive(name, Path("/spool") / kind / file, state, 100)


def ledger_of(*archives: SpooledArchive) -> Ledger:
    return {archive.name: archive.name.snapshot_at for archive in archives}


def reasons(archives: list[SpooledArchive], ledger: Ledger) -> list[tuple[bool, str]]:
    return [(d.keep, d.reason) for d in plan_retention(archives, ledger, POLICY, NOON)]


def test_applied_archives_stay_for_their_lifetime() -> None:
    archives = [
        stored(COMPLETE, 6),
        stored(COMPLETE, 3.9),
        stored(COMPLETE, 0.1),
        stored(PARTIAL, 1.5),
        stored(PARTIAL, 0.9),
    ]
    assert reasons(archives, ledger_of(*archives)) == [
        (False, "it was applied more than 4 days ago"),
        (True, "it was applied less than 4 days ago"),
        (True, "it is the newest applied complete"),
        (False, "it was applied more than 1 day ago"),
        (True, "it was applied less than 1 day ago"),
    ]


def test_d32_archive_that_was_not_loaded_is_never_deleted() -> None:
    """Old system, D32: after two days without a receiver the waiting file was deleted."""
    waiting = stored(PARTIAL, 400, SpoolState.WAITING)
    parked = stored(PARTIAL, 400, SpoolState.PARKED)
    base = stored(COMPLETE, 0)
    assert reasons([waiting, parked, base], ledger_of(base))[:2] == [
        (True, "it is waiting, not applied"),
        (True, "it is parked, not applied"),
    ]


def test_archive_that_a_killed_load_has_applied_waits_only_to_be_renamed() -> None:
    waiting, parked = (stored(PARTIAL, 400, s) for s in (SpoolState.WAITING, SpoolState.PARKED))
    assert reasons([waiting, parked], ledger_of(waiting)) == [
        (True, "it is applied, and the next load renames it"),
        (True, "it is parked, not applied"),
    ]


def test_name_alone_does_not_prove_that_an_archive_was_applied() -> None:
    renamed_by_hand = stored(PARTIAL, 400)
    base = stored(COMPLETE, 0)
    assert reasons([renamed_by_hand, base], ledger_of(base))[0] == (
        True,
        "the ledger does not record it as applied",
    )


def test_newest_complete_and_what_builds_on_it_stay_for_ever() -> None:
    archives = [stored(COMPLETE, 100), stored(COMPLETE, 90), stored(PARTIAL, 89)]
    assert [keep for keep, _ in reasons(archives, ledger_of(*archives))] == [False, True, True]


def test_superseded_complete_is_no_base() -> None:
    """Its date may be wrong: a sender's clock was ahead when it was made."""
    base, ahead = stored(COMPLETE, 6), stored(COMPLETE, 0)
    partial = stored(PARTIAL, 5)
    archives = [base, partial, ahead]
    plan = plan_retention(archives, ledger_of(*archives), POLICY, NOON, {ahead.name})
    assert [(d.keep, d.reason) for d in plan[:2]] == [
        (True, "it is the newest applied complete"),
        (True, "it is later than the newest applied complete"),
    ]


def test_superseded_archives_of_a_clock_that_was_ahead_go_after_their_lifetime() -> None:
    ahead = [stored(COMPLETE, -3650), stored(PARTIAL, -3650), stored(PARTIAL, -3649)]
    days = (5, 2, 0.5)
    applied = {a.name: NOON - timedelta(days=n) for a, n in zip(ahead, days, strict=True)}
    base = stored(COMPLETE, 1)
    names = {archive.name for archive in ahead}
    found = plan_retention([*ahead, base], applied | ledger_of(base), POLICY, NOON, names)
    assert [decision.keep for decision in found] == [False, False, True, True]


def test_age_counts_from_applying_not_from_the_snapshot() -> None:
    late, base = stored(PARTIAL, 30), stored(COMPLETE, 0)
    assert reasons([late, base], {late.name: NOON, base.name: NOON})[0][0] is True


def test_archive_that_was_applied_while_the_clock_was_ahead_does_not_stay_so_long() -> None:
    archives = [
        stored(COMPLETE, 4.5),
        stored(COMPLETE, 3.9),
        stored(PARTIAL, 1.5),
        stored(PARTIAL, 0.9),
        stored(COMPLETE, 0),
    ]
    in_a_year = NOON + timedelta(days=365)
    ledger = dict.fromkeys(ledger_of(*archives), in_a_year)
    kept = [keep for keep, _ in reasons(archives, ledger)]
    assert kept == [False, True, False, True, True]


def test_clock_that_went_back_deletes_nothing() -> None:
    archives = [stored(COMPLETE, 10), stored(COMPLETE, 9)]
    long_ago = NOON - timedelta(days=3650)
    assert all(d.keep for d in plan_retention(archives, ledger_of(*archives), POLICY, long_ago))


_archives = st.lists(
    st.builds(
        stored,
        st.sampled_from(ArchiveKind),
        st.integers(0, 40).map(lambda quarter: quarter / 4),
        st.sampled_from(SpoolState),
    ),
    unique_by=lambda archive: archive.path,
    max_size=30,
)


@given(_archives, st.data())
def test_receiver_can_always_be_rebuilt_from_what_is_kept(
    archives: list[SpooledArchive], data: st.DataObject
) -> None:
    known = data.draw(st.sets(st.sampled_from(archives)) if archives else st.just(set()))
    ledger = {
        archive.name: NOON - timedelta(days=data.draw(st.integers(0, 20))) for archive in known
    }
    decisions = plan_retention(archives, ledger, POLICY, NOON)

    assert [d.archive for d in decisions] == archives
    assert all(d.reason for d in decisions)
    deleted = [d.archive for d in decisions if not d.keep]
    applied = [a for a in archives if a.state is SpoolState.APPLIED and a.name in ledger]
    assert set(deleted) <= set(applied)
    bases = [a for a in applied if a.name.kind is COMPLETE]
    if bases:
        base = max(bases, key=lambda a: a.name.snapshot_at)
        assert base not in deleted
        assert all(
            a.name.kind is COMPLETE or a.name.snapshot_at <= base.name.snapshot_at for a in deleted
        )
    else:
        assert deleted == []
    for archive in deleted:
        assert NOON - ledger[archive.name] > POLICY.lifetime(archive.name.kind)


@given(_archives)
def test_second_run_of_retention_deletes_nothing_more(archives: list[SpooledArchive]) -> None:
    ledger = ledger_of(*archives)
    kept = [d.archive for d in plan_retention(archives, ledger, POLICY, NOON) if d.keep]
    assert all(d.keep for d in plan_retention(kept, ledger, POLICY, NOON))


@given(_archives, st.randoms(use_true_random=False))
def test_order_of_the_listing_does_not_matter(
    archives: list[SpooledArchive], random: Random
) -> None:
    ledger = ledger_of(*archives)
    shuffled = random.sample(archives, len(archives))
    one = {d.archive: d.keep for d in plan_retention(archives, ledger, POLICY, NOON)}
    two = {d.archive: d.keep for d in plan_retention(shuffled, ledger, POLICY, NOON)}
    assert one == two


def test_what_was_decided_is_deleted_and_nothing_else(spool: Path, put: PutArchive) -> None:
    put(COMPLETE, NOON - timedelta(days=9), applied=True)
    put(COMPLETE, NOON, applied=True)
    put(PARTIAL, NOON - timedelta(days=9))
    archives = [*list_applied(spool), *list_waiting(spool)]
    decisions = plan_retention(archives, ledger_of(*archives), POLICY, NOON)

    assert apply_retention(decisions) == 7
    assert [a.name.snapshot_at for a in list_applied(spool)] == [NOON]
    assert len(list_waiting(spool)) == 1
    assert apply_retention(decisions) == 0  # a run that was killed, repeated


def test_even_a_wrong_decision_cannot_delete_a_waiting_archive(
    spool: Path, put: PutArchive
) -> None:
    put()
    decisions = [Decision(archive, False, "a bug") for archive in list_waiting(spool)]
    assert apply_retention(decisions) == 0
    assert len(list_waiting(spool)) == 1
