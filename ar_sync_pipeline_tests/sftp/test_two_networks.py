"""Sender and receiver in two networks of their own: the cable is pulled during an upload."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.openssh_servers import SSHD, OpensshTestServer
from ar_sync_pipeline_tests.sftp.sources import MIB
from ar_sync_pipeline_tests.waiting import until

_SENDER_ADDRESS, _RECEIVER_ADDRESS = "10.231.7.1", "10.231.7.2"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class TwoNetworks:
    """Two network namespaces with one cable between them."""

    sender: str
    receiver: str

    def inside(self, namespace: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", namespace)

    def pull_the_cable(self) -> None:
        _ip("-n", self.receiver, "link", "set", "cable", "down")

    def plug_it_in(self) -> None:
        _ip("-n", self.receiver, "link", "set", "cable", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def networks() -> Iterator[TwoNetworks]:
    if os.geteuid() != 0 or shutil.which("ip") is None or not SSHD.exists():
        skip_unless_in_ci("network namespaces need root, iproute2 and an OpenSSH server")
    pair = TwoNetworks(*(f"ar-sync-{os.getpid()}-{side}" for side in ("sender", "receiver")))
    try:
        _ip("netns", "add", pair.sender)
    except subprocess.CalledProcessError as error:
        skip_unless_in_ci(f"this machine lets nobody make a network: {error.stderr.decode()}")
    try:
        _ip("netns", "add", pair.receiver)
        _ip("-n", pair.sender, "link", "add", "cable", "type", "veth",
            "peer", "name", "cable", "netns", pair.receiver)  # fmt: skip
        for namespace, address in (
            (pair.sender, _SENDER_ADDRESS),
            (pair.receiver, _RECEIVER_ADDRESS),
        ):
            _ip("-n", namespace, "address", "add", f"{address}/30", "dev", "cable")
            _ip("-n", namespace, "link", "set", "cable", "up")
        yield pair
    finally:
        for namespace in (pair.sender, pair.receiver):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", namespace)


@pytest.fixture
def receiver(networks: TwoNetworks) -> Iterator[OpensshTestServer]:
    folder = Path(tempfile.mkdtemp(prefix="ar-sync-network-"))
    folder.chmod(0o755)
    inside = networks.inside(networks.receiver)
    try:
        with OpensshTestServer(folder, address=_RECEIVER_ADDRESS, inside=inside) as server:
            server.renew_spool()
            yield server
    finally:
        shutil.rmtree(folder)


class Watcher:
    """Looks at the archives' folder all the time, as a receiver's sensor does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.sizes = set[int]()
        self.names = set[str]()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            for path in self._folder.glob("*"):
                self.names.add(path.name)
                self.sizes.add(path.stat().st_size)


def _start_upload(
    networks: TwoNetworks, server: OpensshTestServer, folder: Path
) -> subprocess.Popen[str]:
    endpoint = server.endpoint()
    content = folder / "content"
    content.write_bytes(os.urandom(16 * MIB))
    given = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": endpoint.user,
        "key": str(endpoint.private_key),
        "known_hosts": str(endpoint.known_hosts),
        "spool": str(server.spool),
        "content": str(content),
        "folder": str(folder / "members"),
        "bytes_per_second": 6 * MIB,
    }
    module = "ar_sync_pipeline_tests.sftp.uploading_process"
    return subprocess.Popen(
        [*networks.inside(networks.sender), sys.executable, "-m", module, json.dumps(given)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )


def _wait_for_part(server: OpensshTestServer, size_bytes: int) -> None:
    def arrived() -> bool:
        parts = (server.spool_path / ".incoming").glob("*.part")
        return any(part.stat().st_size >= size_bytes for part in parts)

    until(arrived, f"{size_bytes} bytes have arrived", 30, every=0.01)


@pytest.mark.long
def test_cable_that_is_pulled_during_an_upload_and_plugged_in_again_costs_nothing(
    networks: TwoNetworks, receiver: OpensshTestServer, tmp_path: Path
) -> None:
    """The upload resumes, the bytes are right, and nobody saw a part of the archive."""
    watcher = Watcher(receiver.spool_path / "complete")
    with watcher.at_work():
        process = _start_upload(networks, receiver, tmp_path)
        _wait_for_part(receiver, 5 * MIB)
        networks.pull_the_cable()
        # Longer than the sender waits in silence, so that it gives up and gets no answer.
        time.sleep(3)
        networks.plug_it_in()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(output)
    arrived = receiver.spool_path / "complete" / result["name"]
    assert hashlib.sha256(arrived.read_bytes()).hexdigest() == result["sha256"]
    assert watcher.names == {result["name"]}
    assert watcher.sizes == {result["size_bytes"]}
    assert result["failures"][0] == "ConnectionLostError"
    assert result["attempts"] == 1 + len(result["failures"])
    assert result["resumed_bytes"] >= 5 * MIB - 65379
    # What was under way when the cable was pulled is sent again; the rest is not.
    assert result["sent_bytes"] < result["size_bytes"] + 5 * MIB
    assert list((receiver.spool_path / ".incoming").iterdir()) == []
