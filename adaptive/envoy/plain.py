"""Plain attempts, many at once: of requests that nothing else is told of, answered, and at fault in nothing.

Nearly all attempts are so, and what all of them cost is most of what a request costs the brain; so their lines become
rows by columns, for less than half of what `attempts` takes for one line after the other. Whatever needs a second look
is left to it: retries and hedges, failures, what is under way, load reports. Pure: time is an argument.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np

from adaptive.envoy.attempts import AGAIN, SWITCHING, Attempts
from adaptive.envoy.lines import NOTHING_SAID, Table, kind
from adaptive.envoy.translate.logs import NONE, NUMBERS
from adaptive.telemetry.columns import OUTCOME_DTYPE, Rows
from adaptive.types import Cause, Mark

_KINDS = 4096  # that are remembered, and as many as come in one read: a client can make up methods
Numbers = np.ndarray[Any, Any]
# What is the same for all attempts of an endpoint that were picked by what it was told last.
_SHARED = ("slot", "cluster", "snapshot", "in_flight", "propensity")
_OF_ENDPOINT = np.dtype([(name, OUTCOME_DTYPE[name]) for name in _SHARED] + [("since", "f8")])


class Plain:
    """Takes tables of lines for `attempts`, whose memory of requests it shares. `put` takes rows of OUTCOME_DTYPE."""

    def __init__(self, attempts: Attempts, put: Callable[[Rows], None]) -> None:
        self.attempts = attempts
        self.put = put
        self._kinds: dict[str, int] = {}  # kind → its place in what is told of kinds; -1: it is not plain
        self._told: list[tuple[int, int, int]] = []  # (route, status, marks)

    def configure(self) -> None:
        """The attempts have another configuration."""
        self._kinds.clear()
        self._told.clear()

    def take(self, table: Table, worker: int, now: float) -> list[int]:
        """Take what is plain; the numbers of the lines that are not. Raises ValueError, and has taken nothing, where a
        number is none.
        """
        odd = self._odd(table)
        if odd:
            kept = [number for number in range(len(table.request)) if number not in odd]
            table = Table(*([column[number] for number in kept] for column in table))
        if table.request:
            self._take(table, worker, now)
        return sorted(odd)

    def _odd(self, table: Table) -> set[int]:
        """The numbers of the lines that are not plain."""
        if len(self._kinds) > _KINDS:
            self.configure()
        odd: set[int] = set()
        few: tuple[tuple[Sequence[str], Callable[[str], bool]], ...] = (
            (table.kind, self._is_plain),
            (table.endpoint, self.attempts.numbers.__contains__),
            (table.said, NOTHING_SAID.__eq__),
        )
        for column, plain in few:
            odd.update(_where(column, {value for value in set(column) if not plain(value)}))
        odd.update(number for number, text in enumerate(table.numbers) if NONE in text)
        odd.update(_where(table.request, self._met(table.request)))
        return odd

    def _is_plain(self, text: str) -> bool:
        """Whether attempts of a kind are; raises ValueError where it is none."""
        place = self._kinds.get(text)
        if place is None:
            place = -1
            found = kind(text)
            if 0 < found.status < 500 and found.status != SWITCHING and not found.flagged and not found.under_way:
                marks = Mark.FINAL | (Mark.REPEATABLE if found.method in AGAIN else Mark(0))
                place = len(self._told)
                self._told.append((self.attempts.route(found.route), found.status, int(marks)))
            self._kinds[text] = place
        return place >= 0

    def _met(self, requests: Sequence[str]) -> Set[str]:
        """The requests of which something else is told, before or here."""
        single = set(requests)
        met = self.attempts.met(single)
        if len(single) < len(requests):
            met |= {request for request, count in Counter(requests).items() if count > 1}
        return met

    def _take(self, table: Table, worker: int, now: float) -> None:
        """Take a table of plain attempts only."""
        attempts, count = self.attempts, len(table.request)
        began, first, lasted, _, sent, received, waited = _numbers(table.numbers)
        told = np.array(self._told, np.int64)[np.fromiter(map(self._kinds.__getitem__, table.kind), np.intp, count)]
        sent_at, seconds = began * 1e-6 - attempts.offset, lasted * 1e-6
        attempts.count += count
        attempts.seen.add_first(table.request, sent_at.tolist())
        early = sent_at + seconds > now  # a clock ahead of ours, by as much as we can see
        attempts.early += int(np.count_nonzero(early))
        sent_at = np.where(early, now - seconds, sent_at)
        rows = np.empty(count, OUTCOME_DTYPE)
        rows["sent_at"], rows["done"] = sent_at, sent_at + seconds
        rows["first_byte"] = np.where(first > 0, sent_at + first * 1e-6, math.nan)
        rows["request"] = np.fromiter(map(hash, table.request), np.int64, count)
        rows["bytes_up"], rows["bytes_down"], rows["connect"] = sent, received, waited * 1e-3
        rows["load_cpu"] = rows["load_app"] = math.nan
        rows["route"], rows["status"], rows["marks"] = told.T
        rows["attempt"], rows["cause"], rows["worker"] = 1, int(Cause.RESPONSE), worker
        self._choose(rows, np.fromiter(map(attempts.numbers.__getitem__, table.endpoint), np.intp, count), seconds, now)
        self.put(rows)

    def _choose(self, rows: Rows, numbers: Numbers, seconds: Numbers, now: float) -> None:
        """Fill in whom the rows are of, by their numbers, and how they were chosen."""
        steering, endpoints = self.attempts.steering, self.attempts.endpoints
        spent = np.bincount(numbers, seconds)
        shared = np.zeros(len(spent), _OF_ENDPOINT)
        for number in set(numbers.tolist()):
            to = endpoints[number]
            busy = int(to.spent(float(spent[number]), now) + 0.5)
            version, propensity = steering.picked(to.name, to.slot, math.inf)
            shared[number] = to.slot, to.cluster, version, busy, propensity, steering.since(to.name)
        found = shared[numbers]
        for name in _SHARED:
            rows[name] = found[name]
        for row in np.flatnonzero(rows["sent_at"] < found["since"]).tolist():
            to = endpoints[numbers[row]]
            rows["snapshot"][row], rows["propensity"][row] = steering.picked(to.name, to.slot, rows["sent_at"][row])


def _numbers(column: Sequence[str]) -> Numbers:
    """The numbers of lines, (numbers of a line, lines). Raises ValueError."""
    found = np.fromstring(" ".join(column), np.int64, sep=" ")
    return found.reshape(len(column), len(NUMBERS)).T


def _where(column: Sequence[str], values: Set[str]) -> list[int]:
    """The numbers of the lines that have one of these values."""
    return [number for number, held in enumerate(column) if held in values] if values else []
