"""Moving in, rehearsed: the old sender, both, the new one, and back; production never rests.

The switch is at a random moment. While both send, their archives arrive in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.city import fill_city
from ar_sync_pipeline.demo.traffic import Traffic
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.load_checks import load_check_results
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline.sync.watch.compare import compare_databases
from ar_sync_pipeline_tests.fix_shared_databases import SharedDatabases
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.legacy.conftest import OldReceiver
from ar_sync_pipeline_tests.legacy.old_sender import OldSender

INTERVAL = timedelta(minutes=5)
EVENTS = '"AndroidRequests_eventforbusv2"'
OWN = (
    f'SELECT id, fixed, "busStop1" FROM {EVENTS} WHERE "busStop1" IS NOT NULL ORDER BY 1',
    'SELECT * FROM "AndroidRequests_halfhourperiod" ORDER BY 1',
)


@dataclass
class Rehearsal:
    """Two servers and both systems on one of them."""

    receiver: OldReceiver
    old: OldSender
    connection: psycopg.Connection[tuple[object, ...]]
    traffic: Traffic
    now: datetime
    since: Watermark | None = None
    alarms: list[str] = field(default_factory=list)

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def interval(self, *sends: Callable[[], object]) -> None:
        """Production works for five minutes; then somebody sends."""
        self.now += INTERVAL
        self.traffic.burst(self.now, deletions=True)
        for send in sends:
            send()

    def old_complete(self) -> None:
        self.receiver.offer(self.old.complete(), "complete", self.old.stamp())

    def old_partial(self) -> None:
        self.receiver.offer(self.old.partial(15), "partial", self.old.stamp())

    def new_complete(self) -> None:
        self.since = verify_archive(self.receiver.complete(self.since), signing_keys=()).watermark

    def new_partial(self) -> None:
        window = Window(start=self.now - INTERVAL, end=self.now)
        self.since = verify_archive(
            self.receiver.partial(window, since=self.since), signing_keys=()
        ).watermark

    def load(self) -> LoadReport:
        """Load what waits; findings of the checks are alarms."""
        report = self.receiver.load()
        self.alarms += [
            f"{result.check_name}: {result.description}"
            for result in load_check_results(report, 5, ALONE)
            if not result.passed
        ]
        return report

    def equal(self) -> bool:
        found = compare_databases(
            self.receiver.sender, self.receiver.receiver, self.receiver.catalog
        )
        return all(table.equal for table in found)

    def own(self) -> list[list[tuple[object, ...]]]:
        return [rows(self.receiver.receiver, query) for query in OWN]


@pytest.fixture
def rehearsal(shared_databases: SharedDatabases, tmp_path: Path) -> Iterator[Rehearsal]:
    sender, receiver = shared_databases.clean("sender"), shared_databases.clean("receiver")
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    with psycopg.connect(receiver) as connection:
        connection.execute("DELETE FROM django_migrations")
    environ = {"AR_SYNC_OLD_ARCHIVES": "accept", "AR_SYNC_TIME": "15"}
    site = OldReceiver(sender, receiver, load_catalog(), tmp_path, environ)
    connection = psycopg.connect(sender, autocommit=True)
    fill_city(connection, now=now)
    traffic = Traffic(connection, site.sender_media, seed=7)
    made = Rehearsal(
        site, OldSender(sender, site.sender_media, lambda: made.now), connection, traffic, now
    )
    site.clock = made.clock
    with connection:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_moving_in_and_back_ends_equal_and_keeps_what_the_receiver_owns(
    rehearsal: Rehearsal, seed: int
) -> None:
    chance = Random(seed)  # noqa: S311  the same rehearsal each time
    r, site = rehearsal, rehearsal.receiver
    r.old_complete()
    r.load()
    assert r.equal()
    site.at_receiver(f"UPDATE {EVENTS} SET \"busStop1\" = 'PA1', fixed = true WHERE id % 50 = 0")
    own = r.own()
    for _ in range(chance.randint(1, 4)):
        r.interval(r.old_partial)
        r.load()
    # Both send; the new sender begins with a complete, before or after an old partial.
    sends = [r.old_partial, r.new_complete]
    chance.shuffle(sends)
    r.interval(*sends)
    r.load()
    assert r.equal()
    assert site.files("quarantine") == site.files("parked") == []
    assert [alarm for alarm in r.alarms if "no_drift" not in alarm] == []
    # The old sender's cron runs on until somebody removes it.
    for _ in range(chance.randint(1, 2)):
        r.interval(r.old_partial, r.new_partial)
        r.load()
    late = [name for name in site.files("quarantine") if name.endswith(".json")]
    assert late, "an old archive is not mixed into the new sender's"
    for _ in range(chance.randint(1, 3)):
        r.interval(r.new_partial)
        r.load()
    r.alarms.clear()
    r.interval(r.new_complete)
    r.load()
    assert r.equal()
    assert r.alarms == []
    still = {row[0] for row in rows(site.receiver, f"SELECT id FROM {EVENTS}")}
    kept = [[row for row in own[0] if row[0] in still], own[1]]
    assert r.own() == kept
    # Back, as the page says: archives and ledger go, and the old archives count again.
    for kind in ("complete", "partial"):
        for path in (site.spool / kind).iterdir():
            path.unlink()
    site.at_receiver("DROP SCHEMA ar_sync CASCADE")
    r.interval(r.old_complete)
    r.load()
    assert r.equal()
    assert r.own()[1] == own[1]
