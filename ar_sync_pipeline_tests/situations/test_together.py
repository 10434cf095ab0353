"""Every situation again, with archives that are loaded together or come late.

What an archive does to a row must not depend on what else the same load applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline_tests.situations.fix_situations import StartSituation
from ar_sync_pipeline_tests.situations.running import run_sql
from ar_sync_pipeline_tests.situations.situation import Mode, Situation, complete, partial

HERE = Path(__file__)


def situations() -> Iterator[Situation]:
    """Every situation of this folder."""
    for module in sorted(HERE.parent.glob("test_*.py")):
        if module == HERE:
            continue
        found = vars(import_module(f"{__package__}.{module.stem}")).values()
        for group in found:
            if isinstance(group, tuple):
                yield from (s for s in group if isinstance(s, Situation))


def is_of_the_sender(situation: Situation) -> bool:
    """Whether only the sender acts after the first complete."""
    return len(situation.steps) > 0 and not any(
        step.receiver or step.waits_for or step.may_wait.get(Mode.SUPERUSER)
        for step in situation.steps
    )


def migrates_the_receiver(situation: Situation) -> bool:
    """Whether the receiver follows once, and a complete brings what no longer fits it then."""
    migrations = [step for step in situation.steps if step.receiver or step.then]
    return len(migrations) == 1 and situation.steps[-1].kind is ArchiveKind.COMPLETE


def all_that(chosen: Callable[[Situation], bool]) -> pytest.MarkDecorator:
    found = [pytest.param(s, id=s.name) for s in situations() if chosen(s)]
    return pytest.mark.parametrize("situation", found)


TOUCH_EVERY_ROW = """
DO $$
DECLARE one record;
BEGIN
  FOR one IN SELECT c.oid::regclass AS name, min(a.attname) AS attname
               FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
              WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname LIKE 't\\_%'
                AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0
                AND NOT a.attisdropped AND a.attidentity = '' AND a.attgenerated = ''
              GROUP BY c.oid
  LOOP EXECUTE format('UPDATE %1$s SET %2$I = %2$I', one.name, one.attname); END LOOP;
END $$
"""


@pytest.mark.long
@all_that(is_of_the_sender)
def test_all_archives_in_one_load(start_situation: StartSituation, situation: Situation) -> None:
    running = start_situation(situation, Mode.SUPERUSER)
    running.begin()
    for step in (*situation.steps, partial()):
        running.dump_after(step)
    running.load_together(situation.steps)


@pytest.mark.long
@all_that(is_of_the_sender)
def test_first_archive_comes_last(start_situation: StartSituation, situation: Situation) -> None:
    running = start_situation(situation, Mode.SUPERUSER)
    running.begin()
    late = running.dump_after(situation.steps[0])
    withheld = late.rename(late.with_name(late.name + ".late"))
    for step in (*situation.steps[1:], partial()):
        running.dump_after(step)
        running.sites.load()  # after a gap it may wait
    withheld.rename(late)
    if situation.late_waits_for:
        running.load_waits(situation.late_waits_for)
        running.dump_after(complete())
    running.load_together(situation.steps)


@pytest.mark.long
@all_that(migrates_the_receiver)
def test_archives_of_before_and_after_a_migration_in_one_load(
    start_situation: StartSituation, situation: Situation
) -> None:
    """The receiver is stopped for its migration while the sender continues."""
    running = start_situation(situation, Mode.SUPERUSER)
    running.begin()
    for step in (partial(TOUCH_EVERY_ROW), *situation.steps):
        running.dump_after(step)
    for step in situation.steps:
        run_sql(running.servers.receiver, f"{step.receiver};;{step.then}")
    running.sites.load()  # what no longer fits waits for the complete of this load
    running.load_together(situation.steps)
