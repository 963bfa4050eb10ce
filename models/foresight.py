"""Labels of a long horizon, put together from those of the short one: did it breach at any time within it?

A question waits until its time is over, whatever comes before, so that calm and breach are answered equally late. What
we did in between blurs the answer: an endpoint that was lowered and then did not breach may have been saved by it. Such
a calm counts for little (the uncertain positives of Uptake, 2024); a breach that showed all the same counts in full.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from models.columns import Bools, Floats, Ints
from models.labels import Batch

WAITING = 64  # most questions that wait
ACTED = 0.2  # weight of a calm after we lowered the endpoint
LEAST_SEEN = 0.3  # share of the short answers without which a calm was not seen


@dataclass(slots=True)
class _Long:
    asked: float
    due: float
    slots: Ints
    features: Floats
    rule: Floats
    model: Floats
    hit: Bools
    seen: Floats  # sum of the weights of short answers
    asked_of: int  # short answers that there were
    acted: Bools


class Foresight:
    """Long questions, oldest first. `column` is the number of slots."""

    def __init__(self, horizon: float) -> None:
        self.horizon = horizon
        self.waiting: deque[_Long] = deque(maxlen=WAITING)

    def ask(self, at: float, features: Floats, rule: Floats, model: Floats, shown: Bools) -> None:
        """Notes the question for every endpoint that is in service and has features."""
        slots = np.flatnonzero(shown & ~np.isnan(features[:, 0]))
        if len(slots):
            n = len(slots)
            columns = features[slots], rule[slots], model[slots], np.zeros(n, dtype=bool), np.zeros(n)
            self.waiting.append(_Long(at, at + self.horizon, slots, *columns, 0, np.zeros(n, dtype=bool)))

    def tell(self, batch: Batch, slots: int) -> None:
        """A short answer: it belongs to every question that was asked before its own and lasts beyond it."""
        hit, seen = np.zeros(slots, dtype=bool), np.zeros(slots)
        hit[batch.slots] = batch.labels > 0.5
        seen[batch.slots] = batch.weights
        for question in self.waiting:
            if question.asked <= batch.asked < question.due:
                question.hit |= hit[question.slots]
                question.seen += seen[question.slots]
                question.asked_of += 1

    def act(self, lowered: Bools) -> None:
        """Endpoints that are lowered, or out, at this moment."""
        if lowered.any():
            for question in self.waiting:
                question.acted |= lowered[question.slots]

    def answer(self, at: float) -> list[Batch]:
        """The questions whose time is over. The last short answers come a short horizon later; wait for them."""
        found = []
        while self.waiting and self.waiting[0].due <= at:
            asked = self.waiting.popleft()
            share = asked.seen / max(asked.asked_of, 1)
            weights = np.where(asked.hit, 1.0, np.where(asked.acted, ACTED, 1.0) * np.minimum(share, 1.0))
            keep = asked.hit | (share >= LEAST_SEEN)
            labels = asked.hit.astype(np.float64)
            said = asked.rule[keep], asked.model[keep], asked.asked
            found.append(Batch(asked.slots[keep], asked.features[keep], labels[keep], weights[keep], *said))
        return [batch for batch in found if len(batch.labels)]

    def clear(self) -> None:
        """Drops every question."""
        self.waiting.clear()
