"""One opening and one recovery for each cause."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.alerts.incidents import (
    Incident,
    NoticeKind,
    Outcome,
    Problem,
    Success,
    fail,
    remind,
    succeed,
)
from ar_sync_pipeline_tests.alerts.problems import NOON, at, problem, success


def opened(minutes: float = 0) -> Incident:
    outcome = fail(None, problem(minutes), at(minutes))
    assert outcome.due == (NoticeKind.OPENED,)
    assert outcome.incident is not None
    return outcome.incident


def test_repeats_are_counted_and_not_sent() -> None:
    incident = opened()
    for minutes in range(5, 360, 5):
        outcome = fail(incident, problem(minutes), at(minutes))
        assert outcome.due == ()
        assert outcome.incident is not None
        incident = outcome.incident
    assert (incident.repeats, incident.opened_at, incident.last_seen_at) == (71, NOON, at(355))


def test_first_success_of_any_source_that_failed_is_the_recovery() -> None:
    incident = opened()
    repeated = fail(incident, problem(5, source="step:complete"), at(5)).incident
    assert repeated is not None
    assert succeed(repeated, success(10, "step:other")) == Outcome(repeated)
    over = succeed(repeated, success(10, "step:complete"))
    assert over.due == (NoticeKind.RECOVERED,)
    assert over.incident is not None
    assert (over.incident.recovered_at, over.incident.recovered_by) == (at(10), "step:complete")


def test_success_of_a_part_leaves_the_whole_failing() -> None:
    whole, part = problem(0, source="step:load:whole"), problem(1, source="step:load:part")
    incident = fail(fail(None, whole, at(0)).incident, part, at(1)).incident
    assert incident is not None
    of_part = Success("step:load:part", at(2))
    left = succeed(incident, of_part)
    assert left.incident is not None
    assert (left.incident.is_open, left.due) == (True, ())
    assert [*left.incident.sources] == ["step:load:whole"]
    over = succeed(left.incident, success(3, "step:load:whole"))
    assert over.due == (NoticeKind.RECOVERED,)
    alone = fail(None, part, at(1)).incident
    assert alone is not None
    assert succeed(alone, of_part).due == (NoticeKind.RECOVERED,)


def test_checks_that_pass_again_leave_the_whole_failing() -> None:
    """A server that restarts for lack of memory during a load fails them for a minute."""
    whole, check = problem(0, source="step:load:whole"), problem(1, source="check:up_to_date")
    incident = fail(fail(None, whole, at(0)).incident, check, at(1)).incident
    assert incident is not None
    left = succeed(incident, success(2, "check:up_to_date"))
    assert left.incident is not None
    assert (left.incident.is_open, left.due) == (True, ())
    assert succeed(left.incident, success(3, "step:load:whole")).due == (NoticeKind.RECOVERED,)


def test_success_that_is_older_than_the_newest_failure_proves_nothing() -> None:
    repeated = fail(opened(), problem(5), at(5)).incident
    assert repeated is not None
    assert succeed(repeated, success(3)) == Outcome(repeated)
    assert succeed(repeated, success(5)) == Outcome(repeated)


def test_failure_from_before_a_recovery_opens_nothing() -> None:
    over = succeed(opened(), success(10)).incident
    assert fail(over, problem(7), at(12)) == Outcome(over)
    assert fail(over, problem(11), at(12)).due == (NoticeKind.OPENED,)


def test_reminder_comes_every_24_hours_while_it_lasts() -> None:
    incident = opened()
    assert remind(incident, NOON + timedelta(hours=23, minutes=59)).due == ()
    reminded = remind(incident, NOON + timedelta(hours=24))
    assert reminded.due == (NoticeKind.REMINDER,)
    assert reminded.incident is not None
    assert remind(reminded.incident, NOON + timedelta(hours=47)).due == ()
    assert remind(reminded.incident, NOON + timedelta(hours=48)).due == (NoticeKind.REMINDER,)
    over = succeed(reminded.incident, success(60 * 48)).incident
    assert over is not None
    assert remind(over, NOON + timedelta(hours=99)).due == ()


def test_mail_tells_of_the_newest_failure_also_when_news_of_an_older_one_comes_late() -> None:
    later = fail(opened(5), problem(9, sentence="login refused"), at(9)).incident
    late = fail(later, problem(7, sentence="cut"), at(10)).incident
    assert late is not None
    assert (late.latest.sentence, late.count, late.last_seen_at) == ("login refused", 3, at(9))
    assert late.opened_at == at(5)


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["fail", "succeed", "remind"]),
        st.integers(0, 5000),
        st.sampled_from(["step:partial", "step:complete"]),
    ),
    max_size=40,
)


@given(_EVENTS)
def test_any_order_of_news_opens_and_closes_in_turn(events: list[tuple[str, int, str]]) -> None:
    incident: Incident | None = None
    told: list[NoticeKind] = []
    for kind, minutes, source in events:
        outcome = Outcome(incident)
        if kind == "fail":
            outcome = fail(incident, problem(minutes, source=source), at(minutes))
        elif incident is not None and kind == "succeed":
            outcome = succeed(incident, success(minutes, source))
        elif incident is not None:
            outcome = remind(incident, at(minutes))
        incident = outcome.incident
        told += outcome.due
    turns = [kind for kind in told if kind is not NoticeKind.REMINDER]
    expected = [NoticeKind.OPENED, NoticeKind.RECOVERED] * len(turns)
    assert turns == expected[: len(turns)]
    assert (incident is not None and incident.is_open) == (len(turns) % 2 == 1)


@given(st.lists(st.booleans(), max_size=40))
def test_news_in_time_gives_one_opening_and_one_recovery_for_each_outage(
    runs: list[bool],
) -> None:
    incident: Incident | None = None
    told: list[NoticeKind] = []
    for minutes, ok in enumerate(runs):
        outcome = Outcome(incident)
        if not ok:
            outcome = fail(incident, problem(minutes), at(minutes))
        elif incident is not None:
            outcome = succeed(incident, success(minutes))
        incident = outcome.incident
        told += outcome.due
    before = [True, *runs]
    outages = sum(a and not b for a, b in zip(before, runs, strict=False))
    ends = sum(not a and b for a, b in zip(before, runs, strict=False))
    assert told.count(NoticeKind.OPENED) == outages
    assert told.count(NoticeKind.RECOVERED) == ends


def test_problem_is_a_value() -> None:
    assert problem(1) == Problem(**vars(problem(1)))
