"""The action ladder of one endpoint: full → lowered → canary → ejected → canary → full.

A state machine that proposes and, once the guard has agreed, moves. Down needs evidence that lasts: doubt lowers, solid
evidence makes a canary, a canary that fails too is ejected. Up needs time and, where any traffic comes, success; an
endpoint with no requests relies on its health checks. The time to stay down doubles with each relapse and heals with
calm, so that a flapping endpoint settles at the bottom and one bad minute is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from adaptive.types import Health

# Suspicion that lowers, and below which an endpoint may return. Far apart: in between nothing moves.
LOWER, RAISE = 0.5, 0.2
PREDICTED, CLEARED = 0.6, 0.3  # the same for the model's probability; lowering only, never ejecting
FORECAST = "predicted to fail"  # how the reason of such a move begins
CERTAIN = 0.9  # suspicion that lowers at once
DOUBT_TICKS = 2  # in a row for suspicion: one late batch of rows is not a trend
PREDICTED_TICKS = 3  # in a row for a prediction, which has no failed request to show
CANARY_AFTER = 0.3  # seconds of solid evidence after lowering: three ticks
EJECT_AFTER = 1.0  # seconds as a canary before it may be ejected
LOWERED_HOLD, EJECTED_HOLD = 2.0, 3.0  # seconds at first; each doubles with the level
UNTRIED = 30.0  # seconds without a failure after which one that nobody tries is trusted again; ten first ejections
LEVELS = 5  # most relapses that count: 16 × 3 s, three quarters of a minute
HEAL = 30.0  # seconds of full service after which one doubling is taken back
PROOF = 5  # successes of a canary, with no failure since the last, that earn a return
# Answers in a row of a canary after which its failures of before count no more: at 30 % that fail, chance gives them in
# one case of 35. The windows would hold them against it for five seconds, in which the rest must do without it.
PROVEN = 10
RECHECK = 0.5  # seconds ejected before checks that turned from failing to passing earn a trial
# While the rest is overloaded without it, each second that an endpoint is out makes all requests wait, and a trial that
# fails costs attempts that are made again: failed attempts alone make no more than a canary of it; one ejected before
# is tried after so many seconds, however often it fell; and so many answers in a row bring it back. The fast loop keeps
# away from one that fails again after two failures.
NEEDED_HOLD, NEEDED_PROOF = 0.5, 3
HEALTHY_CHECKS = 2
# Seconds after its last failure within which an endpoint that answers again is not ejected for its checks: they come
# twice a second by default, two in a row must pass, and what the last ones said is older than the answers.
AGAIN = 2.0


class Sight(NamedTuple):
    """What the ladder sees of its endpoint at one tick."""

    suspicion: float
    aside: float  # the suspicion without the failed attempts
    solid: bool
    probability: float  # NaN: the model abstains or is not trusted
    attempts: int  # totals since the start, with failures among them
    failures: int
    streak: int
    checks_failed: int
    checks_passed: int
    evidence: str
    needed: bool = False  # whether the rest is overloaded without it


class Move(NamedTuple):
    """A proposal."""

    to: Health
    reason: str


@dataclass(slots=True)
class Rung:
    """Where an endpoint stands. `propose` changes nothing but its counters; `move` changes the state."""

    health: Health = Health.HEALTHY
    since: float = 0.0
    reason: str = "no evidence against it"
    level: int = 0  # doublings of the time to stay down
    calm: float = 0.0  # since when it has been healing
    doubted: int = 0  # ticks in a row above a threshold
    predicted: int = 0
    solid_since: float = -1.0
    attempts: int = 0  # totals at the last move
    failures: int = 0
    failed: int = 0  # total of failures at the last tick
    failed_at: float = float("-inf")  # when it last rose
    tried: int = 0  # total of attempts then
    checks_failed: bool = False  # while ejected
    trial: bool = False  # a canary on its way up, from ejection
    returned: float = float("-inf")  # when it last came back to full
    history: list[tuple[float, Health, Health, str]] = field(default_factory=list)

    def propose(self, at: float, sight: Sight) -> Move | None:
        """Where it should go now, or None."""
        self.doubted = self.doubted + 1 if sight.suspicion >= LOWER else 0
        self.predicted = self.predicted + 1 if sight.probability >= PREDICTED else 0
        if not sight.solid:
            self.solid_since = -1.0
        elif self.solid_since < 0:
            self.solid_since = at
        if sight.failures > self.failed:
            self.failed, self.failed_at, self.tried = sight.failures, at, sight.attempts
        match self.health:
            case Health.HEALTHY:
                return self._full(at, sight)
            case Health.DEGRADED:
                return self._lowered(at, sight)
            case Health.CANARY:
                return self._canary(at, sight)
            case Health.EJECTED:
                return self._ejected(at, sight)
        return None

    def move(self, at: float, to: Health, reason: str, attempts: int, failures: int) -> None:
        """Takes the move. A relapse raises the level: lowered once more, or ejected in a trial (an ejection that goes
        with the lowering before it is the same fall). The history keeps the last ten.
        """
        lowered = to == Health.DEGRADED and self.health == Health.HEALTHY
        if lowered or (to == Health.EJECTED and (self.trial or self.health != Health.CANARY)):
            self.level = min(self.level + 1, LEVELS)
        self.trial = to == Health.CANARY and self.health == Health.EJECTED
        if to == Health.HEALTHY:
            self.returned = self.calm = at
        self.history = [*self.history[-9:], (at, self.health, to, reason)]
        self.health, self.since, self.reason = to, at, reason
        self.attempts, self.failures = attempts, failures
        self.doubted = self.predicted = 0
        self.checks_failed = False

    def hold(self, base: float) -> float:
        """Seconds to stay, at the present level."""
        return float(base * 2 ** max(self.level - 1, 0))

    def _full(self, at: float, sight: Sight) -> Move | None:
        if self.level and at - self.calm >= HEAL:
            self.level, self.calm = self.level - 1, at
        if self.doubted >= DOUBT_TICKS or sight.suspicion >= CERTAIN:
            return Move(Health.DEGRADED, sight.evidence or f"suspicion {sight.suspicion:.2f}")
        if self.predicted >= PREDICTED_TICKS:
            return Move(Health.DEGRADED, f"{FORECAST} with probability {sight.probability:.2f}")
        return None

    def _lowered(self, at: float, sight: Sight) -> Move | None:
        if self.solid_since >= 0 and at - max(self.solid_since, self.since) >= CANARY_AFTER:
            return Move(Health.CANARY, sight.evidence or "solid evidence against it")
        if sight.suspicion < RAISE and not sight.probability >= CLEARED:
            return self._return(at, sight)
        return None

    def _return(self, at: float, sight: Sight) -> Move | None:
        """Back to full: requests have to show it. Passing health checks do so only where no request ever came, for a
        hung or a gray instance goes on answering them; where nobody tries it, a long time has to do.
        """
        tried, failed = sight.attempts - self.attempts, sight.failures - self.failures
        stayed = at - self.since
        if tried - failed >= PROOF and failed * 5 <= tried and sight.streak == 0:
            if stayed >= self.hold(LOWERED_HOLD) or self.health == Health.CANARY:
                return Move(Health.HEALTHY, f"{tried - failed} of {tried} requests succeeded since")
            return None
        if not sight.attempts and sight.checks_passed >= HEALTHY_CHECKS and stayed >= self.hold(LOWERED_HOLD):
            return Move(Health.HEALTHY, "it has no requests, and its health checks pass")
        # What was under way when it was lowered may fail after that, and nothing may ever be sent to it again: such a
        # failure must not keep it out for good.
        if min(stayed, at - self.failed_at) >= max(UNTRIED, self.hold(LOWERED_HOLD)):
            return Move(Health.HEALTHY, f"nothing speaks against it any more, {stayed:.0f} s after it was lowered")
        return None

    def _canary(self, at: float, sight: Sight) -> Move | None:
        tried, failed = sight.attempts - self.attempts, sight.failures - self.failures
        stayed = at - self.since
        good = sight.attempts - max(self.tried, self.attempts)  # answers since its last failure
        lost = failed >= 2 and failed * 2 > tried and good < NEEDED_PROOF
        # On its way up, what was seen before the trial does not count against it again.
        failing = failed > 0 if self.trial else sight.streak > 0 or tried == 0
        again = good > 0 and at - self.failed_at < AGAIN
        dead = sight.solid and (failing or (sight.checks_failed > 0 and not again))
        if stayed >= EJECT_AFTER and (lost or dead) and (sight.checks_failed or not sight.needed):
            return Move(Health.EJECTED, sight.evidence or f"{failed} of {tried} trial requests failed")
        if sight.checks_failed:
            return None
        if good >= (NEEDED_PROOF if sight.needed else PROVEN) and sight.aside < RAISE:
            return Move(Health.HEALTHY, f"its last {good} requests succeeded")
        if sight.solid and not self.trial:
            return None
        if sight.suspicion >= (LOWER if tried - failed >= PROOF or self.trial else RAISE):
            return None
        return self._return(at, sight)

    def _ejected(self, at: float, sight: Sight) -> Move | None:
        stayed = at - self.since
        if sight.checks_failed:
            self.checks_failed = True
            return None
        if self.checks_failed:
            if sight.checks_passed >= HEALTHY_CHECKS and stayed >= RECHECK:
                return Move(Health.CANARY, "its health checks pass again")
            return None
        if stayed >= (NEEDED_HOLD if sight.needed else self.hold(EJECTED_HOLD)):
            return Move(Health.CANARY, f"ejected for {stayed:.0f} s, to be tried again")
        return None
