"""Cron expressions: what is accepted is what Dagster can schedule."""

from __future__ import annotations

import dagster as dg
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ar_sync_pipeline.settings.cron import cron_problem


@pytest.mark.parametrize(
    "expression",
    ["30 3 * * *", "*/5 * * * *", "0 0,12 1-15/2 jan-jun mon", "0 0 29 2 *", "0 0 31 1,2 7"],
)
def test_sound_cron_expression_is_accepted(expression: str) -> None:
    assert cron_problem(expression) is None


@pytest.mark.parametrize(
    "expression",
    [
        "", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *",
        "* * * 13 *", "* * * * 8", "*/0 * * * *", "5/15 * * * *", "9-5 * * * *", "a * * * *",
        "1,,2 * * * *", "* * L * *", "* * * * 1#2", "0 0 31 2 *", "0 0 31 4,6 *", "٣ * * * *",
        "5-5 * * * *", "*/60 * * * *", "0 0 31 2 7",
    ],
)  # fmt: skip
def test_unsound_cron_expression_is_refused(expression: str) -> None:
    assert cron_problem(expression)


_STEPS = st.sampled_from(["", "/2", "/3", "/7", "/59"])


def _cron_field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    spans = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    item = st.one_of(
        st.just("*"), number.map(str), st.tuples(spans | st.just("*"), _STEPS).map("".join)
    )
    return st.lists(item, min_size=1, max_size=3).map(",".join)


@given(
    st.tuples(
        _cron_field(0, 59), _cron_field(0, 23), _cron_field(1, 31), _cron_field(1, 12),
        _cron_field(0, 7),
    ).map(" ".join)
)  # fmt: skip
def test_whatever_we_accept_dagster_can_schedule(expression: str) -> None:
    # Hypothesis fails if hardly any is accepted.
    assume(cron_problem(expression) is None)
    schedule = dg.ScheduleDefinition(job_name="complete_dump", cron_schedule=expression)
    assert schedule.cron_schedule == expression


@given(st.text(max_size=40))
def test_no_text_breaks_the_cron_check(text: str) -> None:
    problem = cron_problem(text)
    if problem is None:
        dg.ScheduleDefinition(job_name="complete_dump", cron_schedule=text)
    else:
        assert problem.strip()
