"""What the load sends, and what it tells of what came back."""

from __future__ import annotations

import json

import httptools
import pytest

from adaptive import clock
from adaptive.arena.load import PAYLOAD, Load, message
from replay import arrivals
from replay.scenario import Instance, Scenario
from replay.scenario import Load as Rates


class Seen:
    """What a parser reads of a request."""

    def __init__(self) -> None:
        self.url, self.body, self.complete = b"", b"", 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def test_requests_are_whole_messages() -> None:
    for post, method, body in ((True, b"POST", PAYLOAD), (False, b"GET", b"")):
        seen = Seen()
        parser = httptools.HttpRequestParser(seen)
        parser.feed_data(message(42, post))
        assert (parser.get_method(), seen.url, seen.body, seen.complete) == (method, b"/item/42", body, 1)


def test_a_line_tells_what_ended_since_the_last_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = arrivals.draw(Scenario("x", (Instance("a"),), Rates(((0.0, 100.0),)), seconds=1.0, warm=0.0), 1)
    load = Load([1], 2.0, plan)
    load.zero, load.fresh = 100.0, []
    load.under_way = dict.fromkeys(range(3))
    monkeypatch.setattr(clock, "monotonic", lambda: 100.0 + plan.due[2] + 0.05)
    load.ended(0, 503)
    load.ended(1, 0)
    load.ended(2, 200)
    load.ended(2, 0)  # its connection goes afterwards: it has its answer
    load.tell(0)
    load.tell(1)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"second": 0, "failed": 2, "latencies": [pytest.approx(0.05, abs=1e-5)]}
    assert second == {"second": 1, "failed": 0, "latencies": []}
    assert load.rows["status"][:3].tolist() == [503, 0, 200]
