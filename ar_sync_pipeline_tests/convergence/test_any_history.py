"""The promise, for any history: real databases, real dumps and loads, and an adversary between.

The receiver converges whatever archives are lost, repeated, delayed, reordered, cut, corrupted or
half-processed by a killed process. ``AR_SYNC_HISTORIES`` says how many histories are tried;
``AR_SYNC_HISTORY_SEED`` repeats those of a failure.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.sync.dump.choose_base import complete_to_repeat
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline_tests.convergence import invariants
from ar_sync_pipeline_tests.convergence.fix_convergence import DUMPS_AS, KillableRuns, Servers
from ar_sync_pipeline_tests.convergence.migrations import POLICY, Migration, Migrations
from ar_sync_pipeline_tests.convergence.receiver_side import Backup, ReceiverSide
from ar_sync_pipeline_tests.convergence.sender_side import (
    Dumped,
    SenderSide,
    VirtualClock,
    WrongClock,
)
from ar_sync_pipeline_tests.convergence.small_chunks import use_small_chunks
from ar_sync_pipeline_tests.convergence.traffic import (
    BEGINNING,
    CHILDREN,
    PARENTS,
    Write,
    transactions,
)

HISTORIES = int(os.environ.get("AR_SYNC_HISTORIES", "8"))
SHARDS = 1 if HISTORIES <= 25 else 8
STEPS = 30
# Shrinking takes minutes: it is for the person who looks at a failure.
PHASES = [Phase.generate, *([Phase.shrink] if os.environ.get("AR_SYNC_SHRINK") else [])]
MAX_OPEN = 2
parents, children = st.integers(1, PARENTS), st.integers(1, CHILDREN)
sometimes = st.sampled_from([True, True, True, False])
# Of something whose length differs between runs: what hypothesis draws must not depend on that.
places = st.integers(0, 2**32)


class History(RuleBasedStateMachine):
    """One history of both servers."""

    servers: Servers
    runs: KillableRuns

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="history-"))
        self.clock = VirtualClock(datetime.now(UTC))
        s = self.servers
        self.sender_clock, self.receiver_clock = WrongClock(self.clock), WrongClock(self.clock)
        self.sender = SenderSide(
            s.sender_url, s.sender, self.folder, self.sender_clock, note, role=DUMPS_AS
        )
        self.receiver = ReceiverSide(s.receiver_url, s.receiver, self.folder, self.receiver_clock)
        self.migrations = Migrations(self.sender, self.receiver)
        self.seen: ReceiverView = self.receiver.seen_from_sender()
        self.backup: Backup | None = None
        self.value = 0

    @initialize(filled=sometimes)
    def begin(self, filled: bool) -> None:
        if filled:
            self.sender.run(BEGINNING)
            self.receiver.deliver(self.sender.complete(None))
            self.receiver.load()

    # The sender.

    @rule(writes=transactions)
    def change_rows(self, writes: list[Write]) -> None:
        self.clock.pass_time(timedelta(seconds=20))
        self.sender.write(writes)

    @rule(writes=transactions)
    def change_rows_in_a_transaction_that_stays_open(self, writes: list[Write]) -> None:
        if len(self.sender.open_transactions) < MAX_OPEN:
            self.sender.begin(writes)

    @precondition(lambda self: self.sender.open_transactions)
    @rule(writes=transactions, commit=sometimes)
    def end_an_open_transaction(self, writes: list[Write], commit: bool) -> None:
        self.sender.go_on(self.sender.open_transactions[0], writes)
        self.sender.end(0, commit=commit)

    @rule(child=children, content=st.binary(max_size=20), named=st.booleans())
    def change_a_picture(self, child: int, content: bytes, named: bool) -> None:
        self.sender.change_picture(child, content, named=named)

    @rule(delivered=sometimes, published=sometimes, link=sometimes)
    def dump_a_partial(self, delivered: bool, published: bool, link: bool) -> None:
        self.clock.pass_time(timedelta(minutes=1))
        dumped = self.sender.partial(self.look(link), published=published or delivered)
        invariants.archive_carries_every_change(dumped, self.start_of(dumped))
        if delivered:
            self.receiver.deliver(dumped)

    @rule(delivered=sometimes, published=sometimes)
    def dump_a_complete(self, delivered: bool, published: bool) -> None:
        self.clock.pass_time(timedelta(minutes=1))
        dumped = self.complete(published=published or delivered)
        invariants.archive_carries_every_change(dumped, None)
        if delivered:
            self.receiver.deliver(dumped)

    def complete(self, *, published: bool = True) -> Dumped:
        view = self.look(True)
        return self.sender.complete(view.checkpoint, published=published, view=view)

    def look(self, link: bool) -> ReceiverView:
        """Into the spool; with the link down the last known checkpoint counts."""
        if not link:
            return ReceiverView(self.seen.checkpoint, None)
        view = self.receiver.seen_from_sender()
        self.sender.hear(self.receiver.spool)
        self.seen = replace(view, checkpoint=view.checkpoint or self.seen.checkpoint)
        return self.seen

    def start_of(self, dumped: Dumped) -> Dumped | None:
        return next((d for d in self.sender.dumped if d.name.snapshot_at == dumped.since), None)

    @rule(writes=transactions, look_back=st.booleans())
    def changes_go_through(self, writes: list[Write], look_back: bool) -> None:
        self.change_rows(writes)
        if look_back:
            self.clock.pass_time(timedelta(minutes=5))
        self.dump_a_partial(delivered=True, published=True, link=True)
        self.load()

    @rule(lost=transactions, arriving=transactions)
    def changes_are_lost_on_the_way(self, lost: list[Write], arriving: list[Write]) -> None:
        """The sender dumps the next partial before it can know."""
        self.change_rows(lost)
        self.dump_a_partial(delivered=True, published=True, link=True)
        file = self.receiver.file_of(self.sender.dumped[-1])
        self.change_rows(arriving)
        self.clock.pass_time(timedelta(minutes=5))
        self.dump_a_partial(delivered=True, published=True, link=True)
        file.unlink()

    @rule(first=transactions, second=transactions)
    def partials_overtake_each_other(self, first: list[Write], second: list[Write]) -> None:
        for writes in (first, second):
            self.change_rows(writes)
            self.clock.pass_time(timedelta(minutes=5))
            self.dump_a_partial(delivered=True, published=True, link=True)
        late = self.receiver.file_of(self.sender.dumped[-2])
        content = late.read_bytes()
        late.unlink()
        self.load()
        late.write_bytes(content)
        self.load()

    @rule(before=transactions, after=transactions, loaded=sometimes)
    def a_transaction_commits_between_two_partials(
        self, before: list[Write], after: list[Write], loaded: bool
    ) -> None:
        self.change_rows_in_a_transaction_that_stays_open(before)
        self.clock.pass_time(timedelta(minutes=5))
        self.dump_a_partial(delivered=True, published=True, link=True)
        if loaded:
            self.load()
        self.end_an_open_transaction(after, commit=True)
        self.clock.pass_time(timedelta(minutes=5))
        self.dump_a_partial(delivered=True, published=True, link=True)

    @rule(writes=transactions, gone=st.booleans())
    def a_complete_lands_after_a_later_partial(self, writes: list[Write], gone: bool) -> None:
        """Which may no longer be in the spool."""
        self.dump_a_complete(delivered=False, published=True)
        late = self.sender.dumped[-1]
        self.changes_go_through(writes, look_back=True)
        if gone:
            name = self.sender.dumped[-1].name
            (self.receiver.spool / name.kind / name.applied).unlink(missing_ok=True)
        self.people_work_at_the_receiver(1, 1)
        self.receiver.deliver(late)
        self.load()

    # The adversary.

    def dumped(self, age: int) -> Dumped:
        return self.sender.dumped[-1 - age % len(self.sender.dumped)]

    @precondition(lambda self: self.sender.dumped)
    @rule(age=places)
    def an_archive_arrives_late_or_again(self, age: int) -> None:
        self.receiver.deliver(self.dumped(age))

    @precondition(lambda self: self.sender.dumped)
    @rule(age=places, place=places, bit=st.integers(0, 7), cut=st.booleans())
    def an_archive_arrives_damaged(self, age: int, place: int, bit: int, cut: bool) -> None:
        dumped = self.dumped(age)
        content = bytearray(dumped.file.read_bytes())
        place %= len(content)
        if cut:
            del content[place:]
        else:
            content[place] ^= 1 << bit
        self.receiver.deliver(dumped, bytes(content))

    @precondition(lambda self: self.receiver.spooled())
    @rule(age=places, removed=st.booleans())
    def a_file_in_the_spool_is_lost_or_renamed(self, age: int, removed: bool) -> None:
        spooled = self.receiver.spooled()
        archive = spooled[-1 - age % len(spooled)]
        if removed:
            archive.path.unlink()
        else:
            archive.path.rename(archive.path.with_name(archive.name.waiting))

    @rule()
    def checkpoint_file_is_lost(self) -> None:
        (self.receiver.spool / "receipts" / "position.json").unlink(missing_ok=True)

    @precondition(
        lambda self: all(d.name.snapshot_at <= self.clock.now for d in self.sender.dumped)
    )
    @rule()
    def journal_of_the_sender_is_lost(self) -> None:
        """Not while the clock is set back: two archives could get one date, and so one name."""
        (self.sender.scratch / SENT_FILE).unlink(missing_ok=True)

    @rule(
        ahead=st.sampled_from([timedelta(hours=1), timedelta(days=1)]),
        writes=transactions,
        complete=st.lists(st.booleans(), min_size=1, max_size=2),
        delivered=sometimes,
        loaded=sometimes,
    )
    def clock_of_the_sender_is_ahead_for_a_while(
        self,
        ahead: timedelta,
        writes: list[Write],
        complete: list[bool],
        delivered: bool,
        loaded: bool,
    ) -> None:
        self.sender_clock.ahead = ahead
        for whole in complete:
            self.change_rows(writes)
            if whole:
                self.dump_a_complete(delivered=delivered, published=True)
            else:
                self.dump_a_partial(delivered=delivered, published=True, link=True)
        self.sender_clock.ahead = timedelta(0)
        if loaded:
            self.load()

    @rule(hours=st.sampled_from([-1, 1, 0]))
    def clock_of_the_receiver_is_wrong_or_set_right(self, hours: int) -> None:
        self.receiver_clock.ahead = timedelta(hours=hours)

    # What people do to the tables.

    @rule(
        migration=st.sampled_from(list(Migration)),
        default=st.integers(1, 9),
        here=st.sampled_from(["sender", "receiver"]),
    )
    def migrate(self, migration: Migration, default: int, here: str) -> None:
        if here == "sender":
            self.migrations.at_sender(migration, default)
        else:
            self.migrations.at_receiver(migration, default)

    @rule(migration=st.sampled_from(list(Migration)), writes=transactions, loaded=sometimes)
    def sender_migrates_first(
        self, migration: Migration, writes: list[Write], loaded: bool
    ) -> None:
        """Archives wait meanwhile, and load by themselves."""
        self.migrations.at_sender(migration, default=11)
        self.changes_go_through(writes, look_back=True)
        self.migrations.at_receiver(migration, default=12)
        if loaded:
            self.load()

    @rule(complete=st.booleans())
    def policy_hides_rows_from_the_dump(self, complete: bool) -> None:
        """Nothing is sent of it, so nothing can be deleted."""
        with self.migrations.hidden_rows() as hidden:
            if not hidden:
                return
            made = len(self.sender.dumped)
            with pytest.raises(DatabaseRefusedError, match=f"app_account.*{POLICY}"):
                if complete:
                    self.sender.complete(self.receiver.checkpoint())
                else:
                    self.sender.partial(self.receiver.seen_from_sender())
            assert len(self.sender.dumped) == made

    @rule()
    def clock_is_set_back(self) -> None:
        self.clock.pass_time(-timedelta(minutes=10))

    @rule()
    def backup_the_receiver(self) -> None:
        self.backup = self.receiver.backup()

    @precondition(lambda self: self.backup)
    @rule()
    def restore_the_receiver_from_its_backup(self) -> None:
        assert self.backup is not None
        self.receiver.restore(self.backup)

    # The receiver.

    @rule()
    def load(self) -> None:
        self.receiver.load()
        invariants.every_promise_of_a_running_sync(self.receiver, self.sender)

    @rule()
    def nothing_goes_wrong_for_a_while(self) -> None:
        """What was lost is sent again by itself: no need to wait for the next complete."""
        self.set_everything_right()
        self.load()
        self.dump_a_partial(delivered=True, published=True, link=True)
        self.load()
        invariants.partial_closes_every_gap(self.receiver, self.sender)

    def set_everything_right(self) -> None:
        self.receiver_clock.ahead = timedelta(0)
        self.migrations.catch_up()

    @rule(step=st.integers(1, 220))
    def load_and_be_killed(self, step: int) -> None:
        """A reader looks all the while and sees the state before or the state after."""
        before = self.receiver.state()
        looks = []
        self.runs.start(
            "load", self.receiver.environ, self.receiver_clock(), step=step, small_chunks=True
        )
        while not self.runs.ended():
            looks.append(self.receiver.state())
        assert self.runs.status() in {0, -9}
        after = self.receiver.unchanged_state()
        assert all(look in (before, after) for look in looks)

    @rule(parent=parents, child=children)
    def people_work_at_the_receiver(self, parent: int, child: int) -> None:
        self.value += 1
        self.receiver.rate_everything(self.value)
        self.receiver.take_note(parent, child)
        self.receiver.pin_every_account()

    @rule()
    def transform(self) -> None:
        self.receiver.transform()

    def teardown(self) -> None:
        """However it went, one complete repairs everything, with what it is found to lack."""
        try:
            if sys.exc_info()[0] is None:
                self.end_well()
        finally:
            self.sender.close()
            self.migrations.undo()
            shutil.rmtree(self.folder)

    def end_well(self) -> None:
        for _ in range(len(self.sender.open_transactions)):
            self.sender.end(0, commit=True)
        self.set_everything_right()
        self.clock.pass_time(timedelta(minutes=1))
        self.receiver.load()
        self.receiver.deliver(self.complete())
        self.receiver.load()
        for _ in range(2):
            seen = self.look(True)
            lacks = complete_to_repeat(self.sender.scratch, seen.checkpoint, self.clock())
            if lacks is not None:
                self.receiver.deliver(self.complete())
                self.receiver.load()
        # What it has overtaken, of a clock that was ahead, waits no longer.
        self.receiver.load()
        invariants.every_promise_of_a_running_sync(self.receiver, self.sender)
        invariants.receiver_equals_sender(self.receiver, self.sender)
        self.migrations.added_columns_are_equal()


def _usual_seed() -> int:
    """The same histories in every ordinary run, new ones every night."""
    return 20_261_124 if SHARDS == 1 else secrets.randbits(32)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_receiver_converges_whatever_happens_on_the_way(
    servers: Servers, killable_runs: KillableRuns, shard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_small_chunks(monkeypatch)
    chosen = int(os.environ.get("AR_SYNC_HISTORY_SEED", _usual_seed()))
    again = f"AR_SYNC_HISTORIES={HISTORIES} AR_SYNC_HISTORY_SEED={chosen}"
    print(f"repeat this test with {again}; AR_SYNC_SHRINK=1 shortens it")  # noqa: T201  if it fails
    machine = type("ThisHistory", (History,), {"servers": servers, "runs": killable_runs})
    run_state_machine_as_test(
        seed(chosen + shard)(machine),
        settings=settings(
            max_examples=HISTORIES // SHARDS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
