"""Every situation again, with archives that are loaded together or come late.

What an archive does to a row must not depend on what else the same load applies.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import StartSituation
from ar_sync_pipeline_tests.situations.situation import Mode, Situation, partial

HERE = Path(__file__)


def situations() -> Iterator[Situation]:
    """Those in which only the sender acts after the first complete."""
    for module in sorted(HERE.parent.glob("test_*.py")):
        if module == HERE:
            continue
        found = vars(import_module(f"{__package__}.{module.stem}")).values()
        for group in found:
            if isinstance(group, tuple):
                yield from (s for s in group if isinstance(s, Situation) and is_of_the_sender(s))


def is_of_the_sender(situation: Situation) -> bool:
    return len(situation.steps) > 0 and not any(
        step.receiver or step.waits_for or step.may_wait.get(Mode.SUPERUSER)
        for step in situation.steps
    )


ALL = pytest.mark.parametrize("situation", [pytest.param(s, id=s.name) for s in situations()])


@pytest.mark.long
@ALL
def test_all_archives_in_one_load(start_situation: StartSituation, situation: Situation) -> None:
    running = start_situation(situation, Mode.SUPERUSER)
    running.begin()
    for step in (*situation.steps, partial()):
        running.dump_after(step)
    running.load_together(situation.steps)


@pytest.mark.long
@ALL
def test_first_archive_comes_last(start_situation: StartSituation, situation: Situation) -> None:
    running = start_situation(situation, Mode.SUPERUSER)
    running.begin()
    late = running.dump_after(situation.steps[0])
    withheld = late.rename(late.with_name(late.name + ".late"))
    for step in (*situation.steps[1:], partial()):
        running.dump_after(step)
        running.sites.load()  # after a gap it may wait
    withheld.rename(late)
    running.load_together(situation.steps)
