"""The first steps of a connection on machines that lack something."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.errors import UnreachableHostError
from ar_sync_pipeline.sftp.opening import Address, connect

# A family that Linux has no sockets for any more, as it has none for IPv6 with ipv6.disable=1.
MISSING: Address = (socket.AF_IPX, ("::1", 22))


def endpoint(port: int = 22) -> SftpEndpoint:
    return SftpEndpoint("viz.example.org", port, "ar_sync", Path("key"), Path("known_hosts"))


def test_address_of_a_family_that_the_kernel_lacks_is_an_outage_in_one_message() -> None:
    with pytest.raises(UnreachableHostError, match="does not answer \\(Address family not"):
        connect(endpoint(), [MISSING], seconds=5)


def test_next_address_is_tried_after_one_of_a_missing_family() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address: Address = (socket.AF_INET, server.getsockname())
        connect(endpoint(), [MISSING, address], seconds=5).close()


@pytest.mark.parametrize("missing_first", [True, False])
def test_reason_is_that_of_an_address_that_was_really_called(missing_first: bool) -> None:
    closed: Address = (socket.AF_INET, ("127.0.0.1", free_port()))
    addresses = [MISSING, closed] if missing_first else [closed, MISSING]
    with pytest.raises(UnreachableHostError, match="Connection refused"):
        connect(endpoint(), addresses, seconds=5)
