"""Progress on stderr: how much is done, and when the rest will be."""

from __future__ import annotations

import sys
from typing import IO

from adaptive import clock

EVERY = 0.2  # seconds between two updates of a terminal
EVERY_LINE = 30.0  # and between two lines where stderr is no terminal
WIDTH = 24


class Progress:
    """Counts pieces of work. On a terminal a bar is drawn over itself; elsewhere now and then a line is written."""

    def __init__(self, total: int, noun: str, quiet: bool = False, to: IO[str] | None = None) -> None:
        self.total, self.noun, self.quiet = total, noun, quiet
        self.to = to if to is not None else sys.stderr
        self.drawn = self.to.isatty()
        self.done = 0
        self.began = self.said = clock.monotonic()

    def step(self, text: str = "") -> None:
        """One more is done; `text` says which."""
        self.done += 1
        now = clock.monotonic()
        last = self.done == self.total and self.drawn
        if self.quiet or not (last or now - self.said >= (EVERY if self.drawn else EVERY_LINE)):
            return
        self.said = now
        line = self.line(now, text)
        self.to.write(f"\r\033[K{line}" if self.drawn else line + "\n")
        self.to.flush()

    def line(self, now: float, text: str = "") -> str:
        """What is said at a moment."""
        share = self.done / self.total if self.total else 1.0
        left = (now - self.began) / self.done * (self.total - self.done) if self.done else 0.0
        bar = "#" * int(share * WIDTH)
        return f"[{bar:{WIDTH}}] {self.done}/{self.total} {self.noun}, {until(left)} left {text}".rstrip()

    def close(self) -> None:
        """Leaves the line."""
        if self.drawn and self.done and not self.quiet:
            self.to.write("\n")
            self.to.flush()


def until(seconds: float) -> str:
    """A length of time: 0:05, 12:40, 3:02:11."""
    whole = round(seconds)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
