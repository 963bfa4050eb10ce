"""Reads lines of the log of attempts, of which most are plain and taken many at once. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from adaptive.envoy import lines
from adaptive.envoy.attempts import Attempts
from adaptive.envoy.plain import Plain
from adaptive.envoy.translate.logs import SEPARATOR
from adaptive.telemetry.columns import Rows


class Reader:
    """Reads for `attempts`; `put` takes the rows of plain attempts, and `lose` is told of lines that are broken."""

    def __init__(self, attempts: Attempts, put: Callable[[Rows], None], lose: Callable[[int], None]) -> None:
        self.attempts = attempts
        self.plain = Plain(attempts, put)
        self.lose = lose
        self.broken = 0

    def take(self, text: str, worker: int, now: float) -> None:
        """Whole lines, each with its end, which came at `now` from an Envoy of this number."""
        table = lines.table(text)
        if table is None:
            self._singly(text.splitlines(), worker, now)
            return
        try:
            odd = self.plain.take(table, worker, now)
        except ValueError:
            odd = list(range(len(table.request)))
        self._singly((SEPARATOR.join(column[number] for column in table) for number in odd), worker, now)

    def _singly(self, told: Iterable[str], worker: int, now: float) -> None:
        for line in told:
            try:
                entry = lines.read(line)
            except ValueError:
                self.broken += 1
                self.lose(1)
            else:
                self.attempts.take(entry, worker, now)
