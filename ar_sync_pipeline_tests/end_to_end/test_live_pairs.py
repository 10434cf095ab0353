"""Three pairs on one control plane, each with its own code servers; one of them has outages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import dagster as dg
import psycopg
import pytest

from ar_sync_pipeline_tests.cutting_proxy import CuttingProxy
from ar_sync_pipeline_tests.end_to_end.fix_control_plane import (
    MINUTE,
    ControlPlane,
    allow_connections,
    lags,
    link_of,
    mailboxes,
    missed,
    report,
    told,
    windows_of,
)
from ar_sync_pipeline_tests.fix_alerts import Mailbox
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_live_instance import RECEIVER, SENDER
from ar_sync_pipeline_tests.fix_sites import execute, rows
from ar_sync_pipeline_tests.waiting import until

CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child WHERE id <> 7 ORDER BY id"
CHANGE = "UPDATE app_child SET amount = amount + 1, changed = now() WHERE id = 7"
OTHER_CHANGE = "UPDATE app_child SET amount = amount - 1000, changed = now() WHERE id = 8"
QUIET: dict[str, list[str]] = {SENDER: [], RECEIVER: []}
# `make soak` sets longer ones.
_OUTAGE = timedelta(minutes=int(os.environ.get("AR_SYNC_OUTAGE_MINUTES", "3")))
_DEAD_RECEIVER = timedelta(minutes=int(os.environ.get("AR_SYNC_DEAD_MINUTES", "4")))
_BEFORE = max(timedelta(minutes=3), _DEAD_RECEIVER / 6)
# Seconds that a run of the dead receiver's pair lasts (`test_dead_receiver.py`).
_DEAD_RUN_SECONDS = 120
_RECOVERY_SECONDS = 600
_TABLE = ("pair", "time range", "loads", "median lag, s", "largest lag, s")


@contextmanager
def changing(pairs: Sequence[Deployment]) -> Iterator[None]:
    """Change a row of each sender every few seconds, so that no window is empty."""
    ended = Event()

    def change() -> None:
        while not ended.wait(5):
            for url in {pair.sender_url for pair in pairs}:
                with suppress(psycopg.OperationalError):
                    execute(url, CHANGE)

    thread = Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def wait_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def equal(pair: Deployment) -> bool:
    """Return whether all but the row that changes every few seconds has arrived."""
    return rows(pair.receiver_url, CHILDREN) == rows(pair.sender_url, CHILDREN)


def windows_of_a_minute(pairs: Sequence[Deployment]) -> None:
    for pair in pairs:
        pair.change_both({"AR_SYNC_PARTIAL_INTERVAL": "1", "AR_SYNC_TIME": "3"})


def first_loads(pairs: Sequence[Deployment]) -> None:
    for pair in pairs:
        pair.succeed("complete_dump")
        pair.succeed("complete_loaddata")


def first_windows(instance: dg.DagsterInstance, pairs: Sequence[Deployment]) -> datetime:
    """Wait until every pair makes windows; return the time."""
    until(
        lambda: all(windows_of(instance, pair) for pair in pairs),
        "every pair has made an archive",
        300,
    )
    return datetime.now(UTC)


@pytest.mark.long
@pytest.mark.timeout(1800 + 2 * _DEAD_RECEIVER.total_seconds())
def test_dead_receiver_does_not_change_the_lag_of_the_sender_s_other_receivers(
    three_pairs: list[Deployment],
) -> None:
    dead, *others = three_pairs
    windows_of_a_minute(three_pairs)
    for pair in others:
        pair.sender_url = dead.sender_url
        pair.sender_changes["AR_SYNC_SENDER_MEDIA_FLDR"] = str(dead.folder / "sender_media")
    with link_of(dead) as link, mailboxes(three_pairs) as boxes:
        first_loads(three_pairs)
        with ControlPlane(three_pairs).at_work() as instance, changing(three_pairs):
            started = first_windows(instance, three_pairs)
            wait_until(started + _BEFORE)
            link.swallow.set()
            died = datetime.now(UTC)
            execute(dead.sender_url, OTHER_CHANGE)
            wait_until(died + _DEAD_RECEIVER)
            ended = datetime.now(UTC)
            until(lambda: bool(boxes[dead.pair].mails), "the dead receiver is reported", 120)
            figures = [
                (pair.pair, name, lags(pair, since, to))
                for pair in others
                for name, since, to in (("before", started, died), ("while dead", died, ended))
            ]
            report(
                f"One of three receivers dead for {_DEAD_RECEIVER}",
                [_TABLE, *((*names, *vars(lag).values()) for *names, lag in figures)],
            )
            for (*_, before), (*_, while_dead) in zip(figures[::2], figures[1::2], strict=True):
                # No load of the others waited for a run of the dead one.
                assert while_dead.median < before.median + MINUTE.total_seconds()
                assert while_dead.largest < before.largest + _DEAD_RUN_SECONDS
            for pair in others:
                assert told(pair) == QUIET
                assert boxes[pair.pair].subjects == []
                assert not missed(windows_of(instance, pair), started, ended - MINUTE)
            assert told(dead)[SENDER]
            link.swallow.clear()
            until(
                lambda: equal(dead),
                "what the dead receiver missed has arrived",
                _RECOVERY_SECONDS,
            )


@dataclass(frozen=True)
class Outage:
    """What fails of a pair, on which side it is reported, and with which words."""

    name: str
    side: str
    title: str
    begin: Callable[[], None]
    end: Callable[[], None]


def outages_of(pair: Deployment, control_plane: ControlPlane, link: CuttingProxy) -> list[Outage]:
    location = pair.names.name(RECEIVER)

    def revive_receiver() -> None:
        allow_connections(pair.receiver_url, allowed=True)
        control_plane.restart(location)

    return [
        Outage(
            "database",
            SENDER,
            "the sender's database",
            lambda: allow_connections(pair.sender_url, allowed=False),
            lambda: allow_connections(pair.sender_url, allowed=True),
        ),
        Outage(
            "link", SENDER, "the connection to the receiver", link.swallow.set, link.swallow.clear
        ),
        Outage(
            "receiver",
            RECEIVER,
            "the receiver's database",
            lambda: allow_connections(pair.receiver_url, allowed=False),
            revive_receiver,
        ),
    ]


@pytest.mark.long
@pytest.mark.timeout(1800 + 8 * _OUTAGE.total_seconds())
def test_outages_of_one_pair_are_no_business_of_the_others(three_pairs: list[Deployment]) -> None:
    dead, *others = three_pairs
    windows_of_a_minute(three_pairs)
    with link_of(dead) as link, mailboxes(three_pairs) as boxes:
        first_loads(three_pairs)
        control_plane = ControlPlane(three_pairs)
        with control_plane.at_work() as instance, changing(three_pairs):
            started = first_windows(instance, three_pairs)
            wait_until(started + _BEFORE)
            spans = {"before": (started, datetime.now(UTC))}
            for outage in outages_of(dead, control_plane, link):
                began = datetime.now(UTC)
                outage.begin()
                for pair in three_pairs:
                    with suppress(psycopg.OperationalError):  # the one that failed
                        execute(pair.sender_url, OTHER_CHANGE)
                spans[outage.name] = (began, suffer(outage, dead, control_plane, began))
                outage.end()
                until(lambda: told(dead) == QUIET, f"{outage.name}: over", _RECOVERY_SECONDS)
                until(lambda: equal(dead), f"{outage.name}: caught up", _RECOVERY_SECONDS)
            ended = datetime.now(UTC)
            print_figures(instance, three_pairs, boxes, spans)
            for pair in others:
                assert boxes[pair.pair].subjects == []
                assert told(pair) == QUIET
                until(lambda pair=pair: equal(pair), "changes have arrived", 120)  # type: ignore[misc]
            # One message when an outage begins and one when it is over; none about its code server.
            assert len(boxes[dead.pair].subjects) == 2 * 3, boxes[dead.pair].subjects
            for pair in three_pairs:
                until(
                    lambda pair=pair: not missed(windows_of(instance, pair), started, ended),  # type: ignore[misc]
                    f"{pair.pair} has every window",
                    240,
                )


def suffer(
    outage: Outage, pair: Deployment, control_plane: ControlPlane, began: datetime
) -> datetime:
    """Wait until the outage has lasted; its incident is the only one, on its own side."""
    until(lambda: bool(told(pair)[outage.side]), f"{outage.name}: an incident", 300)
    found = told(pair)
    (other_side,) = {SENDER, RECEIVER} - {outage.side}
    assert any(outage.title in title for title in found[outage.side]), found
    assert found[other_side] == [], found
    if outage.name == "receiver":
        control_plane.kill(pair.names.name(RECEIVER))
    wait_until(began + _OUTAGE)
    return datetime.now(UTC)


def print_figures(
    instance: dg.DagsterInstance,
    pairs: Sequence[Deployment],
    boxes: dict[str, Mailbox],
    spans: dict[str, tuple[datetime, datetime]],
) -> None:
    _, *others = pairs
    report(
        f"Outages of {_OUTAGE} each",
        [_TABLE]
        + [
            (pair.pair, name, *vars(lags(pair, *span)).values())
            for pair in others
            for name, span in spans.items()
        ],
    )
    report(
        "Windows and messages",
        [("pair", "windows", "messages")]
        + [
            (pair.pair, len(windows_of(instance, pair)), boxes[pair.pair].subjects)
            for pair in pairs
        ],
    )
