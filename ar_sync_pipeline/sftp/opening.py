"""Steps from a host name to a login, each with its own error; `starting` has the next step.

Every step is limited by a socket timeout or by the watchdog of the session. `session` runs the
steps, `probe` times them. ``paramiko.SSHClient`` is not used, because it cannot prefer all pinned
key types.
"""

from __future__ import annotations

import errno
import logging
import queue
import socket
import threading
import time
from collections.abc import Sequence

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.errors import (
    ChangedHostKeyError,
    ConnectionLostError,
    IncompatibleServerError,
    LoginRefusedError,
    UnknownHostKeyError,
    UnreachableHostError,
    UnresolvableHostError,
)
from ar_sync_pipeline.sftp.known_hosts import KnownHosts, host_label

# GCM first: it takes a third less CPU time than AES-CTR with HMAC, which paramiko prefers.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")

# The kernel closes the connection to a silent peer after 10 + 4 x 5 s if it is idle, after 60 s if
# data is in flight; without these options a socket can stay open forever.
_TCP_OPTIONS = {
    "TCP_NODELAY": 1,
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 60_000,
}
_KEEPALIVE_SECONDS = 15
# Timeouts inside paramiko; the limit of the watchdog for the whole opening is the effective one.
_STEP_SECONDS = 30
# Where this machine has no IPv6, an IPv6 address says nothing about the host.
_NO_SUCH_NETWORK = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENETUNREACH})

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]

# Errors reach the caller as exceptions; without this the last-resort handler of logging would also
# print paramiko's tracebacks to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def resolve(host: str, port: int, *, seconds: float) -> list[Address]:
    """Return all addresses of a host.

    The resolver of the C library cannot be interrupted, so it runs in a thread that is abandoned
    after the time limit.

    Raises:
        UnresolvableHostError: There is no address, or no answer in time.
    """
    answers: queue.SimpleQueue[list[Address] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.put(error)
        else:
            answers.put([(family, address) for family, _, _, _, address in found])  # type: ignore[misc]

    threading.Thread(target=ask, name="sftp-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        answer = TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(answer, list):
        return answer
    reason = getattr(answer, "strerror", None) or str(answer)
    raise UnresolvableHostError(
        f"the host name {host!r} has no address ({reason})",
        remedy="check AR_SYNC_REMOTE_HOST and this machine's name resolution",
    ) from answer


def connect(
    endpoint: SftpEndpoint, addresses: Sequence[Address], *, seconds: float
) -> socket.socket:
    """Open a TCP connection to the first address that answers, within ``seconds`` for all.

    Raises:
        UnreachableHostError: No address answers.
    """
    end = time.monotonic() + seconds
    reason: OSError | None = None
    for family, address in addresses:
        try:
            return _connect_to(family, address, seconds=max(end - time.monotonic(), 0.1))
        except OSError as error:
            if reason is None or error.errno not in _NO_SUCH_NETWORK:
                reason = error
    reason = reason or TimeoutError("timed out")
    raise UnreachableHostError(
        f"{endpoint.host} port {endpoint.port} does not answer ({reason.strerror or reason})",
        remedy="check that the receiver's SSH server runs at this port (AR_SYNC_REMOTE_PORT) and"
        " that no firewall is in between",
    ) from reason


def _connect_to(
    family: socket.AddressFamily, address: tuple[object, ...], *, seconds: float
) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(address)
        _set_options(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_options(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        # Some systems lack some of them.
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def new_transport(
    connection: socket.socket, preferred: Sequence[paramiko.PKey]
) -> paramiko.Transport:
    """Return an unstarted transport that prefers the pinned host key types."""
    transport = paramiko.Transport(connection)
    transport.banner_timeout = transport.handshake_timeout = _STEP_SECONDS
    transport.auth_timeout = transport.channel_timeout = _STEP_SECONDS
    options = transport.get_security_options()
    options.ciphers, options.digests = _CIPHERS, _MACS
    wanted: list[str] = []
    for key in preferred:
        name = key.get_name()
        wanted.extend(_RSA_SIGNATURES if name == "ssh-rsa" else (name,))
    first = [name for name in dict.fromkeys(wanted) if name in options.key_types]
    options.key_types = (*first, *(name for name in options.key_types if name not in first))
    return transport


def handshake(endpoint: SftpEndpoint, transport: paramiko.Transport) -> paramiko.PKey:
    """Negotiate algorithms and keys; return the host key that the server proved to have.

    Raises:
        IncompatibleServerError: The two sides share no algorithm.
    """
    try:
        transport.start_client(timeout=_STEP_SECONDS)
        if not transport.initial_kex_done:
            raise hung_up(endpoint, "key exchange")
    except IncompatiblePeer as error:
        raise IncompatibleServerError(
            f"{endpoint.host} port {endpoint.port} shares no algorithm with this client ({error})",
            remedy="allow an AES cipher, a SHA-2 MAC and curve25519-sha256@libssh.org or"
            " ecdh-sha2-nistp256 in the receiver's sshd_config",
        ) from error
    transport.set_keepalive(_KEEPALIVE_SECONDS)
    return transport.get_remote_server_key()


def check_host_key(endpoint: SftpEndpoint, known: KnownHosts, offered: paramiko.PKey) -> None:
    """Compare the offered host key with the pinned ones.

    Raises:
        UnknownHostKeyError: No key is pinned for this server.
        ChangedHostKeyError: Only other keys are pinned, or this one is revoked.
    """
    where, kind = host_label(endpoint.host, endpoint.port), offered.get_name()
    if known.is_revoked(endpoint.host, endpoint.port, offered):
        raise ChangedHostKeyError(
            f"{where} shows the {kind} host key {offered.fingerprint}, which {endpoint.known_hosts}"
            " marks as revoked",
            remedy="do not connect; ask the receiver's administrator for the server's new key",
        )
    pinned = known.pinned_keys(endpoint.host, endpoint.port)
    if offered in pinned:
        return
    if not pinned:
        raise UnknownHostKeyError(
            f"no host key of {where} is pinned in {endpoint.known_hosts}; the server shows the"
            f" {kind} key {offered.fingerprint}",
            remedy="compare this fingerprint with ssh-keygen -lf of the host's public key on the"
            f" receiver, then add the line '{where} {kind} {offered.get_base64()}'",
        )
    expected = ", ".join(f"{key.get_name()} {key.fingerprint}" for key in pinned)
    raise ChangedHostKeyError(
        f"{where} shows the {kind} host key {offered.fingerprint} instead of the pinned {expected}",
        remedy="find out from the receiver's administrator whether the key was replaced; if not,"
        f" somebody is in between; if so, replace the line in {endpoint.known_hosts}",
    )


def log_in(
    endpoint: SftpEndpoint, transport: paramiko.Transport, key: paramiko.PKey | None
) -> None:
    """Log in with the private key, then with the keys of the agent if allowed.

    Raises:
        LoginRefusedError: The server accepts none of them.
        ConnectionLostError: The server closed the connection or did not answer.
    """
    keys: list[paramiko.PKey] = [key] if key is not None else []
    agent = paramiko.Agent() if endpoint.agent else None
    try:
        keys += agent.get_keys() if agent is not None else ()
        for candidate in keys:
            if _accepts(endpoint, transport, candidate):
                return
    finally:
        if agent is not None:
            agent.close()
    shown = ", ".join(k.fingerprint for k in keys) or "none: the agent has no key"
    raise LoginRefusedError(
        f"{endpoint.host} port {endpoint.port} refused the user {endpoint.user!r}"
        f" with the key {shown}",
        remedy="put the public key into the file that sshd at the receiver reads for that account"
        " (AuthorizedKeysFile, by default ~/.ssh/authorized_keys); if it is there already, the log"
        " of sshd says why it is refused, such as a locked account",
    )


def _accepts(endpoint: SftpEndpoint, transport: paramiko.Transport, key: paramiko.PKey) -> bool:
    try:
        further = transport.auth_publickey(endpoint.user, key)
    except paramiko.AuthenticationException as error:
        # paramiko raises the same class for a refusal, for a server that does not answer, and for
        # one that closes the connection before or after the login.
        handler = transport.auth_handler
        if handler is not None and handler.is_authenticated():
            return True
        if not transport.is_active() or "timeout" in str(error):
            raise hung_up(endpoint, "login") from error
        return False
    if further:
        raise LoginRefusedError(
            f"{endpoint.host} accepted the key of {endpoint.user!r} and wants"
            f" {', '.join(further)} in addition",
            remedy="set AuthenticationMethods publickey for this account in its sshd_config",
        )
    return True


def hung_up(endpoint: SftpEndpoint, step: str) -> ConnectionLostError:
    """Return the error of a server that closes the connection or stops answering in a step."""
    return ConnectionLostError(
        f"{endpoint.host} port {endpoint.port} hung up or kept silent during {step}",
        remedy="do nothing if it passes; else see the receiver's sshd log (MaxStartups limits"
        " connections)",
    )
