"""Mail to real SMTP servers, in all their moods."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from ar_sync_pipeline.alerts.errors import DeliveryError
from ar_sync_pipeline.alerts.incidents import NoticeKind, fail, succeed
from ar_sync_pipeline.alerts.mail import MailChannel, MailServer
from ar_sync_pipeline.alerts.outbox import Notice
from ar_sync_pipeline.alerts.webhook import notice_as_dict
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline_tests.alerts.problems import NOON, PLACE, problem, success
from ar_sync_pipeline_tests.fix_alerts import (
    PASSWORD,
    USER,
    Certificate,
    Mailbox,
    silent_server,
    smtp_server,
)
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci

ADMINS = ["ops@example.org", "boss@example.org"]


def notice(kind: NoticeKind = NoticeKind.OPENED, sentence: str = "nobody answers") -> Notice:
    incident = fail(None, problem(0, sentence=sentence), NOON).incident
    assert incident is not None
    if kind is NoticeKind.RECOVERED:
        incident = succeed(incident, success(125)).incident
        assert incident is not None
    return Notice("store", 7, kind, incident, NOON)


def channel(server: MailServer) -> MailChannel:
    return MailChannel(server, "ar_sync@example.org", ADMINS, PLACE)


def test_mail_says_what_where_since_when_why_and_what_to_do(mailbox: Mailbox) -> None:
    channel(MailServer("127.0.0.1", mailbox.port)).send(notice())
    (mail,) = mailbox.mails
    assert mailbox.recipients == [ADMINS]
    assert mail["Subject"] == (
        "[ar_sync sender] Failing: the connection to the receiver: nobody answers"
    )
    assert (mail["From"], mail["To"]) == ("ar_sync@example.org", ", ".join(ADMINS))
    assert mail["Auto-Submitted"] == "auto-generated"
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    for part in (text.get_content(), html.get_content()):
        for fact in (
            "job of step:partial", "sender on db1", "2026-11-24 12:00 UTC (09:00 America/Santiago)",
            "nobody answers", "start sshd", "https://dagster.example.org/runs/run-0", "Incident 7",
        ):  # fmt: skip
            assert fact in part


def test_time_is_told_once_where_the_clock_of_the_city_is_utc() -> None:
    assert replace(PLACE, timezone="UTC").moment(NOON) == "2026-11-24 12:00 UTC"
    assert PLACE.moment(NOON) == "2026-11-24 12:00 UTC (09:00 America/Santiago)"


def test_mails_of_an_incident_are_one_thread(mailbox: Mailbox) -> None:
    mail = channel(MailServer("127.0.0.1", mailbox.port))
    for kind in (NoticeKind.OPENED, NoticeKind.RECOVERED):
        mail.send(notice(kind))
    opening, recovery = mailbox.mails
    assert recovery["In-Reply-To"] == recovery["References"] == opening["Message-ID"]
    assert "2 h 5 min" in str(recovery.get_body(("plain",)))


def test_name_of_an_archive_adds_no_header_and_no_markup(mailbox: Mailbox) -> None:
    evil = "archive x\r\nBcc: thief@example.org\r\n\r\n<script>alert(1)</script> \udcff"
    sentence = evil.encode("utf-8", "replace").decode()
    channel(MailServer("127.0.0.1", mailbox.port)).send(notice(sentence=sentence))
    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert mailbox.recipients == [ADMINS]
    html = mail.get_body(("html",))
    assert html is not None
    assert "&lt;script&gt;" in html.get_content()
    assert "<script" not in html.get_content()


def test_starttls_with_login(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with smtp_server(Mailbox(), tls=certificate.context) as box:
        server = MailServer("localhost", box.port, USER, PASSWORD, starttls=True)
        channel(server).send(notice())
        assert len(box.mails) == 1
        with pytest.raises(DeliveryError, match="refuses the login") as refused:
            channel(replace(server, password="wrong-password")).send(notice())
        assert "wrong-password" not in str(refused.value)
        assert len(box.mails) == 1


@pytest.mark.parametrize("starttls", [False, True])
def test_tls_from_the_first_byte(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, starttls: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with smtp_server(Mailbox(), tls=certificate.context, implicit=True) as box:
        server = MailServer(
            "localhost", box.port, USER, PASSWORD, starttls=starttls, implicit_tls=True
        )
        channel(server).send(notice())
        assert len(box.mails) == 1
        with pytest.raises(DeliveryError, match="refuses the login"):
            channel(replace(server, password="wrong-password")).send(notice())


def test_tls_from_the_first_byte_is_what_port_465_speaks(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    assert MailServer("smtp.example.org", 465, starttls=True).encrypts_at_once
    assert not MailServer("smtp.example.org", 587, starttls=True).encrypts_at_once
    try:
        with smtp_server(Mailbox(port=465), tls=certificate.context, implicit=True) as box:
            channel(MailServer("localhost", 465, USER, PASSWORD)).send(notice())
            assert len(box.mails) == 1
    except PermissionError:
        skip_unless_in_ci("only root may listen on port 465")


def test_certificate_is_checked_with_tls_from_the_first_byte(certificate: Certificate) -> None:
    with smtp_server(Mailbox(), tls=certificate.context, implicit=True) as box:
        server = MailServer("localhost", box.port, USER, PASSWORD, implicit_tls=True)
        with pytest.raises(DeliveryError, match="certificate that cannot be trusted"):
            channel(server).send(notice())


def test_server_without_tls_at_a_port_for_it_is_one_sentence(mailbox: Mailbox) -> None:
    server = MailServer("localhost", mailbox.port, implicit_tls=True, timeout_seconds=1)
    with pytest.raises(DeliveryError):
        channel(server).send(notice())
    assert mailbox.mails == []


@pytest.mark.parametrize("without", [(), ("PLAIN",), ("LOGIN",)])
@pytest.mark.parametrize("login", [(USER, "contraseña-ñandú"), ("señal", "\u5bc6\u7801 \u20ac")])
def test_login_with_letters_outside_ascii(
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    login: tuple[str, str],
    without: tuple[str, ...],
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with smtp_server(Mailbox(login=login), tls=certificate.context, without=without) as box:
        server = MailServer("localhost", box.port, *login, starttls=True)
        channel(server).send(notice())
        assert len(box.mails) == 1
        wrong = replace(server, password="\u00e9-wrong")
        with pytest.raises(DeliveryError, match="refuses the login") as refused:
            channel(wrong).send(notice())
        assert "wrong" not in str(refused.value)


def test_server_that_cannot_take_such_a_login_is_one_sentence(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    both = ("PLAIN", "LOGIN")
    with smtp_server(Mailbox(), tls=certificate.context, without=both) as box:
        server = MailServer("localhost", box.port, USER, "contraseña", starttls=True)
        with pytest.raises(DeliveryError, match="non-ASCII characters"):
            channel(server).send(notice())


def test_untrusted_certificate_gets_no_login(certificate: Certificate) -> None:
    with smtp_server(Mailbox(), tls=certificate.context) as box:
        server = MailServer("localhost", box.port, USER, PASSWORD, starttls=True)
        with pytest.raises(DeliveryError, match="certificate that cannot be trusted"):
            channel(server).send(notice())


def test_server_without_starttls_gets_no_mail_in_clear_text(mailbox: Mailbox) -> None:
    with pytest.raises(DeliveryError, match="STARTTLS"):
        channel(MailServer("127.0.0.1", mailbox.port, starttls=True)).send(notice())
    assert mailbox.mails == []


def test_server_that_refuses_the_mail(mailbox: Mailbox) -> None:
    mailbox.answer = "554 no thanks"
    with pytest.raises(DeliveryError, match="answered 554"):
        channel(MailServer("127.0.0.1", mailbox.port)).send(notice())


OPS, BOSS = ADMINS


def test_refused_administrator_is_named_when_others_get_the_mail(mailbox: Mailbox) -> None:
    mailbox.refused[BOSS] = "550 no such user at viz"
    mail = channel(MailServer("127.0.0.1", mailbox.port))
    sends: list[Callable[[], None]] = [
        lambda: mail.send(notice()), lambda: mail.send_test("a test")
    ]  # fmt: skip
    for send in sends:
        with pytest.raises(DeliveryError, match=rf"refuses {BOSS} \(550\)") as refused:
            send()
        assert "AR_SYNC_ADMINS" in refused.value.remedy
        assert refused.value.retry_to == ()
    assert mailbox.recipients == [[OPS], [OPS]]


def test_only_a_temporary_refusal_is_to_be_tried_again(mailbox: Mailbox) -> None:
    third = "night@example.org"
    mailbox.refused = {BOSS: "451 greylisted", third: "550 no such user"}
    mail = MailChannel(
        MailServer("127.0.0.1", mailbox.port), "ar_sync@example.org", [*ADMINS, third], PLACE
    )
    with pytest.raises(DeliveryError, match=r"\(451\), night@example.org \(550\)") as refused:
        mail.send(notice())
    assert refused.value.retry_to == (BOSS,)


def test_repeated_mail_goes_to_those_who_lack_it_and_still_are_administrators(
    mailbox: Mailbox,
) -> None:
    mail = channel(MailServer("127.0.0.1", mailbox.port))
    mail.send(replace(notice(), recipients=(BOSS, "former@example.org")))
    mail.send(replace(notice(), recipients=("former@example.org",)))
    assert mailbox.recipients == [[BOSS]]
    assert mailbox.mails[0]["To"] == ", ".join(ADMINS)


@pytest.mark.parametrize(
    ("answer", "retry_to"), [("550 no", ()), ("451 later", (BOSS,)), ("421 bye", (BOSS,))]
)
def test_last_recipient_is_given_up_only_when_refused_for_good(
    mailbox: Mailbox, answer: str, retry_to: tuple[str, ...]
) -> None:
    mailbox.refused[BOSS] = answer
    with pytest.raises(DeliveryError) as refused:
        channel(MailServer("127.0.0.1", mailbox.port)).send(replace(notice(), recipients=(BOSS,)))
    assert refused.value.retry_to == retry_to


def test_mail_that_everybody_refuses_stays_due_for_everybody(mailbox: Mailbox) -> None:
    mailbox.refused = dict.fromkeys(ADMINS, "550 no such user")
    with pytest.raises(DeliveryError, match="accepts mail for none of") as refused:
        channel(MailServer("127.0.0.1", mailbox.port)).send(notice())
    assert refused.value.retry_to is None


def test_server_that_is_down() -> None:
    with pytest.raises(DeliveryError, match="cannot be reached"):
        channel(MailServer("127.0.0.1", free_port())).send(notice())


def test_server_that_never_says_a_word_is_left_in_time() -> None:
    with silent_server() as port:
        started = time.monotonic()
        with pytest.raises(DeliveryError, match="does not answer in time"):
            channel(MailServer("127.0.0.1", port, timeout_seconds=0.3)).send(notice())
        assert time.monotonic() - started < 5


def test_host_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DeliveryError, match="Name or service not known"):
        channel(MailServer("smtp.invalid", 25)).send(notice())


HOSTILE = (
    "x\x1b[2J\u202egpj.exe\nBcc: all@example.org\r\n<script>alert(1)</script>"
    " https://evil.example/ aes128-gcm@openssh.com " + "long " * 100_000
)


def test_foreign_text_does_nothing_in_a_mail(mailbox: Mailbox) -> None:
    channel(MailServer("127.0.0.1", mailbox.port)).send(notice(sentence=HOSTILE))
    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert len(mail["Subject"]) <= 160
    assert mail["Subject"].isprintable()
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    for part in (text.get_content(), html.get_content()):
        assert r"x\x1b[2J\u202egpj.exe Bcc:" in part.replace("<span>@</span>", "@")
        assert part.replace("\r\n", "").isprintable()
        assert len(part) < 10_000
    assert "<script" not in html.get_content()


def test_only_the_page_in_dagster_is_a_link(mailbox: Mailbox) -> None:
    for sentence in (HOSTILE, "https://evil.example/"):
        channel(MailServer("127.0.0.1", mailbox.port)).send(notice(sentence=sentence))
        html = mailbox.mails[-1].get_body(("html",))
        assert html is not None
        links = re.findall(r'href="([^"]*)"', html.get_content())
        assert links == ["https://dagster.example.org/runs/run-0"]
        assert "openssh.com" not in html.get_content() or "<span>@</span>openssh.com" in (
            html.get_content()
        )


@pytest.mark.parametrize(
    ("page", "is_link"),
    [
        ("https://git.example.org/docs/runbook/link_down.md", True),
        ("/srv/docs/link_down.md", False),
    ],
)
def test_a_published_page_of_the_runbook_is_a_link(
    mailbox: Mailbox, page: str, is_link: bool
) -> None:
    found = notice()
    incident = replace(found.incident, latest=replace(found.incident.latest, runbook=page))
    channel(MailServer("127.0.0.1", mailbox.port)).send(replace(found, incident=incident))
    html = mailbox.mails[-1].get_body(("html",))
    assert html is not None
    assert (page in re.findall(r'href="([^"]*)"', html.get_content())) is is_link
    assert page in str(mailbox.mails[-1].get_body(("plain",)))


def test_webhook_tells_it_visible_and_bounded() -> None:
    told = notice_as_dict(notice(sentence=HOSTILE), PLACE)
    for value in (told["text"], told["problem"], told["title"], *told["what"]):
        assert value.isprintable()
        assert len(value) <= 2000
