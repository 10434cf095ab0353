"""Incidents and messages survive everything, and two who see the same failure tell of it once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ar_sync_pipeline.alerts.delivery import deliver
from ar_sync_pipeline.alerts.errors import AlertStoreError
from ar_sync_pipeline.alerts.incidents import Problem
from ar_sync_pipeline.alerts.outbox import Notice, Outbox
from ar_sync_pipeline.alerts.store import IncidentStore
from ar_sync_pipeline.alerts.wording import write_message
from ar_sync_pipeline_tests.alerts.problems import NOON, PLACE, Recorder, at, problem, success
from ar_sync_pipeline_tests.alerts.side import Side


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(tmp_path)


def test_one_opening_and_one_recovery_through_every_channel(tmp_path: Path) -> None:
    mail, webhook = Recorder(), Recorder("webhook")
    side = Side(tmp_path, mail, webhook)
    for minutes in range(0, 60, 5):
        side.store.failed(problem(minutes), at(minutes))
        side.send()
    side.store.succeeded(success(61), at(61))
    side.store.succeeded(success(66), at(66))
    side.now = at(70)
    side.send()
    assert mail.kinds == webhook.kinds == ["opened", "recovered"]
    assert mail.notices[1].incident.count == 12
    assert side.store.open_incidents() == []


@pytest.mark.parametrize("kept", [["mail"], []])
def test_messages_of_a_channel_that_is_not_configured_any_more_are_dropped(
    tmp_path: Path, kept: list[str]
) -> None:
    side = Side(tmp_path, Recorder(), Recorder("webhook"))
    side.store.failed(problem(0), at(0))
    assert [one.channel for one in side.outbox.unsent()] == ["mail", "webhook"]
    side.store.remind(at(1))
    assert len(side.outbox.unsent()) == 2
    IncidentStore(side.path, kept).remind(at(2))
    assert [one.channel for one in side.outbox.unsent()] == kept
    assert len(side.store.open_incidents()) == 1


def test_hook_and_sensor_that_see_the_same_failure_at_once_tell_of_it_once(side: Side) -> None:
    def see(_: int) -> None:
        side.store.failed(problem(0), at(0))
        side.send()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(see, range(16)))
    assert side.kinds == ["opened"]
    (one,) = side.store.open_incidents()
    assert one.incident.count == 1


def test_failure_that_is_seen_again_after_its_recovery_is_known(side: Side) -> None:
    side.store.failed(problem(0), at(0))
    side.store.succeeded(success(5), at(5))
    side.store.failed(problem(0), at(6))
    side.now = at(6)
    side.send()
    assert side.kinds == ["opened", "recovered"]


class TestCheckAndStepThatFailInOneRun:
    """The check of the connection reports each attempt of the run, the step the last one."""

    def step(self, minutes: float) -> Problem:
        return replace(problem(minutes, source="step:complete"), occurrence="one run")

    def check(self, minutes: float) -> Problem:
        return replace(problem(minutes, source="check:link"), occurrence="one run")

    def test_they_count_once_and_the_recovery_names_what_has_not_worked_since(
        self, side: Side
    ) -> None:
        for minutes in (0, 5):
            side.store.failed(self.check(minutes), at(minutes))
        side.store.failed(self.step(10), at(10))
        side.store.failed(self.step(10), at(11))
        (one,) = side.store.open_incidents()
        assert (one.incident.count, one.incident.last_seen_at) == (1, at(10))
        side.store.succeeded(success(20, "check:link"), at(20))
        side.now = at(20)
        side.send()
        assert side.kinds == ["opened", "recovered"]
        message = write_message(side.channels[0].notices[1], PLACE)
        assert "not seen to work since: job of step:complete;" in message.text

    def test_either_ends_the_incident_that_the_last_attempt_opens_again(self, side: Side) -> None:
        side.store.failed(self.check(0), at(0))
        side.store.succeeded(success(5, "check:link"), at(5))
        side.store.failed(self.step(10), at(10))
        side.store.failed(self.check(9), at(11))
        side.store.succeeded(success(15, "check:link"), at(15))
        side.now = at(15)
        side.send()
        assert side.kinds == ["opened", "recovered", "opened", "recovered"]

    def test_failure_of_an_incident_that_is_over_is_no_source_of_a_new_one(
        self, side: Side
    ) -> None:
        side.store.failed(self.check(0), at(0))
        side.store.succeeded(success(5, "check:link"), at(5))
        side.store.failed(problem(10), at(10))
        side.store.failed(self.check(0), at(11))  # the sensor has lost its cursor
        (one,) = side.store.open_incidents()
        assert list(one.incident.sources) == ["step:partial"]


def test_incident_shows_the_newest_state_of_what_lasts_and_counts_it_once(side: Side) -> None:
    for minutes in (0, 60, 120):
        late = problem(minutes, source="check:up_to_date", sentence=f"{minutes} min late")
        side.store.failed(replace(late, occurrence="finding of noon"), at(minutes))
    (one,) = side.store.open_incidents()
    assert (one.incident.latest.sentence, one.incident.last_seen_at) == ("120 min late", at(120))
    assert (one.incident.opened_at, one.incident.count) == (at(0), 1)
    side.now = at(24 * 60)
    side.store.remind(side.now)
    side.send()
    assert "Seen   last 2026-11-24 14:00" in write_message(side.channels[0].notices[1], PLACE).text


def test_lasting_failure_that_a_person_closed_stays_closed(side: Side) -> None:
    lasting = replace(problem(0), occurrence="finding of noon")
    side.store.failed(lasting, at(0))
    side.store.close(1, at(5))
    side.store.failed(replace(lasting, at=at(10)), at(10))
    assert side.store.open_incidents() == []


def test_lasting_failure_that_is_found_after_the_recovery_is_a_new_incident(side: Side) -> None:
    """Another source of its cause has worked, once, and will not fail again."""
    lasting = replace(problem(0, source="check:preflight"), occurrence="finding of noon")
    side.store.failed(lasting, at(0))
    side.store.failed(problem(10, source="step:load"), at(10))
    side.store.succeeded(success(20, "step:load"), at(20))
    side.store.failed(replace(lasting, at=at(15)), at(21))  # reported late
    assert side.store.open_incidents() == []
    for minutes in (25, 30):
        side.store.failed(replace(lasting, at=at(minutes)), at(minutes))
    (one,) = side.store.open_incidents()
    assert (list(one.incident.sources), one.incident.count) == (["check:preflight"], 1)
    side.now = at(30)
    side.send()
    assert side.kinds == ["opened", "recovered", "opened"]


@pytest.mark.parametrize("is_outage", [True, False])
def test_outage_is_over_when_other_work_with_the_same_thing_succeeds(
    side: Side, is_outage: bool
) -> None:
    """The next nightly complete is a day away; whether its role lacks a right only it can tell."""
    failed = problem(0, cause="database", source="step:complete")
    side.store.failed(replace(failed, is_outage=is_outage), at(0))
    side.store.succeeded(replace(success(4, "step:checker"), proves=None), at(4))
    assert len(side.store.open_incidents()) == 1
    side.store.succeeded(replace(success(5, "step:partial"), proves="database"), at(5))
    assert len(side.store.open_incidents()) == (0 if is_outage else 1)
    side.now = at(5)
    side.send()
    if is_outage:
        message = write_message(side.channels[0].notices[1], PLACE)
        assert "not seen to work since: job of step:complete;" in message.text


def test_failure_of_another_cause_ends_what_only_its_source_could_end(side: Side) -> None:
    check, step = "check:archives_loaded", "step:load"
    side.store.failed(problem(0, cause="guard", source=check), at(0))
    side.store.failed(problem(1, cause="shared", source=check), at(1))
    side.store.failed(problem(2, cause="shared", source=step), at(2))
    whole = replace(problem(3, cause=check, source=check), ends_other_causes=True)
    side.store.failed(replace(whole, at=at(-1), occurrence="late"), at(3))
    assert [one.incident.cause for one in side.store.open_incidents()] == ["guard", "shared", check]
    side.store.failed(whole, at(3))
    assert [one.incident.cause for one in side.store.open_incidents()] == ["shared", check]


def test_causes_that_a_source_reports_together_do_not_end_each_other(side: Side) -> None:
    source = "check:archives_loaded"
    guard = replace(problem(0, cause="guard", source=source), ends_other_causes=True)
    other = replace(problem(0, cause=source, source=source), ends_other_causes=True)
    for one, also in ((guard, source), (other, "guard")):
        side.store.failed(replace(one, other_causes=(also,)), at(0))
    assert [one.incident.cause for one in side.store.open_incidents()] == ["guard", source]
    side.store.failed(replace(guard, occurrence="next", at=at(1)), at(1))
    assert [one.incident.cause for one in side.store.open_incidents()] == ["guard"]


def test_failure_of_a_step_ends_no_other_cause(side: Side) -> None:
    side.store.failed(problem(0, cause="endpoint"), at(0))
    side.store.failed(problem(1, cause="database"), at(1))
    assert len(side.store.open_incidents()) == 2


def test_consequence_is_not_reported_while_its_cause_is_open(side: Side) -> None:
    side.store.failed(problem(0), at(0))
    for minutes in (1, 10):
        side.store.failed(problem(minutes, cause="check", muted_by="endpoint"), at(minutes))
        side.store.succeeded(success(5), at(5))
    side.now = at(11)
    side.send()
    assert [notice.incident.cause for notice in side.channels[0].notices] == [
        "endpoint", "endpoint", "check"
    ]  # fmt: skip


def test_cause_that_was_not_seen_for_hours_keeps_no_consequence_back(side: Side) -> None:
    side.store.failed(problem(0), at(0))
    for minutes, incidents in ((119, 1), (121, 2)):
        side.store.failed(problem(minutes, cause="check", muted_by="endpoint"), at(minutes))
        assert len(side.store.open_incidents()) == incidents


def test_server_that_is_down_gets_both_messages_in_order_when_it_is_back(side: Side) -> None:
    mail = side.channels[0]
    mail.broken = True
    side.store.failed(problem(0), at(0))
    assert side.send().problems == ["the server is away: restart it."]
    side.store.succeeded(success(5), at(5))
    side.now = at(5)
    side.send()
    assert [message.attempts for message in side.outbox.unsent()] == [2, 0]
    mail.broken = False
    side.now = at(60)
    assert side.send().sent == 2
    assert mail.kinds == ["opened", "recovered"]
    assert side.outbox.unsent() == []


class TestClockThatWasAhead:
    """A host boots three hours ahead, and its clock is set back to noon."""

    def test_failure_after_an_incident_of_the_future_is_reported(self, side: Side) -> None:
        side.store.failed(problem(180), at(180))
        side.store.succeeded(success(185), at(185))
        side.store.failed(problem(0), at(1))
        side.now = at(1)
        side.send()
        assert side.kinds == ["opened", "recovered", "opened"]

    def test_open_incident_of_the_future_recovers_now(self, side: Side) -> None:
        side.store.failed(problem(180), at(180))
        side.store.succeeded(success(0), at(1))
        side.now = at(1)
        side.send()
        assert side.kinds == ["opened", "recovered"]
        incident = side.channels[0].notices[1].incident
        assert incident.recovered_at == at(0)
        assert incident.opened_at <= at(0)

    def test_newest_failure_is_that_after_the_clock_was_set_back(self, side: Side) -> None:
        side.store.failed(problem(180, sentence="old"), at(180))
        side.store.failed(problem(2, sentence="new"), at(3))
        (one,) = side.store.open_incidents()
        assert (one.incident.latest.sentence, one.incident.last_seen_at) == ("new", at(2))

    def test_incident_of_next_year_is_reminded_of_a_day_after_the_clock_was_set(
        self, side: Side
    ) -> None:
        side.store.failed(problem(60 * 24 * 365), at(60 * 24 * 365))
        for hours in (0, 23, 25):
            side.now = at(60 * hours)
            side.store.remind(side.now)
        side.send()
        assert side.kinds == ["opened", "reminder"]

    @pytest.mark.parametrize("broken", [True, False])
    def test_message_of_the_future_is_sent_now(self, side: Side, broken: bool) -> None:
        side.now = at(180)
        side.store.failed(problem(180), side.now)
        if broken:
            side.channels[0].broken = True
            side.send()
            side.channels[0].broken = False
        else:  # the process is killed, so only the lease is left
            assert side.outbox.take(side.now, ["mail"])
        side.now = at(0)
        side.send()
        assert side.kinds == ["opened"]

    def test_pause_and_lease_of_a_right_clock_are_kept(self, side: Side) -> None:
        side.store.failed(problem(0), at(0))
        assert side.outbox.take(at(0), ["mail"])
        assert side.outbox.take(at(1), ["mail"]) is None
        side.now, side.channels[0].broken = at(6), True
        while side.now < at(120):
            side.send()
            side.now += timedelta(minutes=1)
        (unsent,) = side.outbox.unsent()
        assert unsent.attempts < 15


def test_failure_that_changed_nothing_is_not_remembered(side: Side) -> None:
    side.store.failed(problem(0), at(0))
    side.store.succeeded(success(5), at(5))
    side.store.failed(problem(3), at(6))
    with closing(sqlite3.connect(side.path)) as db:
        assert db.execute("SELECT occurrence FROM seen").fetchall() == [("run at 0",)]


_FIRST_VERSION = """
CREATE TABLE store (id TEXT NOT NULL);
CREATE TABLE incident (
  number INTEGER PRIMARY KEY AUTOINCREMENT, cause TEXT NOT NULL, is_open INTEGER NOT NULL,
  changed_at REAL NOT NULL, body TEXT NOT NULL);
CREATE INDEX incident_cause ON incident (cause, number);
CREATE UNIQUE INDEX one_open_incident ON incident (cause) WHERE is_open;
CREATE TABLE seen (
  cause TEXT NOT NULL, occurrence TEXT NOT NULL, seen_at REAL NOT NULL,
  PRIMARY KEY (cause, occurrence)) WITHOUT ROWID;
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, incident INTEGER NOT NULL, cause TEXT NOT NULL,
  channel TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, made_at REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL, lease_until REAL NOT NULL DEFAULT 0,
  error TEXT NOT NULL DEFAULT '');
INSERT INTO store VALUES ('first');
PRAGMA user_version = 1;
"""


def test_file_of_the_first_version_is_upgraded(side: Side) -> None:
    side.path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(side.path)) as db:
        db.executescript(_FIRST_VERSION)
    side.store.failed(problem(0), at(0))
    assert side.send().sent == 1
    assert side.channels[0].notices[0].store == "first"


@pytest.mark.parametrize("version", [1, 2])
def test_what_an_older_version_has_seen_is_known_of_every_source(side: Side, version: int) -> None:
    side.path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(side.path)) as db:
        db.executescript(_FIRST_VERSION)
        if version == 2:
            db.execute("ALTER TABLE outbox ADD COLUMN recipients TEXT NOT NULL DEFAULT ''")
            db.execute("PRAGMA user_version = 2")
        db.execute("INSERT INTO seen VALUES ('endpoint', 'run at 0', 0)")
        db.commit()
    side.store.failed(problem(0), at(0))
    assert side.store.open_incidents() == []
    side.store.failed(problem(1), at(1))
    assert len(side.store.open_incidents()) == 1


def test_attempts_grow_apart_to_a_quarter_of_an_hour_and_never_end(side: Side) -> None:
    mail = side.channels[0]
    mail.broken = True
    side.store.failed(problem(0), at(0))
    tried = []
    while side.now < NOON + timedelta(hours=2):
        if side.send().problems:
            tried.append((side.now - NOON).total_seconds() / 60)
        side.now += timedelta(seconds=30)
    assert tried[:7] == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 30.5]
    mail.broken = False
    side.now += timedelta(hours=1)
    side.send()
    assert mail.kinds == ["opened"]


def test_server_that_keeps_a_connection_open_delays_nothing(side: Side) -> None:
    held = Event()

    class Silent(Recorder):
        def send(self, notice: Notice) -> None:
            held.wait(30)
            super().send(notice)

    silent = Silent()
    side.store.failed(problem(0), at(0))
    started = time.monotonic()
    done = deliver(side.outbox, [silent], lambda: side.now, seconds=0.2)
    assert time.monotonic() - started < 5
    assert done.problems == ["A message is still being sent after 0 seconds."]
    assert side.send(silent).sent == 0  # on lease: nobody sends it a second time
    held.set()


def test_person_closes_what_no_success_will_end(side: Side) -> None:
    side.store.failed(problem(0), at(0))
    (one,) = side.store.open_incidents()
    assert not side.store.close(one.number + 1, at(5))
    assert side.store.close(one.number, at(5))
    assert not side.store.close(one.number, at(6))
    side.now = at(6)
    side.send()
    assert side.kinds == ["opened", "recovered"]


def test_one_channel_that_is_down_does_not_keep_the_other_back(tmp_path: Path) -> None:
    mail, webhook = Recorder(broken=True), Recorder("webhook")
    side = Side(tmp_path, mail, webhook)
    side.store.failed(problem(0), at(0))
    side.send()
    assert (mail.kinds, webhook.kinds) == ([], ["opened"])


def test_only_the_newest_unsent_reminder_is_kept(side: Side) -> None:
    side.channels[0].broken = True
    side.store.failed(problem(0), at(0))
    for days in range(1, 6):
        side.now = NOON + timedelta(days=days)
        side.store.remind(side.now)
        side.send()
    assert [str(message.kind) for message in side.outbox.unsent()] == ["opened", "reminder"]


def test_without_a_channel_incidents_are_still_saved(tmp_path: Path) -> None:
    store = IncidentStore(tmp_path / "incidents.sqlite", [])
    store.failed(problem(0), at(0))
    assert [one.number for one in store.open_incidents()] == [1]
    assert Outbox(tmp_path / "incidents.sqlite").unsent() == []


def test_what_is_over_is_forgotten_after_months(side: Side) -> None:
    side.store.failed(problem(0), at(0))
    side.store.succeeded(success(5), at(5))
    side.send()
    side.store.remind(NOON + timedelta(days=100))
    with sqlite3.connect(side.path) as db:
        counts = [db.execute(f"SELECT count(*) FROM {t}").fetchone() for t in ("incident", "seen")]
    db.close()
    assert counts == [(0,), (0,)]


def test_damaged_file_is_one_sentence_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "incidents.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(AlertStoreError, match="move it away"):
        IncidentStore(path, ["mail"]).failed(problem(0), at(0))


@pytest.mark.parametrize("table", ["incident", "outbox"])
def test_damaged_row_is_one_sentence_with_what_to_do(side: Side, table: str) -> None:
    side.store.failed(problem(0), at(0))
    with closing(sqlite3.connect(side.path)) as db, db:
        db.execute(f"UPDATE {table} SET body = '{{}}'")
    if table == "incident":
        with pytest.raises(AlertStoreError, match="move it away") as damaged:
            side.store.open_incidents()
        said = str(damaged.value)
    else:
        (said,) = side.send().problems
    assert "cannot be used (it contains something that is no incident)" in said


def test_folder_of_incidents_is_for_its_owner_only(side: Side) -> None:
    side.store.failed(problem(0), at(0))
    assert side.path.parent.stat().st_mode & 0o077 == 0


_KILLED = """
import os, signal, sys
from pathlib import Path
from ar_sync_pipeline.alerts import database
from ar_sync_pipeline.alerts.delivery import deliver
from ar_sync_pipeline.alerts.outbox import Outbox
from ar_sync_pipeline.alerts.store import IncidentStore
from ar_sync_pipeline_tests.alerts.problems import NOON, at, problem

path, sent, point = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Mail:
    name = "mail"
    def send(self, notice):
        sent.open("a").write(f"{notice.kind} {notice.store} {notice.number}\\n")
        if point == "sent":
            die()

store = IncidentStore(path, ["mail"])
if point == "noted":
    import ar_sync_pipeline.alerts.store as store_module
    store_module.enqueue = die
store.failed(problem(0), at(0))
deliver(Outbox(path), [Mail()], lambda: NOON, seconds=10)
"""


@pytest.mark.parametrize(
    ("point", "before", "after"), [("noted", 0, 1), ("sent", 1, 1)], ids=["noting", "sending"]
)
def test_kill_may_repeat_a_message_and_never_loses_one(
    side: Side, tmp_path: Path, point: str, before: int, after: int
) -> None:
    sent = tmp_path / "sent"
    sent.touch()
    died = subprocess.run(
        [sys.executable, "-c", _KILLED, str(side.path), str(sent), point], check=False
    )
    assert died.returncode == -signal.SIGKILL
    lines = sent.read_text().splitlines()
    assert len(lines) == before
    side.store.failed(problem(0), at(1))
    side.now = at(1)
    if point == "sent":  # on lease: it might still be on its way
        assert side.send().sent == 0
    side.now = at(6)
    side.send()
    side.now = at(30)
    side.send()
    notices = side.channels[0].notices
    assert side.kinds == ["opened"] * after
    # The same name, so that a mail program shows a repeated mail once.
    assert lines == [f"opened {n.store} {n.number}" for n in notices][: len(lines)]
    assert os.listdir(side.path.parent) == [side.path.name]  # noqa: PTH208


_HISTORY = st.lists(
    st.tuples(
        st.booleans(),  # whether the run succeeds
        st.booleans(),  # whether its hook lives long enough to see a failure
        st.booleans(),  # whether the sensor ticks afterwards
        st.booleans(),  # whether the sensor has lost its cursor
        st.booleans(),  # whether the mail server is up
    ),
    max_size=12,
)

_SECOND_OUTAGE_WHILE_THE_FIRST_IS_UNSENT = [
    (False, False, True, False, False),
    (False, False, True, False, False),
    (True, False, True, False, False),
    (False, False, True, False, True),
]


@settings(max_examples=15, deadline=None)
@example(_SECOND_OUTAGE_WHILE_THE_FIRST_IS_UNSENT)
@given(_HISTORY)
def test_any_history_is_reported_in_order_and_ends_with_the_truth(
    history: list[tuple[bool, bool, bool, bool, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        side = Side(Path(folder))
        mail = side.channels[0]
        looked = 0
        for minute, (_, hook, tick, lost, up) in enumerate(history, start=1):
            side.now, mail.broken = at(minute), not up
            if not history[minute - 1][0] and hook:
                side.store.failed(problem(minute), side.now)
                side.send()
            if tick:
                _look(side, [ok for ok, *_ in history[:minute]], 0 if lost else looked, side.now)
                looked = minute
                side.send()
        side.now, mail.broken = at(1000), False
        _look(side, [ok for ok, *_ in history], looked, side.now)
        for hours in (1, 2):
            side.now = at(1000 + 60 * hours)
            side.send()
        expected = ["opened", "recovered"] * len(history)
        assert mail.kinds == expected[: len(mail.kinds)]
        assert len(mail.kinds) % 2 == (1 if history and not history[-1][0] else 0)
        assert side.outbox.unsent() == []


def _look(side: Side, runs: list[bool], since: int, now: datetime) -> None:
    """What the sensor does with the runs since its last look."""
    for minute, ok in enumerate(runs, start=1):
        if minute <= since:
            continue
        if ok:
            side.store.succeeded(success(minute), now)
        else:
            side.store.failed(problem(minute), now)
