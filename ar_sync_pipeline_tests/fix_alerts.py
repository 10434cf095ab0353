"""Real servers that receive alerts: SMTP with faults, and HTTP."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ar_sync_pipeline.demo.ports import free_port

USER, PASSWORD = "ar_sync", "correct-horse-battery"


@dataclass
class Mailbox:
    """Answer of an SMTP server to a mail, and the mails that it accepted.

    Attributes:
        login: Accepted user and password.
        answer: Answer to DATA; a code other than 250 refuses the mail.
        refused: Answers to RCPT for recipients that are refused.
    """

    port: int = 0
    login: tuple[str, str] = (USER, PASSWORD)
    answer: str = "250 OK"
    refused: dict[str, str] = field(default_factory=dict)
    raw: list[bytes] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """Settings that send mails here."""
        return {"AR_SYNC_EMAIL_HOST": "127.0.0.1", "AR_SYNC_EMAIL_PORT": str(self.port)}

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(raw, policy=policy.default) for raw in self.raw]

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    def authenticate(self, *arguments: object) -> AuthResult:
        login = cast("Any", arguments[4])
        right = (login.login, login.password) == tuple(text.encode() for text in self.login)
        return AuthResult(success=right, handled=False)

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self,
        _server: object,
        _session: object,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  aiosmtpd's name
        self, _server: object, _session: object, envelope: Envelope
    ) -> str:
        if self.answer.startswith("250"):
            self.raw.append(cast("bytes", envelope.content))
            self.recipients.append(list(envelope.rcpt_tos))
        return self.answer


@contextmanager
def smtp_server(
    mailbox: Mailbox,
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    without: tuple[str, ...] = (),
) -> Iterator[Mailbox]:
    """Run a server on loopback, on the port of the mailbox if it has one.

    With TLS it also requires a login.

    Args:
        mailbox: Its answer and its mails.
        tls: TLS context; None: no TLS.
        implicit: Whether TLS starts with the first byte instead of STARTTLS.
        without: Login mechanisms that it does not offer, PLAIN or LOGIN.
    """
    secured: dict[str, Any] = (
        {
            **({"ssl_context": tls} if implicit else {"tls_context": tls}),
            "require_starttls": not implicit,
            "auth_require_tls": not implicit,
            "auth_required": True,
            "authenticator": mailbox.authenticate,
            "auth_exclude_mechanism": without,
        }
        if tls
        else {}
    )
    mailbox.port = mailbox.port or free_port()
    server = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port, **secured)
    server.start()
    try:
        yield mailbox
    finally:
        server.stop()


@contextmanager
def silent_server() -> Iterator[int]:
    """Open a port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@dataclass
class WebServer:
    """Requests to an HTTP server, and its answers.

    Attributes:
        redirects: Status and new path of the paths that it redirects.
    """

    url: str = ""
    status: int = 204
    redirects: dict[str, tuple[int, str]] = field(default_factory=dict)
    calls: list[tuple[str, str, bytes]] = field(default_factory=list)

    @property
    def posts(self) -> list[dict[str, Any]]:
        return [json.loads(body) for method, _, body in self.calls if method == "POST"]


@contextmanager
def web_server() -> Iterator[WebServer]:
    """Run an HTTP server on loopback."""
    seen = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            seen.calls.append((self.command, self.path, self.rfile.read(length)))
            status, location = seen.redirects.get(self.path, (seen.status, ""))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815  http.server's names

        def log_message(self, *_: object) -> None:
            """Write nothing into the output of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        seen.url = f"http://127.0.0.1:{server.server_port}"
        yield seen
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for ``localhost``."""

    file: Path
    context: ssl.SSLContext


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    return Certificate(public, context)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Run an SMTP server that accepts everything."""
    with smtp_server(Mailbox()) as box:
        yield box


@pytest.fixture
def web() -> Iterator[WebServer]:
    """Run an HTTP server that answers 204."""
    with web_server() as server:
        yield server
