"""Listening sockets: a port in use is an error with its address, and every worker has its own backlog."""

from __future__ import annotations

import socket
import sys

import pytest

from adaptive.gateway.listen import AddressError, Listening, bind, bind_shared, deafen


def test_a_port_in_use_is_an_error_that_names_the_address() -> None:
    with bind("127.0.0.1", 0, share=False) as held:
        port = held.getsockname()[1]
        for count in (1, 2):
            with pytest.raises(AddressError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .* in use"):
                bind_shared("127.0.0.1", port, count)


def test_a_port_shared_by_another_gateway_is_in_use_all_the_same() -> None:
    sockets = bind_shared("127.0.0.1", 0, 2)
    try:
        with pytest.raises(AddressError, match="in use"):
            bind_shared("127.0.0.1", sockets[0].getsockname()[1], 2)
    finally:
        for sock in sockets:
            sock.close()


def test_an_address_of_no_interface_is_an_error_that_says_so() -> None:
    with pytest.raises(AddressError, match=r"203\.0\.113\.7:80: no interface"):
        bind_shared("203.0.113.7", 80, 1)


def test_a_name_that_does_not_resolve_is_an_error() -> None:
    with pytest.raises(AddressError, match=r"cannot listen on nowhere\.invalid:80"):
        bind("nowhere.invalid", 80, share=False)


def test_every_worker_has_a_socket_of_its_own_on_the_same_port() -> None:
    listening = Listening.open([("127.0.0.1", 0), ("127.0.0.1", 0)], 3)
    try:
        ports = [[sock.getsockname()[1] for sock in sockets] for sockets in listening.by_worker]
        assert ports[0] == ports[1] == ports[2]
        assert len({sock.fileno() for sockets in listening.by_worker for sock in sockets}) == 6
        assert listening.names() == [f"127.0.0.1:{port}" for port in ports[0]]
    finally:
        listening.close()


def test_connections_wait_in_the_backlog_while_nobody_accepts() -> None:
    listening = Listening.open([("127.0.0.1", 0)], 1)
    try:
        sock = listening.by_worker[0][0]
        with socket.create_connection(sock.getsockname(), timeout=2) as client:
            client.sendall(b"x")
            accepted, _ = sock.accept()
            with accepted:
                accepted.settimeout(2)
                assert accepted.recv(1) == b"x"
    finally:
        listening.close()


def test_nothing_stays_bound_when_one_address_cannot_be_had() -> None:
    with bind("127.0.0.1", 0, share=False) as held:
        free = bind("127.0.0.1", 0, share=False)
        port = free.getsockname()[1]
        free.close()
        with pytest.raises(AddressError):
            Listening.open([("127.0.0.1", port), held.getsockname()], 2)
        bind("127.0.0.1", port, share=False).close()


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")
def test_a_deafened_socket_keeps_what_it_accepted_and_takes_nothing_new() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname(), 5) as early,
    ):
        deafen(listening)
        with pytest.raises(TimeoutError), socket.create_connection(listening.getsockname(), 0.1):
            pass
        taken, _ = listening.accept()
        with taken:
            early.sendall(b"request")
            taken.settimeout(5)
            assert taken.recv(7) == b"request"
