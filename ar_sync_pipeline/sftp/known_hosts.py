"""Pinned host keys, read from a known_hosts file.

paramiko's reader rejects the whole file for one ``@cert-authority`` line, supports no patterns, and
prefers only the type of the first pinned key (paramiko #771, #1001). The format is that of sshd(8),
section SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path

from paramiko import HostKeys, PKey, SSHException
from paramiko.pkey import UnknownKeyType

from ar_sync_pipeline.sftp.errors import KnownHostsError

DEFAULT_PORT = 22
_REVOKED = "@revoked"
_IGNORED_MARKERS = frozenset({"@cert-authority"})
_HASHED = "|1|"
_FIELD = re.compile(r"[^ \t]+")


@dataclass(frozen=True)
class PinnedKey:
    """One line of the file: patterns of hosts, a key, and whether the key is revoked."""

    patterns: tuple[str, ...]
    key: PKey
    revoked: bool

    def is_for(self, host_label: str) -> bool:
        """Return whether this line applies to a host, ``host`` or ``[host]:port``."""
        verdict = False
        for pattern in self.patterns:
            if _pattern_matches(pattern.removeprefix("!"), host_label):
                if pattern.startswith("!"):
                    return False
                verdict = True
        return verdict


@dataclass(frozen=True)
class KnownHosts:
    """All pinned keys of one file."""

    entries: tuple[PinnedKey, ...]

    def pinned_keys(self, host: str, port: int) -> tuple[PKey, ...]:
        """Return the accepted keys of a server, in the order of the file."""
        label = host_label(host, port)
        return tuple(e.key for e in self.entries if not e.revoked and e.is_for(label))

    def is_revoked(self, host: str, port: int, key: PKey) -> bool:
        """Return whether a ``@revoked`` line names this key for this server."""
        label = host_label(host, port)
        return any(e.revoked and e.key == key and e.is_for(label) for e in self.entries)


def host_label(host: str, port: int) -> str:
    """Return the name of a server in the file: ``host`` on port 22, else ``[host]:port``."""
    name = host.lower()
    return name if port == DEFAULT_PORT else f"[{name}]:{port}"


def load_known_hosts(path: Path) -> KnownHosts:
    """Read a file of pinned host keys.

    ``@cert-authority`` lines and unsupported key types (``ssh-dss``, ``sk-*``) are skipped;
    ``@revoked`` keys are rejected.

    Raises:
        KnownHostsError: The file cannot be read, or a line is damaged (with its number).
    """
    try:
        # Not splitlines() nor read_text(): for them other characters end a line, too, so a comment
        # could contain a key that sshd(8) does not see.
        lines = path.read_bytes().decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise KnownHostsError(
            f"the file of pinned host keys {path} cannot be read ({reason})",
            remedy="make it with ssh-keyscan, compare the fingerprint with the receiver's"
            " administrator, and let AR_SYNC_KNOWN_HOSTS name it",
        ) from error
    parsed = (
        _parse_line(fields, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if (fields := _FIELD.findall(line.removesuffix("\r"))) and not fields[0].startswith("#")
    )
    return KnownHosts(tuple(entry for entry in parsed if entry is not None))


def _parse_line(fields: list[str], where: str) -> PinnedKey | None:
    marker = fields.pop(0) if fields[0].startswith("@") else None
    if marker in _IGNORED_MARKERS:
        return None
    if marker not in (None, _REVOKED):
        raise _bad_line(where, f"starts with the unknown marker {marker!r}")
    if len(fields) < 3:  # noqa: PLR2004  hosts, key type, key
        raise _bad_line(where, "has fewer than the three fields hosts, key type and key")
    hosts, key_type, encoded = fields[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
        key = PKey.from_type_string(key_type, blob)
    except UnknownKeyType:
        return None
    # A damaged key fails in many ways inside paramiko and cryptography, none of them documented.
    except (binascii.Error, SSHException, ValueError, IndexError, TypeError) as error:
        raise _bad_line(where, "holds a key that is damaged") from error
    # paramiko pads a truncated key with zeros; the comparison would then blame the server.
    if key.asbytes() != blob:
        raise _bad_line(where, "holds a key that is truncated")
    patterns = tuple(h if h.startswith(_HASHED) else h.lower() for h in hosts.split(","))
    return PinnedKey(patterns, key, revoked=marker == _REVOKED)


def _bad_line(where: str, what: str) -> KnownHostsError:
    return KnownHostsError(
        f"{where} {what}", remedy="copy the line again from ssh-keyscan, or delete it"
    )


def _pattern_matches(pattern: str, label: str) -> bool:
    if pattern.startswith(_HASHED):
        try:
            return HostKeys.hash_host(label, pattern) == pattern
        except (binascii.Error, AssertionError, IndexError):
            return False
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, label) is not None
