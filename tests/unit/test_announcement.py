"""What an instance may say of itself, and what is no announcement."""

from __future__ import annotations

import pytest

from adaptive.announcement import READY, Announcement, parse
from adaptive.gateway.reply import ReplyReader


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ready", READY),
        ("up", READY),
        ("drain", Announcement(0.0)),
        ("Maint", Announcement(0.0)),
        ("75%", Announcement(0.75)),
        ("0%", Announcement(0.0)),
        ("ready 12.5%", Announcement(0.125)),
        ("maxconn:30", Announcement(1.0, 30)),
        ("50%, maxconn:8", Announcement(0.5, 8)),
        ("drain up", Announcement(0.0)),
        ("status:good 50%", Announcement(0.5)),
    ],
)
def test_the_words_of_an_agent_are_understood(text: str, said: Announcement) -> None:
    assert parse(text) == said


@pytest.mark.parametrize("text", ["", "ok", '{"status":"up"}', "101%", "-5%", "maxconn:0", "maxconn:", "drain" * 100])
def test_what_is_no_announcement_says_nothing(text: str) -> None:
    assert parse(text) is None


def test_a_response_announces_to_the_gateway_alone() -> None:
    reply = ReplyReader().read(
        b"HTTP/1.1 200 OK\r\nEndpoint-Announcement: 50%\r\nx-other: 1\r\nendpoint-announcement: maxconn:4\r\n\r\n"
    )
    assert reply.announced == Announcement(0.5, 4)
    assert reply.lines == b"x-other: 1\r\n"


def test_a_response_that_announces_nothing_says_nothing() -> None:
    assert ReplyReader().read(b"HTTP/1.1 200 OK\r\nx-other: drain\r\n\r\n").announced is None
