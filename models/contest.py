"""Champion and challenger: which model serves, which predicts in shadow on the same stream, and what came of it.

Both are asked about the same moments and scored when the answers come: log loss, where who abstains is charged the
rule's. What follows each other is alike, so that the account is kept by episodes: a stretch of time from calm to calm
that holds a breach. The challenger is not taught while it is in shadow, so that its scores are those of the version in
the store, and no answer is known to it before its time.

A verdict falls when the mean difference over LEAST_EPISODES episodes or more is away from zero by STRICT standard
errors: one looks again after each of some dozens of episodes, and a bound of 5 % at each look would be passed by
chance in the end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models import saved
from models.columns import Floats
from models.combined import from_arrays
from models.labels import Batch
from models.predictor import Pair
from models.trust import log_loss

KIND = "pair"  # in manifests: arrays for `models.combined.from_arrays`
LEAST_EPISODES = 8
STRICT = 3.0  # standard errors
CALM = 30.0  # seconds without a breach that end an episode: ten horizons, and the longest window is clean again
LONGEST = 600.0  # seconds of an episode; what never gets calm is cut
EPISODES = 64  # most that are remembered: a fleet changes
MATTERS = 0.001  # nats a row: two that differ by less are equal for every purpose

Deed = Literal["promoted", "rolled back", "dismissed"]


class Verdict(NamedTuple):
    """What follows from the accounts: for which version, and why."""

    deed: Deed
    version: str
    reason: str


class Account:
    """Differences of loss between two, by episode; positive where the first is better."""

    def __init__(self) -> None:
        self.episodes: list[float] = []
        self._sum = self._weight = 0.0
        self._began = self._breached = -math.inf

    def add(self, at: float, worse: Floats, better: Floats, labels: Floats, weights: Floats) -> None:
        """Losses of the second and of the first on the same rows, whose labels have now come."""
        if self._weight == 0.0:
            self._began = at
        self._sum += float((weights * (worse - better)).sum())
        self._weight += float(weights.sum())
        if labels.any():
            self._breached = at
        breached = self._breached >= self._began
        if breached and (at - self._breached > CALM or at - self._began > LONGEST):
            self.episodes = [*self.episodes[-EPISODES + 1 :], self._sum / max(self._weight, 1e-9)]
            self._sum = self._weight = 0.0
        elif not breached and at - self._began > LONGEST:
            self._sum = self._weight = 0.0  # calm alone says nothing of who foresees breaches

    def bounds(self) -> tuple[float, float, float]:
        """Mean advantage of an episode, in nats a row, and its bounds; NaN below LEAST_EPISODES."""
        n = len(self.episodes)
        if n < LEAST_EPISODES:
            return math.nan, math.nan, math.nan
        values = np.array(self.episodes)
        mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
        return mean, mean - STRICT * error, mean + STRICT * error

    def words(self) -> str:
        """The account as a clause."""
        mean, low, high = self.bounds()
        if math.isnan(mean):
            return f"{len(self.episodes)} of {LEAST_EPISODES} episodes seen"
        return f"{mean:+.4f} nats a row ({low:+.4f} to {high:+.4f}) over {len(self.episodes)} episodes"


class Contest:
    """The names of both, "" for the default model and for none, and their accounts."""

    def __init__(self) -> None:
        self.champion = self.challenger = ""
        self.shadow: Pair | None = None
        self.why = "the default model, which ships with the program"
        self.why_challenger = ""
        self.promotions = self.rollbacks = self.dismissals = 0
        self.ahead, self.above = Account(), Account()  # challenger to champion; champion to the rule

    def crown(self, version: str, reason: str) -> None:
        """Another champion serves; what was said of the one before is closed."""
        self.champion, self.why = version, reason
        self.ahead, self.above = Account(), Account()
        if version and version == self.challenger:
            self.challenge("", None, "")

    def challenge(self, version: str, pair: Pair | None, reason: str) -> None:
        """Another challenger predicts in shadow; None ends that."""
        self.challenger, self.shadow, self.why_challenger = version, pair, reason
        self.ahead = Account()

    def take(self, at: float, batches: Sequence[Batch]) -> Verdict | None:
        """Scores answers that have come; what follows from it, if anything."""
        if not batches:
            return None
        for batch in batches:
            rule = log_loss(batch.labels, batch.rule)
            champion = np.where(np.isnan(batch.model), rule, log_loss(batch.labels, batch.model))
            self.above.add(at, rule, champion, batch.labels, batch.weights)
            if self.shadow is not None:
                said = self.shadow.soon.predict(batch.features)
                challenger = np.where(np.isnan(said), rule, log_loss(batch.labels, said))
                self.ahead.add(at, champion, challenger, batch.labels, batch.weights)
        return self._verdict()

    def _verdict(self) -> Verdict | None:
        _, low, high = self.ahead.bounds()
        if self.challenger and low > MATTERS:
            self.promotions += 1
            return Verdict("promoted", self.challenger, f"better than the champion by {self.ahead.words()}")
        if self.challenger and high < -MATTERS:
            self.dismissals += 1
            return Verdict("dismissed", self.challenger, f"worse than the champion: {self.ahead.words()}")
        if self.champion and self.above.bounds()[2] < -MATTERS:
            self.rollbacks += 1
            return Verdict("rolled back", self.champion, f"worse than the model-free rule: {self.above.words()}")
        return None

    def report(self) -> dict[str, Any]:
        """JSON-able, for /explain and the metrics."""
        return {
            "champion": self.champion or "default",
            "reason": self.why,
            "beside_the_rule": self.above.words(),
            "challenger": self.challenger or None,
            "challenger_reason": self.why_challenger or None,
            "beside_the_champion": self.ahead.words() if self.challenger else None,
            "promotions": self.promotions,
            "rollbacks": self.rollbacks,
            "dismissals": self.dismissals,
        }


def packed(found: saved.Saved) -> npt.NDArray[np.uint8]:
    """The arrays of a version as one array of bytes, as an event carries them."""
    return np.frombuffer(saved.packed(found.arrays), dtype=np.uint8)


def unpacked(arrays: npt.NDArray[np.uint8], meta: str, seed: int) -> Pair:
    """The pair in them. Raises ValueError where it cannot be used."""
    try:
        return from_arrays(saved.unpacked(arrays.tobytes(), "the event's arrays"), json.loads(meta), seed)
    except saved.StoreError as error:
        raise ValueError(str(error)) from None


def usable(found: saved.Saved) -> None:
    """Raises StoreError, naming the version, where this program cannot serve with it."""
    try:
        if found.manifest.kind != KIND:
            raise ValueError(f"it is a model of {found.manifest.kind}, which no gateway serves with")
        from_arrays(found.arrays, dict(found.manifest.meta))
    except (ValueError, KeyError) as error:
        raise saved.StoreError(f"{found.id}: {error}") from None
