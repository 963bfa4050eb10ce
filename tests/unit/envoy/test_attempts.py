"""Entries of Envoy's access log become the Outcomes that the embedded data plane would have written."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from adaptive.config.load import parse
from adaptive.config.topology import assign_slots
from adaptive.envoy.attempts import FORGOTTEN, Attempts
from adaptive.envoy.entry import Entry
from adaptive.envoy.lines import read
from adaptive.envoy.steering import Steering
from adaptive.envoy.translate.logs import REPORTED, SEPARATOR, WITHIN
from adaptive.envoy.unanswered import WAIT
from adaptive.types import OUTCOME_FIELDS, Cause, Mark, Outcome

CONFIG = parse(
    yaml.safe_dump(
        {
            "listen": ["127.0.0.1:8080"],
            "clusters": {"all": {"endpoints": ["127.0.0.1:1", "127.0.0.1:2"]}},
            "routes": [
                {"name": "r", "cluster": "all", "timeout": "2s", "retries": 2},
                {"name": "stepwise", "prefix": "/s", "cluster": "all", "timeout": "2s", "attempt_timeout": "200ms"},
            ],
        }
    )
)
WALL = 1_000_000.0  # between the two clocks
NOW = 100.0


class Taken:
    """A reader, and the rows that it wrote."""

    def __init__(self) -> None:
        self.rows: list[Outcome] = []
        self.attempts = Attempts(self.put, WALL)
        slots = assign_slots(CONFIG, {})
        steering = Steering(CONFIG, slots, 1)
        steering.first(None, 0.0)
        self.attempts.configure(CONFIG, slots, steering)

    def put(self, *fields: Any) -> bool:
        assert len(fields) == len(OUTCOME_FIELDS)
        self.rows.append(Outcome(*fields))
        return True

    def take(self, **fields: Any) -> Outcome | None:
        before = len(self.rows)
        self.attempts.take(entry(**fields), 3, NOW)
        return self.rows[-1] if len(self.rows) > before else None

    def told(self) -> list[tuple[Cause, int, Mark]]:
        """Cause, number and marks of every row, but for what all have: the method."""
        return [(Cause(row.cause), row.attempt, Mark(row.marks) & ~Mark.REPEATABLE) for row in self.rows]


def entry(
    at: float = 10.0,
    seconds: float = 0.03,
    status: int = 200,
    flags: tuple[str, ...] = (),
    endpoint: str = "all|127.0.0.1:2",
    method: str = "GET",
    request: str = "q",
    kind: str = "UpstreamEnd",
    reason: str = "-",
    first: float = 0.0,
    headers: dict[str, str] | None = None,
    route: str = "r",
) -> Entry:
    numbers = (1e6 * (WALL + at), 1e6 * first, 1e6 * seconds, 1e3 * seconds, 7, 200, 2)
    fields = (
        endpoint,
        f"{method} {status} {','.join(flags) or '-'} {kind} {route}",
        " ".join(f"{number:.0f}" for number in numbers),
        request,
        WITHIN.join((reason, *((headers or {}).get(name, "-") for name in REPORTED))),
    )
    return read(SEPARATOR.join(fields))


def test_an_attempt_is_a_row() -> None:
    row = Taken().take(first=0.02, headers={"endpoint-load-metrics": "TEXT cpu_utilization=0.5"})
    assert row is not None
    assert (row.slot, row.cluster, row.route, row.status, row.attempt, row.worker) == (1, 0, 0, 200, 1, 3)
    assert row.sent_at == pytest.approx(10.0)
    assert row.first_byte == pytest.approx(10.02)
    assert row.done == pytest.approx(10.03)
    assert row.cause == Cause.RESPONSE
    assert row.marks == Mark.REPEATABLE | Mark.FINAL
    assert row.load_cpu == 0.5
    assert math.isnan(row.load_app)
    assert row.propensity == 0.5
    assert row.connect == pytest.approx(0.002)


CAUSES = [
    ({"status": 503}, Cause.RESPONSE, False),
    ({"status": 101}, Cause.UPGRADED, False),
    ({"status": 0, "flags": ("UC",)}, Cause.RESET, False),
    ({"status": 200, "flags": ("UC",)}, Cause.RESET_BODY, False),
    ({"status": 200, "flags": ("UPE",)}, Cause.RESET_BODY, False),
    ({"status": 0, "flags": ("UPE",)}, Cause.PROTOCOL_ERROR, False),
    ({"status": 0, "flags": ("UR",)}, Cause.RESET, False),
    ({"status": 0, "flags": ("UO",)}, Cause.OVERFLOW, False),
    (
        {"status": 0, "flags": ("UF",), "reason": "delayed connect error: Connection refused"},
        Cause.CONNECT_REFUSED,
        False,
    ),
    (
        {"status": 0, "flags": ("UF",), "reason": "connection timeout"},
        Cause.CONNECT_TIMEOUT,
        False,
    ),
    ({"status": 0, "flags": ("UF",), "reason": "TLS_error"}, Cause.CONNECT_FAILED, False),
    ({"status": 0, "flags": ("UT",), "route": "stepwise"}, Cause.TIMEOUT_ATTEMPT, True),
    ({"status": 0, "flags": ("UT",), "method": "POST"}, Cause.TIMEOUT_ATTEMPT, True),
    ({"status": 0, "flags": ("UT",)}, Cause.CLIENT_GONE, True),
    ({"status": 0, "seconds": 1.99}, Cause.TIMEOUT_ROUTE, True),
    ({"status": 0, "flags": ("DC",)}, Cause.CLIENT_GONE, True),
    ({"status": 0, "seconds": 0.3}, Cause.CLIENT_GONE, True),
    ({"status": 200, "flags": ("UT",)}, Cause.RESPONSE, False),
]


@pytest.mark.parametrize(("fields", "cause", "censored"), CAUSES)
def test_how_it_ended_is_its_cause(fields: dict[str, Any], cause: Cause, censored: bool) -> None:
    taken = Taken()
    taken.take(**fields)
    taken.attempts.settle(NOW + WAIT)
    (row,) = taken.rows
    assert Cause(row.cause) is cause
    assert bool(row.marks & Mark.CENSORED) is censored


def test_attempts_of_one_request_are_counted_and_the_last_is_final() -> None:
    taken = Taken()
    rows = [taken.take(at=10 + n / 10, status=status) for n, status in enumerate((503, 503, 503))]
    assert [(row.attempt, bool(row.marks & Mark.FINAL)) for row in rows if row] == [(1, False), (2, False), (3, True)]
    assert len({row.request for row in rows if row}) == 1


SLOW = ("UT",)  # Envoy's flag of an attempt that got another beside it


def test_an_attempt_that_lost_to_its_hedge_was_cancelled_and_did_not_fail() -> None:
    taken = Taken()
    assert taken.take(at=10.0, seconds=0.3, status=0, flags=SLOW) is None, "what became of it the next entry tells"
    taken.take(at=10.2, seconds=0.1)
    assert taken.told() == [
        (Cause.CANCELLED, 1, Mark.CENSORED),
        (Cause.RESPONSE, 2, Mark.FINAL | Mark.HEDGE),
    ]


def test_a_hedge_that_lost_is_told_first_and_is_the_second_all_the_same() -> None:
    taken = Taken()
    taken.take(at=10.2, seconds=0.1, status=0)
    taken.take(at=10.0, seconds=0.3, flags=SLOW)
    assert taken.told() == [
        (Cause.CANCELLED, 2, Mark.CENSORED | Mark.HEDGE),
        (Cause.RESPONSE, 1, Mark.FINAL),
    ]


def test_of_a_client_that_left_all_attempts_one_is_the_last() -> None:
    taken = Taken()
    for at, seconds in ((10.0, 0.5), (10.2, 0.3), (10.4, 0.1)):
        taken.take(at=at, seconds=seconds, status=0, flags=SLOW)
    taken.attempts.settle(NOW + WAIT / 2)
    assert taken.rows == []
    taken.attempts.settle(NOW + WAIT)
    gone, first = Cause.CLIENT_GONE, Mark.CENSORED
    assert taken.told() == [
        (gone, 1, first),
        (gone, 2, first | Mark.HEDGE),
        (gone, 3, first | Mark.HEDGE | Mark.FINAL),
    ]


def test_a_request_whose_time_is_up_with_two_under_way_timed_out_at_both() -> None:
    taken = Taken()
    taken.take(at=10.0, seconds=1.995, status=0, flags=SLOW)
    taken.take(at=11.0, seconds=0.995, status=0, flags=SLOW)
    taken.attempts.settle(NOW + WAIT)
    assert [cause for cause, _, _ in taken.told()] == [Cause.TIMEOUT_ROUTE] * 2
    assert [bool(marks & Mark.FINAL) for _, _, marks in taken.told()] == [False, True]


def test_a_retry_after_an_answer_is_no_hedge() -> None:
    taken = Taken()
    taken.take(at=10.0, seconds=0.1, status=503)
    taken.take(at=10.1, seconds=0.1)
    assert [marks for _, _, marks in taken.told()] == [Mark(0), Mark.FINAL]


def test_a_post_that_failed_is_final_for_it_is_not_sent_again() -> None:
    row = Taken().take(method="POST", status=0, flags=("UC",))
    assert row is not None
    assert row.marks == Mark.FINAL


def test_what_is_told_twice_is_taken_once() -> None:
    taken = Taken()
    assert taken.take() is not None
    assert taken.take() is None
    assert taken.attempts.twice == 1


def test_entries_may_come_in_any_order() -> None:
    taken = Taken()
    rows = [taken.take(at=at, request=f"q{at}") for at in (12.0, 10.0, 11.0)]
    assert [round(row.sent_at) for row in rows if row] == [12, 10, 11]


def test_an_attempt_under_way_is_waited_for_until_it_ends_or_is_forgotten() -> None:
    taken = Taken()
    assert taken.take(at=99.0, kind="UpstreamPeriodic") is None
    assert taken.attempts.live(NOW) == ({1: 1}, {1: pytest.approx(99.0)})
    taken.take(at=99.0, seconds=0.9)
    assert taken.attempts.live(NOW)[1] == {}
    taken.take(at=99.5, kind="UpstreamPeriodic", request="other")
    assert taken.attempts.live(NOW + 2 * FORGOTTEN)[1] == {}


def test_a_stranger_is_counted_and_the_rest_goes_on() -> None:
    taken = Taken()
    assert taken.take(endpoint="gone|127.0.0.1:9") is None
    assert taken.take(endpoint="-") is None
    assert taken.attempts.unknown == {"gone|127.0.0.1:9": 1, "-": 1}
    assert taken.take() is not None


def test_a_clock_ahead_of_ours_does_not_end_an_attempt_in_the_future() -> None:
    taken = Taken()
    row = taken.take(at=NOW + 5)
    assert row is not None
    assert row.done == pytest.approx(NOW)
    assert taken.attempts.early == 1


def test_a_clock_that_is_set_back_does_not_make_attempts_old() -> None:
    taken = Taken()
    taken.attempts.set_clock(WALL - 30.0)
    row = taken.take(at=40.0 - 30.0)
    assert row is not None
    assert row.sent_at == pytest.approx(40.0)
    taken.attempts.set_clock(WALL - 30.001)
    again = taken.take(at=40.0 - 30.0)
    assert again is None, "what hardly differs changes no attempt that is told of again"


def test_what_an_endpoint_announces_is_told_on() -> None:
    taken = Taken()
    told: list[Any] = []
    taken.attempts.announced = lambda slot, said: told.append((slot, said.share))
    taken.take(headers={"endpoint-announcement": "drain"})
    assert told == [(1, 0.0)]


def test_how_busy_an_endpoint_is_follows_from_how_long_attempts_take() -> None:
    """Little's law: 40 attempts of a quarter of a second each within a second are ten at once."""
    taken = Taken()
    for n in range(400):
        taken.attempts.take(entry(at=10 + n / 40, seconds=0.25, request=str(n)), 0, 10.25 + n / 40)
    assert 8 <= taken.rows[-1].in_flight <= 11
