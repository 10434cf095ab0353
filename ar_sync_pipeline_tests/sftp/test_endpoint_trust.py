"""Who is trusted: host keys, private keys, and what is said when they do not fit."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from paramiko import HostKeys, PKey

from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.errors import (
    ChangedHostKeyError,
    EndpointError,
    IncompatibleServerError,
    KnownHostsError,
    PrivateKeyError,
    UnknownHostKeyError,
    UnreachableHostError,
    UnresolvableHostError,
)
from ar_sync_pipeline.sftp.known_hosts import load_known_hosts
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer, SftpTestServer

HOST, PORT = "sync.example.org", 2222
LABEL = f"[{HOST}]:{PORT}"


def make_key(path: Path, *options: str, passphrase: str = "") -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", *(options or ("-t", "ed25519")), "-N", passphrase, "-f", path],
        check=True,
    )
    return path


def public(path: Path) -> str:
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder / "ed25519")
    make_key(folder / "other")
    make_key(folder / "ecdsa", "-t", "ecdsa")
    make_key(folder / "rsa", "-t", "rsa", "-b", "2048")
    make_key(folder / "rsa_pem", "-t", "rsa", "-b", "2048", "-m", "PEM")
    make_key(folder / "locked", passphrase="correct horse")
    return folder


def endpoint_with(key: Path, passphrase: str | None = None) -> SftpEndpoint:
    return SftpEndpoint(HOST, PORT, "backup", key, key, passphrase)


@pytest.mark.parametrize("name", ["ed25519", "ecdsa", "rsa", "rsa_pem"])
def test_keys_of_all_kinds_load(keys: Path, name: str) -> None:
    key = endpoint_with(keys / name).load_private_key()
    assert key is not None
    assert f"{key.get_name()} {key.get_base64()}" == public(keys / name)


def test_locked_key_opens_with_its_passphrase_only(keys: Path) -> None:
    assert endpoint_with(keys / "locked", "correct horse").load_private_key() is not None
    with pytest.raises(PrivateKeyError, match=r"passphrase .* is wrong"):
        endpoint_with(keys / "locked", "wrong").load_private_key()
    with pytest.raises(PrivateKeyError, match="none was given"):
        endpoint_with(keys / "locked").load_private_key()


def test_unusable_keys_are_explained(keys: Path) -> None:
    with pytest.raises(PrivateKeyError, match="No such file"):
        endpoint_with(keys / "absent").load_private_key()
    with pytest.raises(PrivateKeyError, match="not a private key"):
        endpoint_with(keys / "ed25519.pub").load_private_key()


def test_passphrase_is_never_shown(keys: Path) -> None:
    endpoint = endpoint_with(keys / "locked", "s3cret")
    with pytest.raises(PrivateKeyError) as refusal:
        endpoint.load_private_key()
    assert "s3cret" not in repr(endpoint) + str(refusal.value) + repr(refusal.value)


def test_endpoint_that_could_never_connect_is_refused(keys: Path) -> None:
    good = endpoint_with(keys / "ed25519")
    for changes in ({"host": ""}, {"user": ""}, {"port": 0}, {"port": 65536}):
        with pytest.raises(EndpointError):
            replace(good, **changes)
    with pytest.raises(EndpointError, match="no private key"):
        replace(good, private_key=None)
    assert replace(good, private_key=None, agent=True).load_private_key() is None


def pinned(tmp_path: Path, *lines: str, host: str = HOST, port: int = PORT) -> list[str]:
    path = tmp_path / "known_hosts"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    keys = load_known_hosts(path).pinned_keys(host, port)
    return [f"{key.get_name()} {key.get_base64()}" for key in keys]


def test_pinned_keys_are_found_in_every_notation(keys: Path, tmp_path: Path) -> None:
    key = public(keys / "ed25519")
    hashed = HostKeys.hash_host(LABEL)
    for hosts in (LABEL, LABEL.upper(), hashed, f"a,{LABEL},b", "[*.example.org]:2222", "[*]:*"):
        assert pinned(tmp_path, "# comment", "", f"  {hosts}   {key}  me@here") == [key], hosts
    assert pinned(tmp_path, f"{HOST} {key}", port=22) == [key]


def test_other_hosts_and_ports_are_not_pinned(keys: Path, tmp_path: Path) -> None:
    key = public(keys / "ed25519")
    hashed = HostKeys.hash_host("elsewhere")
    for hosts in (HOST, f"[{HOST}]:22", hashed, f"[*]:*,!{LABEL}", "[sync.example?org.]:2222"):
        assert pinned(tmp_path, f"{hosts} {key}") == [], hosts


def test_lines_that_do_not_concern_us_do_not_break_the_rest(keys: Path, tmp_path: Path) -> None:
    key, other = public(keys / "ed25519"), public(keys / "other")
    lines = (
        f"@cert-authority *.example.org {other}",
        f"@revoked {LABEL} {other}",
        f"{LABEL} ssh-dss AAAAB3NzaC1kc3MAAACB",
        f"{LABEL} sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t",
        f"{LABEL} {key}",
    )
    assert pinned(tmp_path, *lines) == [key]


@pytest.mark.parametrize(
    "separator", ["\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_only_a_line_feed_ends_a_line(keys: Path, tmp_path: Path, separator: str) -> None:
    """Else a comment could pin a key that OpenSSH, and whoever reads the file, does not see."""
    key, other = public(keys / "ed25519"), public(keys / "other")
    hidden = f"{separator}{LABEL} {other}"
    assert pinned(tmp_path, f"# comment{hidden}", f"{LABEL} {key} me{hidden}") == [key]


def test_file_of_another_system_ends_its_lines_with_two_characters(
    keys: Path, tmp_path: Path
) -> None:
    key = public(keys / "ed25519")
    assert pinned(tmp_path, "# comment\r", "\r", f"{LABEL} {key}\r") == [key]


@pytest.mark.parametrize("space", ["\x0b", "\xa0", "\u2003", "\x1f"])
def test_only_blanks_and_tabs_separate_fields(keys: Path, tmp_path: Path, space: str) -> None:
    key = public(keys / "ed25519")
    assert pinned(tmp_path, f"{LABEL}\t{key}") == [key]
    with pytest.raises(KnownHostsError, match="line 1"):
        pinned(tmp_path, f"{LABEL}{space}{key}")


@pytest.mark.parametrize(
    "bad",
    ["lonely", "host ssh-ed25519", "@unknown host ssh-ed25519 AAAA", "{truncated}", "{short}"],
)
def test_bad_line_is_named_by_file_and_number(keys: Path, tmp_path: Path, bad: str) -> None:
    key = public(keys / "ed25519")
    line = bad.format(truncated=f"{LABEL} {key[:-7]}", short=f"{LABEL} {key[:40]}")
    with pytest.raises(KnownHostsError, match=r"known_hosts, line 2 "):
        pinned(tmp_path, f"{LABEL} {key}", line)


def test_absent_or_binary_file_of_host_keys_is_reported(tmp_path: Path) -> None:
    with pytest.raises(KnownHostsError, match="No such file"):
        load_known_hosts(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KnownHostsError, match="not a text file"):
        load_known_hosts(tmp_path / "binary")


def connect_with(server: SftpTestServer, tmp_path: Path, *lines: str) -> None:
    path = tmp_path / "pins"
    path.write_text("\n".join(lines) + "\n")
    with open_session(replace(server.endpoint(), known_hosts=path)):
        pass


def test_unknown_host_key_shows_what_to_pin(
    any_sftp_server: SftpTestServer, tmp_path: Path
) -> None:
    with pytest.raises(UnknownHostKeyError, match="SHA256:") as refusal:
        connect_with(any_sftp_server, tmp_path, "")
    line = any_sftp_server.known_hosts.read_text().strip()
    key = PKey.from_type_string(*_type_and_data(line))
    assert key.fingerprint in refusal.value.problem
    assert line in refusal.value.remedy
    connect_with(any_sftp_server, tmp_path, line)


def _type_and_data(line: str) -> tuple[str, bytes]:
    _, kind, encoded = line.split()
    return kind, base64.b64decode(encoded)


def test_changed_host_key_shows_both(
    any_sftp_server: SftpTestServer, tmp_path: Path, keys: Path
) -> None:
    label = any_sftp_server.known_hosts.read_text().split()[0]
    with pytest.raises(ChangedHostKeyError, match=r"SHA256:.* instead of the pinned .*SHA256:"):
        connect_with(any_sftp_server, tmp_path, f"{label} {public(keys / 'other')}")
    # A key of another type is no better than another key of the same type.
    with pytest.raises(ChangedHostKeyError):
        connect_with(any_sftp_server, tmp_path, f"{label} {public(keys / 'rsa')}")


def test_revoked_host_key_is_refused_even_if_pinned(
    any_sftp_server: SftpTestServer, tmp_path: Path
) -> None:
    line = any_sftp_server.known_hosts.read_text().strip()
    with pytest.raises(ChangedHostKeyError, match="revoked"):
        connect_with(any_sftp_server, tmp_path, line, f"@revoked {line}")


def test_one_right_key_among_several_types_is_enough(
    any_sftp_server: SftpTestServer, tmp_path: Path, keys: Path
) -> None:
    line = any_sftp_server.known_hosts.read_text().strip()
    label = line.split()[0]
    connect_with(any_sftp_server, tmp_path, f"{label} {public(keys / 'other')}", line)


def test_host_that_does_not_answer_is_unreachable(sftp_server: AsyncsshTestServer) -> None:
    endpoint = replace(sftp_server.endpoint(), port=1)
    with pytest.raises(UnreachableHostError, match="refused"), open_session(endpoint):
        pass


def test_host_without_address(sftp_server: AsyncsshTestServer) -> None:
    endpoint = replace(sftp_server.endpoint(), host="nowhere.invalid")
    with (
        pytest.raises(UnresolvableHostError, match=r"nowhere\.invalid"),
        open_session(endpoint, SessionLimits(resolve_seconds=5)),
    ):
        pass


def test_server_without_common_cipher_is_reported(tmp_path: Path) -> None:
    ciphers = ["chacha20-poly1305@openssh.com"]
    with (
        LoopbackSftpServer(tmp_path / "root", tmp_path / "keys", encryption_algs=ciphers) as server,
        pytest.raises(IncompatibleServerError, match="no algorithm"),
        open_session(server.endpoint()),
    ):
        pass
