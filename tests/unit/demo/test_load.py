"""The demo's arrivals."""

from __future__ import annotations

import itertools
import math

import httptools

from adaptive.demo.load import PAYLOAD, Arrival, arrivals


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert list(arrivals(1, 250.0, 4.0)) == list(arrivals(1, 250.0, 4.0))
    assert list(arrivals(1, 250.0, 4.0)) != list(arrivals(2, 250.0, 4.0))


def test_a_longer_load_begins_as_a_shorter_one() -> None:
    short = list(arrivals(1, 250.0, 2.0))
    assert list(itertools.islice(arrivals(1, 250.0, 4.0), len(short))) == short


def test_arrivals_come_at_the_rate_in_order_within_the_time_and_half_of_them_post() -> None:
    found = list(arrivals(7, 250.0, 40.0))
    expected = 250.0 * 40.0
    assert abs(len(found) - expected) < 4 * math.sqrt(expected)  # four standard deviations of a Poisson count
    assert [a.due for a in found] == sorted(a.due for a in found)
    assert all(0 < a.due < 40.0 for a in found)
    assert [a.number for a in found] == list(range(1, len(found) + 1))
    posts = sum(a.post for a in found)
    assert abs(posts - len(found) / 2) < 4 * math.sqrt(len(found)) / 2


def test_gaps_between_arrivals_are_exponential() -> None:
    due = [a.due for a in arrivals(7, 250.0, 40.0)]
    gaps = [b - a for a, b in itertools.pairwise(due)]
    longer = sum(gap > 1 / 250.0 for gap in gaps) / len(gaps)
    share = math.exp(-1)
    assert abs(longer - share) < 4 * math.sqrt(share * (1 - share) / len(gaps))


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
        parser.feed_data(Arrival(0.0, 42, post).request)
        assert (parser.get_method(), seen.url, seen.body, seen.complete) == (method, b"/item/42", body, 1)
