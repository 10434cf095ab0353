"""A mail server that refuses some of the administrators: the others get each mail once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.alerts.mail import MailChannel, MailServer
from ar_sync_pipeline_tests.alerts.problems import PLACE, at, problem, success
from ar_sync_pipeline_tests.alerts.side import Side
from ar_sync_pipeline_tests.fix_alerts import Mailbox


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(tmp_path)


def mail_to_two(box: Mailbox) -> MailChannel:
    return MailChannel(
        MailServer("127.0.0.1", box.port), "ar_sync@example.org", ["ops@x.org", "boss@x.org"], PLACE
    )


def test_greylisted_administrator_gets_the_mail_later_and_nobody_twice(
    side: Side, mailbox: Mailbox
) -> None:
    mail = mail_to_two(mailbox)
    mailbox.refused["boss@x.org"] = "451 greylisted"
    side.store.failed(problem(0), at(0))
    (said,) = side.send(mail).problems
    assert "boss@x.org (451)" in said
    assert [message.error for message in side.outbox.unsent()] == [said]
    mailbox.refused.clear()
    side.now = at(1)
    assert side.send(mail).sent == 1
    assert mailbox.recipients == [["ops@x.org"], ["boss@x.org"]]
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 1


def test_administrator_whose_mailbox_is_full_keeps_nothing_from_the_others(
    side: Side, mailbox: Mailbox
) -> None:
    mail = mail_to_two(mailbox)
    mailbox.refused["boss@x.org"] = "452 mailbox full"
    for minutes, cause in ((0, "endpoint"), (0.1, "disk")):
        side.store.failed(problem(minutes, cause=cause), at(minutes))
    side.store.succeeded(success(0.2), at(0.2))
    side.now = at(0.3)
    side.send(mail)
    assert mailbox.recipients == [["ops@x.org"]] * 4
    assert len(side.outbox.unsent()) == 4


def test_unknown_administrator_is_named_once_and_the_message_is_done(
    side: Side, mailbox: Mailbox
) -> None:
    mailbox.refused["boss@x.org"] = "550 no such user"
    side.store.failed(problem(0), at(0))
    done = side.send(mail_to_two(mailbox))
    assert (done.sent, len(done.problems)) == (1, 1)
    assert "boss@x.org (550)" in done.problems[0]
    assert side.outbox.unsent() == []
