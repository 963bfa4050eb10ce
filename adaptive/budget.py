"""A retry budget: retries may be a share of the requests, and a few a second besides.

Source: Finagle's RetryBudget (a leaky token bucket): each request deposits `ratio` of a token, time deposits `minimum`
tokens a second, a retry takes one. What is not used within `window` seconds is lost, so that a calm hour does not pay
for a storm.
"""

from __future__ import annotations


class RetryBudget:
    """Tokens of one cluster in one worker. Times are seconds."""

    __slots__ = ("_at", "_tokens", "minimum", "ratio", "window")

    def __init__(self, ratio: float, minimum: float, window: float, now: float) -> None:
        self.ratio, self.minimum, self.window = ratio, minimum, window
        self._tokens = minimum  # a second's worth: the first failure after the start may be retried
        self._at = now

    def deposit(self) -> None:
        """A request began."""
        self._tokens += self.ratio

    def affords(self, now: float) -> bool:
        """Whether a retry could be paid for now."""
        self._settle(now)
        return self._tokens >= 1.0

    def withdraw(self, now: float) -> bool:
        """Takes a retry's token; False where there is none."""
        if not self.affords(now):
            return False
        self._tokens -= 1.0
        return True

    def charge(self, now: float) -> None:
        """Takes a token whether there is one or not: what is spent elsewhere leaves less here."""
        self._settle(now)
        self._tokens = max(self._tokens - 1.0, -self.minimum - 1.0)

    def _settle(self, now: float) -> None:
        """What time adds and takes away."""
        passed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        # What lies longer than the window leaks at the rate that empties a full bucket within it.
        self._tokens = self._tokens * max(0.0, 1.0 - passed / self.window) + self.minimum * min(passed, self.window)


def may_give_up(retries: RetryBudget, hedges: RetryBudget, now: float) -> bool:
    """Whether an attempt may be given up for mere slowness: a retry can follow, and the work that is then done twice is
    within what hedges may add. Else a gateway that awakes would give up all that waited for it.
    """
    return retries.affords(now) and hedges.affords(now)
