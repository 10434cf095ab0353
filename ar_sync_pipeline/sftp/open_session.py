"""Connects, checks the host key, logs in and starts SFTP: every failure is an `ArSyncError`."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace

import paramiko

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp import opening, starting
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.errors import ConnectionLostError
from ar_sync_pipeline.sftp.failures import FAILURES, connection_lost
from ar_sync_pipeline.sftp.known_hosts import load_known_hosts
from ar_sync_pipeline.sftp.limits import OpeningStep, SessionLimits
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.watchdog import Watchdog

# After a login that the server ended; an interruption or a restart does not occur three times.
_PAUSES_AFTER_HANG_UP_SECONDS = (0.5, 1.5)


def _observe_nothing(_step: OpeningStep) -> AbstractContextManager[object]:
    return nullcontext()


@contextmanager
def open_session(
    endpoint: SftpEndpoint,
    limits: SessionLimits | None = None,
    *,
    observe: Callable[[OpeningStep], AbstractContextManager[object]] = _observe_nothing,
) -> Iterator[SftpSession]:
    """Connect, check the host key and log in; close everything at the end of the block.

    Args:
        endpoint: SFTP account at the receiver.
        limits: Time limits.
        observe: Returns a context manager for each step, for the connectivity check.

    Raises:
        ArSyncError: One of `ar_sync_pipeline.sftp.errors`, for every failure.
    """
    limits = limits or SessionLimits()
    again = replace(limits, opening_seconds=limits.opening_seconds / 2)
    with _open_once(
        endpoint, limits, observe, on_hang_up=lambda: _require_hang_up(endpoint, again)
    ) as session:
        yield session


@contextmanager
def _open_once(
    endpoint: SftpEndpoint,
    limits: SessionLimits,
    observe: Callable[[OpeningStep], AbstractContextManager[object]] = _observe_nothing,
    on_hang_up: Callable[[], None] = lambda: None,
) -> Iterator[SftpSession]:
    key, known = endpoint.load_private_key(), load_known_hosts(endpoint.known_hosts)
    end = time.monotonic() + limits.opening_seconds
    with observe(OpeningStep.RESOLVE):
        seconds = min(limits.resolve_seconds, limits.opening_seconds)
        addresses = opening.resolve(endpoint.host, endpoint.port, seconds=seconds)
    with observe(OpeningStep.CONNECT):
        seconds = min(limits.connect_seconds, end - time.monotonic())
        connection = opening.connect(endpoint, addresses, seconds=seconds)
    pinned = known.pinned_keys(endpoint.host, endpoint.port)
    transport = opening.new_transport(connection, pinned)
    try:
        with Watchdog(lambda: _interrupt(connection, transport)) as watchdog:
            seconds = max(end - time.monotonic(), 0)
            with watchdog.watching(silence_seconds=seconds, total_seconds=seconds):
                with observe(OpeningStep.HOST_KEY), _translated(endpoint, watchdog, "host key"):
                    offered = opening.handshake(endpoint, transport)
                    opening.check_host_key(endpoint, known, offered)
                with observe(OpeningStep.LOGIN), _translated(endpoint, watchdog, "login"):
                    opening.log_in(endpoint, transport, key)
                with observe(OpeningStep.SFTP), _translated(endpoint, watchdog, "start of SFTP"):
                    try:
                        client = starting.open_sftp(endpoint, transport)
                    except starting.HungUpError:
                        if watchdog.reason is None:  # else this side closed the connection
                            on_hang_up()
                        raise
            yield SftpSession(endpoint, limits, transport, client, watchdog)
    finally:
        # Not the client's own close(): it sends a message and could block on a dead connection.
        _interrupt(connection, transport)


def _require_hang_up(endpoint: SftpEndpoint, limits: SessionLimits) -> None:
    """Check whether a server closes the connection after every login, or did so once.

    Raises:
        NoSftpError: The server does so every time, so a retry is useless.
    """
    for pause_seconds in _PAUSES_AFTER_HANG_UP_SECONDS:
        time.sleep(pause_seconds)
        try:
            with _open_once(endpoint, limits):
                return
        except starting.HungUpError:
            continue
        except ArSyncError:
            return
    raise starting.hangs_up_always(endpoint)


@contextmanager
def _translated(endpoint: SftpEndpoint, watchdog: Watchdog, step: str) -> Iterator[None]:
    """Turn every failure of a step into an `ArSyncError` that names the step."""
    when = f"during the step {step!r}"
    try:
        yield
    except ArSyncError as error:
        if watchdog.reason is None or isinstance(error, ConnectionLostError):
            raise
        raise connection_lost(endpoint, watchdog, when) from error
    except FAILURES as error:
        raise connection_lost(endpoint, watchdog, when) from error


def _interrupt(connection: socket.socket, transport: paramiko.Transport) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    transport.close()
    connection.close()
