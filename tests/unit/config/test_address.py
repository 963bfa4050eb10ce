"""Addresses: what they mean, and which of them meet."""

from __future__ import annotations

import pytest

from adaptive.config.address import is_loopback, overlap, read_address, write_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:80", "::1", 80),
        ("[2001:DB8:0::1]:80", "2001:db8::1", 80),
        ("api.Example.org:65535", "api.example.org", 65535),
        ("my_service:0", "my_service", 0),
    ],
)
def test_an_address_is_read_in_its_canonical_form_and_written_back(text: str, host: str, port: int) -> None:
    assert read_address(text) == (host, port)
    assert read_address(write_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a:",
        ":1",
        "a:65536",
        "a:-1",
        "a:1x",
        "a:١",
        "[::1]",
        "[a]:1",
        "::1:1",
        "a b:1",
        "1.2.3:1",
        "-a:1",
        "a..b:1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_address(text)


def test_only_this_machine_reaches_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example")))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (("127.0.0.1", 1), ("127.0.0.1", 1), True),
        (("127.0.0.1", 1), ("127.0.0.1", 2), False),
        (("127.0.0.1", 0), ("127.0.0.1", 0), False),
        (("0.0.0.0", 1), ("10.0.0.1", 1), True),
        (("0.0.0.0", 1), ("::1", 1), False),
        (("::", 1), ("::1", 1), True),
        (("::", 1), ("0.0.0.0", 1), False),
    ],
)
def test_sockets_meet_on_one_port_of_one_address(one: tuple[str, int], other: tuple[str, int], meet: bool) -> None:
    assert overlap(one, other) is meet and overlap(other, one) is meet
