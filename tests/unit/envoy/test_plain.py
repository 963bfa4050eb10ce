"""Plain attempts taken many at once make the rows that they make one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adaptive.config.load import parse
from adaptive.config.topology import assign_slots
from adaptive.envoy.attempts import Attempts
from adaptive.envoy.lines import NOTHING_SAID, Table, read, table
from adaptive.envoy.plain import Plain
from adaptive.envoy.steering import Steering
from adaptive.envoy.translate.logs import SEPARATOR, WITHIN
from adaptive.envoy.unanswered import WAIT
from adaptive.telemetry.columns import Rows
from adaptive.types import OUTCOME_FIELDS

CONFIG = parse(
    yaml.safe_dump(
        {
            "listen": ["127.0.0.1:8080"],
            "clusters": {
                "all": {"endpoints": ["127.0.0.1:1", "127.0.0.1:2"]},
                "other": {"endpoints": ["127.0.0.1:3"]},
            },
            "routes": [
                {"name": "r", "cluster": "all", "timeout": "2s", "retries": 2},
                {"name": "s", "prefix": "/s", "cluster": "other", "timeout": "2s"},
            ],
        }
    )
)
WALL = 1_795_000_000.0  # between the two clocks
NOW = 100.0
NAMES = [name for name, _, _ in OUTCOME_FIELDS]


class Taken:
    """A reader, and the rows that it wrote, one after the other or many at once."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.at_once = 0
        self.attempts = Attempts(self.put, WALL)
        slots = assign_slots(CONFIG, {})
        steering = Steering(CONFIG, slots, 1)
        steering.first(None, 30.0)
        self.attempts.configure(CONFIG, slots, steering)
        self.plain = Plain(self.attempts, self.put_all)

    def put(self, *fields: Any) -> bool:
        self.rows.append(dict(zip(NAMES, fields, strict=True)))
        return True

    def put_all(self, rows: Rows) -> None:
        self.at_once += len(rows)
        self.rows += [dict(zip(NAMES, row, strict=True)) for row in rows.tolist()]

    def singly(self, lines: list[str]) -> None:
        for line in lines:
            self.attempts.take(read(line), 3, NOW)

    def together(self, lines: list[str]) -> None:
        found = table("".join(f"{line}\n" for line in lines))
        assert found is not None
        odd = self.plain.take(found, 3, NOW)
        self.singly([lines[number] for number in odd])

    def told(self) -> list[Any]:
        """Everything but how busy the endpoints were, in an order of its own."""
        self.attempts.settle(NOW + WAIT)
        rows = [{name: row[name] for name in NAMES if name != "in_flight"} for row in self.rows]
        for row in rows:
            row["request"] &= (1 << 64) - 1
        ordered = sorted(rows, key=lambda row: (row["request"], row["sent_at"]))
        counts = self.attempts.count, self.attempts.twice, self.attempts.early, self.attempts.unknown
        live = self.attempts.live(NOW)[1]
        return [ordered, counts, live]


def line(request: str = "q", at: float = 40.0, micros: int = 30_000, **changed: str) -> str:
    """`changed` are fields, or numbers of one."""
    numbers = {
        "began": f"{1e6 * (WALL + at):.0f}",
        "first": str(micros // 2),
        "lasted": str(micros),
        "rounded": str(micros // 1000),
        "sent": "7",
        "received": "200",
        "waited": "5",
    }
    numbers |= {name: changed.pop(name) for name in numbers.keys() & changed.keys()}
    fields = {
        "endpoint": "all|127.0.0.1:2",
        "kind": "GET 200 - UpstreamEnd r",
        "numbers": " ".join(numbers.values()),
        "request": request,
        "said": NOTHING_SAID,
    } | changed
    assert tuple(fields) == Table._fields
    return SEPARATOR.join(fields.values())


def same(one: list[Any], other: list[Any]) -> None:
    assert one[1:] == other[1:]
    assert len(one[0]) == len(other[0])
    for mine, yours in zip(one[0], other[0], strict=True):
        for name in mine:
            assert mine[name] == pytest.approx(yours[name], rel=1e-6, nan_ok=True), name


LINES = st.builds(
    line,
    request=st.sampled_from([f"q{number}" for number in range(12)]),
    at=st.sampled_from([25.0, 40.0, 40.5, 99.99, 120.0]),  # before the last push, after it, and ahead of our clock
    micros=st.sampled_from([900, 30_000, 2_000_000]),
    endpoint=st.sampled_from(["all|127.0.0.1:1", "all|127.0.0.1:2", "other|127.0.0.1:3", "gone|127.0.0.1:9", "-"]),
    kind=st.sampled_from(
        [
            "GET 200 - UpstreamEnd r",
            "POST 404 - UpstreamEnd s",
            "GET 200 - UpstreamEnd gone",
            "GET 503 - UpstreamEnd r",
            "GET 101 - UpstreamEnd r",
            "GET 0 UT UpstreamEnd r",
            "GET 200 - UpstreamPeriodic r",
            "GET 200 UC UpstreamEnd r",
        ]
    ),
    first=st.sampled_from(["500", "-", "0"]),
    lasted=st.sampled_from(["900", "30000", "-"]),
    waited=st.sampled_from(["0", "3", "-"]),
    said=st.sampled_from([NOTHING_SAID, WITHIN.join(("-", "TEXT cpu_utilization=0.5", "drain"))]),
)


@given(st.lists(st.lists(LINES, max_size=12), max_size=3))
def test_many_at_once_are_as_one_after_the_other(reads: list[list[str]]) -> None:
    one, many = Taken(), Taken()
    for lines in reads:
        one.singly(lines)
        many.together(lines)
    same(one.told(), many.told())


def test_whoever_is_plain_is_taken_at_once_and_nobody_else() -> None:
    taken = Taken()
    taken.together([line("a"), line("b", kind="GET 500 - UpstreamEnd r"), line("c"), line("c", at=41.0), line("d")])
    assert (taken.at_once, len(taken.rows)) == (2, 5)
    taken.together([line("a", at=43.0), line("e")])
    assert taken.at_once == 3, "a request that had an attempt before is not plain"
    assert [row["attempt"] for row in taken.rows if row["sent_at"] == 43.0] == [2]


def test_a_number_that_is_none_takes_nothing() -> None:
    taken = Taken()
    found = table(f"{line('a')}\n{line('b', received='2x')}\n")
    assert found is not None
    with pytest.raises(ValueError):
        taken.plain.take(found, 3, NOW)
    assert (taken.rows, taken.attempts.count, taken.attempts.met({"a", "b"})) == ([], 0, set())


def test_an_attempt_of_before_the_last_push_has_that_push_before() -> None:
    taken = Taken()
    cluster = taken.attempts.steering.clusters["all"]
    cluster.at.append(40.0)
    cluster.versions.append(7)
    cluster.shares.append(dict.fromkeys(cluster.slots, 0.25))
    taken.together([line("a", at=39.0), line("b", at=41.0)])
    found = [(row["snapshot"], row["propensity"]) for row in taken.rows]
    assert found == [(0, 0.5), (7, 0.25)]


def test_how_busy_an_endpoint_is_follows_from_how_long_attempts_take() -> None:
    """Little's law: 40 attempts of a quarter of a second each within a second are ten at once."""
    taken = Taken()
    for read_at in np.arange(10.0, 20.0, 0.05):
        lines = [line(f"{read_at}-{number}", at=read_at - 0.3, micros=250_000) for number in range(2)]
        found = table("".join(f"{one}\n" for one in lines))
        assert found is not None
        taken.plain.take(found, 0, read_at)
    assert 8 <= taken.rows[-1]["in_flight"] <= 11
