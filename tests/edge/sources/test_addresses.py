"""Addresses of sockets: a host and a port, and nothing that a socket has no use for."""

from __future__ import annotations

import pytest

from winnow_edge.errors import SwathError
from winnow_edge.sources.listening import Listener
from winnow_edge.sources.sockets import connect, host_and_port


@pytest.mark.parametrize("address", ["tcp://camera.local:5000", "tcp-listen://[::1]:0"])
def test_a_host_and_a_port_are_an_address(address: str) -> None:
    host, port = host_and_port(address, least=0)
    assert host in ("camera.local", "::1") and port in (5000, 0)


@pytest.mark.parametrize(
    "rest",
    [
        "user:secret@127.0.0.1:5000",
        "user@127.0.0.1:5000",
        "127.0.0.1:5000/path",
        "127.0.0.1:5000/",
        "127.0.0.1:5000?x",
        "127.0.0.1:5000#x",
        "127.0.0.1",
        "[::1",
    ],
)
@pytest.mark.parametrize("scheme", ["tcp", "tcp-listen"])
def test_what_a_socket_has_no_use_for_is_refused_and_no_password_printed(
    scheme: str, rest: str
) -> None:
    address = f"{scheme}://{rest}"
    with pytest.raises(SwathError, match="is no address") as refused:
        Listener(address) if scheme == "tcp-listen" else connect(address)
    assert "secret" not in str(refused.value)
