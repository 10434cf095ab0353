"""The promise for any history, with column rules: the receiver converges to what they make of rows.

The rules may also come, change and go on the way.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from ar_sync_pipeline_tests.convergence import masked
from ar_sync_pipeline_tests.convergence.application import CATALOG
from ar_sync_pipeline_tests.convergence.fix_convergence import KillableRuns, Servers
from ar_sync_pipeline_tests.convergence.row_images import State
from ar_sync_pipeline_tests.convergence.test_any_history import HISTORIES, PHASES, STEPS, History


class MaskedHistory(History):
    """One history of a sender with column rules."""

    excluding = True

    def __init__(self) -> None:
        super().__init__()
        self.use_rules(True)

    def use_rules(self, given: bool) -> None:
        self.sender.catalog = masked.masked_catalog(excluding=self.excluding) if given else CATALOG
        self.sender.as_sent = masked.as_sent if given else _as_it_is
        self.sender.pseudonym_key = masked.KEY if given else None


class ChangingHistory(MaskedHistory):
    """One in which an operator gives and takes the rules."""

    excluding = False

    def journal_of_the_sender_is_lost(self) -> None:  # no rule here
        """With the journal it is lost which rules were taken away; the next complete repairs."""

    @rule(given=st.booleans())
    def change_the_catalog(self, given: bool) -> None:
        self.use_rules(given)


def _as_it_is(state: State) -> State:
    return state


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("history", [MaskedHistory, ChangingHistory])
def test_receiver_converges_to_the_masked_rows(
    servers: Servers, killable_runs: KillableRuns, history: type[History]
) -> None:
    machine = type("ThisHistory", (history,), {"servers": servers, "runs": killable_runs})
    run_state_machine_as_test(
        seed(20_261_129)(machine),
        settings=settings(
            max_examples=max(4, HISTORIES // 4),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
