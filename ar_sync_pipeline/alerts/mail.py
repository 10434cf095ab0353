"""Mail channel: sends messages with a text and an HTML part through one SMTP server."""

from __future__ import annotations

import base64
import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime

from ar_sync_pipeline.alerts.errors import DeliveryError
from ar_sync_pipeline.alerts.incidents import NoticeKind
from ar_sync_pipeline.alerts.outbox import Notice
from ar_sync_pipeline.alerts.wording import Message, Place, write_message, write_test

_FOR_GOOD, _NOT_ASKED = 500, (451, b"")
_CONTINUE, _LOGGED_IN = 334, (235, 503)  # RFC 4954; 503: it was logged in already
# Headers stay on one line: Python would fold a subject of 70 characters, and some programs then
# show a blank before it. RFC 5322 allows 998 characters.
_POLICY = policy.SMTP.clone(max_line_length=990)


SUBMISSIONS_PORT = 465
"""Port on which servers speak TLS from the first byte (RFC 8314, section 3.3)."""


@dataclass(frozen=True)
class MailServer:
    """SMTP server that sends the messages.

    With either kind of TLS the certificate of the server is checked against the authorities of the
    machine (or of the variable ``SSL_CERT_FILE``).

    Attributes:
        user, password: empty for a server without login.
        starttls: Whether to upgrade a plain connection to TLS.
        implicit_tls: Whether to use TLS from the first byte; by default on port 465 only.
    """

    host: str
    port: int
    user: str = ""
    password: str = ""
    starttls: bool = False
    timeout_seconds: float = 10
    implicit_tls: bool | None = None

    @property
    def encrypts_at_once(self) -> bool:
        """Whether the connection uses TLS from the first byte, without an upgrade."""
        return self.port == SUBMISSIONS_PORT if self.implicit_tls is None else self.implicit_tls


class MailChannel:
    """Mails notices to the administrators.

    Args:
        sender: Address in the ``From`` header.
        recipients: Addresses of the administrators, at least one.
    """

    name = "mail"

    def __init__(
        self, server: MailServer, sender: str, recipients: Sequence[str], place: Place
    ) -> None:
        self._server = server
        self._sender = sender
        self._recipients = tuple(recipients)
        self._place = place

    def send(self, notice: Notice) -> None:
        """Mail a notice to those who lack it; the mails of an incident form one thread.

        Raises:
            DeliveryError: The server refused the mail, or some of the recipients.
        """
        message = self._envelope(write_message(notice, self._place))
        thread = f"<ar-sync.{notice.store}.{notice.number}"
        if notice.kind is NoticeKind.OPENED:
            message["Message-ID"] = f"{thread}@{self._domain}>"
        else:
            # The same id when it is sent again, so that a mail program shows it once.
            unique = f"{notice.kind}.{notice.made_at.timestamp():.0f}"
            message["Message-ID"] = f"{thread}.{unique}@{self._domain}>"
            message["In-Reply-To"] = message["References"] = f"{thread}@{self._domain}>"
        if notice.recipients:
            lacking = [one for one in self._recipients if one in notice.recipients]
            self._hand_over(message, lacking, others_have_it=True)
        else:
            self._hand_over(message, self._recipients)

    def send_test(self, text: str) -> None:
        """Mail a test message.

        Raises:
            DeliveryError: The server refused the mail, or some of the recipients.
        """
        self._hand_over(self._envelope(write_test(text, self._place)), self._recipients)

    def check_server(self) -> None:
        """Connect, encrypt and log in without sending a mail.

        Raises:
            DeliveryError: The server cannot be reached, or refuses.
        """
        with self._connection() as connection:
            connection.ehlo_or_helo_if_needed()

    @property
    def _domain(self) -> str:
        return self._sender.rpartition("@")[2]

    def _envelope(self, content: Message) -> EmailMessage:
        message = EmailMessage(_POLICY)
        message["Subject"] = content.subject
        message["From"] = self._sender
        message["To"] = ", ".join(self._recipients)
        message["Date"] = format_datetime(datetime.now(UTC))
        # RFC 3834: suppresses automatic replies.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(content.text)
        message.add_alternative(content.html, subtype="html")
        return message

    def _hand_over(
        self, message: EmailMessage, recipients: Sequence[str], *, others_have_it: bool = False
    ) -> None:
        if not recipients:
            return
        with self._connection() as connection:
            try:
                refused = connection.send_message(message, to_addrs=list(recipients))
            except smtplib.SMTPRecipientsRefused as error:
                if not others_have_it:
                    raise
                # After 421 the server is not asked about the later recipients.
                refused = dict.fromkeys(recipients, _NOT_ASKED) | error.recipients
        if refused:
            raise self._partly_refused({one: code for one, (code, _) in refused.items()})

    def _partly_refused(self, codes: Mapping[str, int]) -> DeliveryError:
        """Return the error for recipients that are refused while others get the mail."""
        named = ", ".join(f"{one} ({code})" for one, code in codes.items())
        return DeliveryError(
            f"the mail server {self._server.host}:{self._server.port} refuses {named}",
            remedy="correct AR_SYNC_ADMINS, or ask the administrator of the mail server why it"
            " refuses; after a code below 500 alerts are sent to them again",
            # RFC 5321, section 4.2.1: 4yz is temporary, such as greylisting.
            retry_to=[one for one, code in codes.items() if code < _FOR_GOOD],
        )

    @contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        """Open a connection that is ready for a mail."""
        server = self._server
        try:
            connection = _connect(server)
            try:
                if server.user:
                    _log_in(connection, server.user, server.password)
                yield connection
                # The server accepted the mail: a failing QUIT must not send it again.
                with suppress(OSError, smtplib.SMTPException):
                    connection.quit()
            finally:
                connection.close()
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise DeliveryError(
                f"the mail server {server.host}:{server.port} {_reason(error)}",
                remedy="start the mail server, or correct the AR_SYNC_EMAIL_ settings",
            ) from error


def _connect(server: MailServer) -> smtplib.SMTP:
    """Return a connection to the server, encrypted if the settings require it."""
    address, seconds = (server.host, server.port), server.timeout_seconds
    if server.encrypts_at_once:
        return smtplib.SMTP_SSL(*address, timeout=seconds, context=ssl.create_default_context())
    connection = smtplib.SMTP(*address, timeout=seconds)
    if server.starttls:
        try:
            connection.starttls(context=ssl.create_default_context())
        except BaseException:
            connection.close()
            raise
    return connection


def _log_in(connection: smtplib.SMTP, user: str, password: str) -> None:
    """Log in, also with non-ASCII characters, which `smtplib` cannot send.

    They are sent as UTF-8, as AUTH PLAIN requires (RFC 4616, section 2) and as servers accept it
    with AUTH LOGIN.
    """
    if (user + password).isascii():
        connection.login(user, password)
        return
    connection.ehlo_or_helo_if_needed()
    offered = connection.esmtp_features.get("auth", "").upper().split()
    if "PLAIN" in offered:
        code, answer = connection.docmd("AUTH", "PLAIN " + _base64(f"\0{user}\0{password}"))
    elif "LOGIN" in offered:
        code, answer = connection.docmd("AUTH", "LOGIN " + _base64(user))
        if code == _CONTINUE:
            code, answer = connection.docmd(_base64(password))
    else:
        raise smtplib.SMTPNotSupportedError(
            "non-ASCII characters in the user or the password need AUTH PLAIN or LOGIN"
        )
    if code not in _LOGGED_IN:
        raise smtplib.SMTPAuthenticationError(code, answer)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _reason(error: Exception) -> str:
    """Return the reason of a failure in words, without the answer, which may echo a secret."""
    reason = f"broke off ({type(error).__name__})"
    match error:
        case smtplib.SMTPAuthenticationError():
            reason = f"refuses the login ({error.smtp_code})"
        case smtplib.SMTPNotSupportedError():
            reason = f"does not support what the settings require ({error})"
        case smtplib.SMTPRecipientsRefused():
            reason = f"accepts mail for none of {', '.join(error.recipients)}"
        case smtplib.SMTPSenderRefused():
            reason = f"refuses mail from {error.sender} ({error.smtp_code})"
        case smtplib.SMTPResponseException():
            reason = f"answered {error.smtp_code}"
        case ssl.SSLCertVerificationError():
            reason = f"has a certificate that cannot be trusted ({error.verify_message})"
        case TimeoutError() | smtplib.SMTPServerDisconnected(__context__=TimeoutError()):
            reason = "does not answer in time"
        case smtplib.SMTPException():
            pass
        case OSError():
            reason = f"cannot be reached ({error.strerror or error})"
    return reason
