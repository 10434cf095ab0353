"""The promises of the design's first section, each as one check of a receiver against a sender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_ledger
from ar_sync_pipeline.spool.states import list_parked, list_quarantined, list_waiting
from ar_sync_pipeline.sync.load.applied_chain import chain_in
from ar_sync_pipeline_tests.convergence.application import TABLES
from ar_sync_pipeline_tests.convergence.model import expected_state
from ar_sync_pipeline_tests.convergence.receiver_side import ReceiverSide
from ar_sync_pipeline_tests.convergence.row_images import State, integer, key_text
from ar_sync_pipeline_tests.convergence.sender_side import Dumped, SenderSide


def archive_carries_every_change(dumped: Dumped, since: Dumped | None) -> None:
    """A complete is the sender's state; a partial has every row that differs from its start's."""
    rows = dumped.shipment.rows
    for name in TABLES:
        found, there = rows.get(name, {}), dumped.at_sender[name]
        assert all(there.get(key) == row for key, row in found.items()), f"{name} was misread"
        if dumped.shipment.complete:
            assert found == there, f"{name} is not whole"
        elif since is not None:
            changed = {k for k, row in there.items() if since.at_sender[name].get(k) != row}
            assert changed <= set(found), f"{name} lacks {changed - set(found)}"


def receiver_is_base_and_later_partials(
    receiver: ReceiverSide, sender: SenderSide, ledger: Sequence[AppliedArchive]
) -> None:
    """The receiver's state is a function of the set of applied archives.

    Apart from rows that the sender no longer has: only a complete tells of deletions, so a row that
    an older archive held may be there or not, as the archives came. And apart from rows that live
    at the sender and that the model lets make way for another's unique value, as after a gap.
    """
    applied = {line.snapshot_at for line in ledger if not line.superseded}
    dumped = [d for d in sender.dumped if d.name.snapshot_at in applied]
    if dumped:
        alive = dumped[-1].at_sender
        expected = expected_state([d.shipment for d in dumped])
        found = _without(_only(receiver.state(), alive), expected.displaced, expected.rows)
        assert_same(found, _only(expected.rows, alive))
    else:
        assert_same(receiver.state(), expected_state([]).rows)


def _without(state: State, displaced: State, expected: State) -> State:
    """The rows that are not exactly as the model had them before it let them make way."""
    return {
        name: {
            key: row
            for key, row in rows.items()
            if key in expected[name] or displaced[name].get(key) != row
        }
        for name, rows in state.items()
    }


def _only(state: State, alive: State) -> State:
    return {
        name: {key: row for key, row in rows.items() if key in alive[name]}
        for name, rows in state.items()
    }


def nothing_newer_is_missing(
    receiver: ReceiverSide, sender: SenderSide, ledger: Sequence[AppliedArchive]
) -> None:
    """Every row that had committed at "data until" is here, in that version or a newer one."""
    chain = chain_in(ledger)
    checkpoint = receiver.checkpoint()
    claimed = checkpoint.watermark.snapshot_at if checkpoint and checkpoint.watermark else None
    assert claimed == (chain.until if chain else None)
    if chain is None:
        return
    then = next(d for d in sender.dumped if d.name.snapshot_at == chain.until).at_sender
    here, deleted = receiver.state(), sender.deleted()
    for name, table in TABLES.items():
        version = table.columns.index("version")
        for key, row in then[name].items():
            found = here[name].get(key)
            if found is None:
                assert (name, key_text(name, key)) in deleted, f"{name} {key!r} is missing"
            else:
                assert integer(found[version]) >= integer(row[version]), f"{name} {key!r} is old"


def own_data_is_kept(receiver: ReceiverSide, sender: SenderSide) -> None:
    """What people set at the receiver is there as long as its row was never deleted."""
    own, deleted = receiver.own, sender.deleted()
    parents = {key for name, key in deleted if name == "app_parent"}
    children = {key for name, key in deleted if name == "app_child"}
    seen = receiver.values("SELECT id, seen FROM app_parent")
    stars = receiver.values("SELECT id, stars FROM app_child")
    notes = receiver.values("SELECT id, parent_id FROM app_note")
    remarks = receiver.values("SELECT id, note_id FROM app_remark")
    accounts = {key for name, key in deleted if name == "app_account"}
    pins = receiver.values("SELECT id, account_id FROM app_pin")
    for parent, value in own.seen.items():
        assert str(parent) in parents or seen.get(parent) == value, f"seen of {parent}"
    for child, value in own.stars.items():
        assert str(child) in children or stars.get(child) == value, f"stars of {child}"
    for note, parent in own.notes.items():
        assert str(parent) in parents or notes.get(note) == parent, f"note {note}"
    for pin, account in own.pins.items():
        assert str(account) in accounts or pins.get(pin) == account, f"pin {pin}"
    for remark, note in own.remarks.items():
        assert str(own.notes[note]) in parents or remarks.get(remark) == note, f"remark {remark}"


def pictures_are_there(receiver: ReceiverSide, sender: SenderSide) -> None:
    """No row names a picture that the sender has and the receiver has not.

    A partial does not carry again what an archive before it carries that waits in the spool. If the
    receiver lacks that archive after all, a gap is known, and the picture is in that archive.
    """
    named = {str(name) for (name,) in receiver.run(_NAMED_PICTURES)}
    lacking = {n for n in named if (sender.media / n).exists()}
    lacking = {n for n in lacking if not (receiver.media / n).exists()}
    if lacking:
        ledger = read_ledger(receiver.connection)
        chain, applied = chain_in(ledger), {line.name for line in ledger}
        assert chain is not None
        assert chain.gaps, lacking
        missed = [made.file for made in sender.dumped if made.name.applied not in applied]
        assert lacking <= set[str]().union(*map(_pictures, missed)), lacking


_NAMED_PICTURES = "SELECT picture FROM app_child WHERE picture IS NOT NULL"


def _pictures(archive: Path) -> set[str]:
    with open_archive(archive) as reader:
        return {entry.path for entry in reader.media() if entry.carried}


def every_promise_of_a_running_sync(receiver: ReceiverSide, sender: SenderSide) -> None:
    """All that must hold after any load, whatever was delivered until then."""
    ledger = read_ledger(receiver.connection)
    receiver_is_base_and_later_partials(receiver, sender, ledger)
    nothing_newer_is_missing(receiver, sender, ledger)
    own_data_is_kept(receiver, sender)
    pictures_are_there(receiver, sender)
    only_damaged_archives_are_quarantined(receiver)


def only_damaged_archives_are_quarantined(receiver: ReceiverSide) -> None:
    """Whatever waits for a migration or for a clock is parked."""
    quarantined = {archive.name.applied for archive in list_quarantined(receiver.spool)}
    assert quarantined <= receiver.damaged, quarantined - receiver.damaged


def partial_closes_every_gap(receiver: ReceiverSide, sender: SenderSide) -> None:
    """After a partial that started where the receiver stands, only deletions are unknown to it."""
    chain = chain_in(read_ledger(receiver.connection))
    if chain is not None:
        assert chain.gaps == ()
        assert chain.until == sender.dumped[-1].name.snapshot_at
        there = sender.state()
        assert_same(_only(receiver.state(), there), there)


def receiver_equals_sender(receiver: ReceiverSide, sender: SenderSide) -> None:
    """All that must hold once a new complete has been applied."""
    assert_same(receiver.state(), sender.state())
    for picture in sender.media.iterdir():
        assert (receiver.media / picture.name).read_bytes() == picture.read_bytes()
    left_over = {p.name for p in receiver.media.iterdir()} - {
        p.name for p in sender.media.iterdir()
    }
    assert left_over == set()
    assert list_waiting(receiver.spool) == []
    assert list_parked(receiver.spool) == []
    checkpoint = receiver.checkpoint()
    assert checkpoint is not None
    assert checkpoint.gaps == 0


def assert_same(found: State, expected: State) -> None:
    """Two states, compared with a short message."""
    for name in TABLES:
        wrong = {
            key_text(name, key): (found[name].get(key), expected[name].get(key))
            for key in {*found[name], *expected[name]}
            if found[name].get(key) != expected[name].get(key)
        }
        assert not wrong, f"{name}: found, expected: {wrong}"
