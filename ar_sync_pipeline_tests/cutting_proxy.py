"""A proxy that cuts connections."""

from __future__ import annotations

import select
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Self

from ar_sync_pipeline.demo.sftp_server import HOST
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline_tests.faulty_sftp import SftpTestServer


class CuttingProxy:
    """A TCP proxy that interrupts the link from the client to the server after some bytes.

    Args:
        port: Port of the server.
        interrupted_after: For the first connections, in their order: bytes from the client that are
            forwarded before both sides are closed; later connections are not interrupted.
        swallow_after: Bytes from the client, per connection, after which nothing is forwarded in
            either direction, with all sockets open.

    Attributes:
        swallow: If set, nothing is forwarded from now on.
    """

    def __init__(
        self,
        port: int,
        *,
        interrupted_after: tuple[int, ...] = (),
        swallow_after: int | None = None,
    ) -> None:
        self._server_port = port
        self._cuts = list(interrupted_after)
        self._swallow_after = swallow_after
        self._stop = threading.Event()
        self.swallow = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self._listener.settimeout(0.05)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def endpoint(self, server: SftpTestServer, known_hosts: Path) -> SftpEndpoint:
        """Return the server's account through this proxy; pin the server's key for its port."""
        key = server.known_hosts.read_text().split(maxsplit=1)[1]
        known_hosts.write_text(f"[{HOST}]:{self.port} {key}")
        return replace(server.endpoint(), port=self.port, known_hosts=known_hosts)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            cut = self._cuts.pop(0) if self._cuts else None
            relay = threading.Thread(target=self._relay, args=(client, cut), daemon=True)
            self._threads.append(relay)
            relay.start()

    def _relay(self, client: socket.socket, interrupted_after: int | None) -> None:
        passed = 0
        with client, socket.create_connection((HOST, self._server_port)) as server:
            peers = {client: server, server: client}
            while not self._stop.is_set():
                if self.swallow.is_set():
                    self._stop.wait()
                readable, _, _ = select.select(list(peers), [], [], 0.05)
                for side in readable:
                    try:
                        data = side.recv(65536)
                        peers[side].sendall(data)
                    except OSError:
                        return
                    passed += len(data) if side is client else 0
                    if not data or (interrupted_after is not None and passed >= interrupted_after):
                        return
                if self._swallow_after is not None and passed >= self._swallow_after:
                    self._stop.wait()
