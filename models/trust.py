"""Whether the model may decide for a cluster: by its losses on delayed labels against those of the model-free rule.

It may when it has learned enough to judge (unsure), its labels still come (stale), its residual does not drift (Page-
Hinkley: the running sum of residual less its mean less DELTA, away from its extreme by more than LAMBDA; Page 1954),
and its log loss is below the rule's, over all rows and over the breaches alone: a model that only knows that breaches
are rare wins the first and loses the second.
"""

from __future__ import annotations

import numpy as np

from models.columns import Floats

LEAST_ROWS, LEAST_BREACHES = 200, 10  # below, nothing can be said of the model's skill
STALE = 30.0  # seconds without a label, over 10 horizons
MEMORY = 5000.0  # rows after which an old loss counts 37 %: some minutes of ten endpoints, several faults
GAIN, LOSE = 1.0, 1.05  # of the rule's loss: below the first trust is won, above the second it is lost
SLACK = 0.002  # nats by which the model may be worse before it loses trust, so that two near zero do not flap
DELTA, LAMBDA = 0.01, 2.0  # mean residual per batch: twenty batches (10 s) with one of ten endpoints unforeseen
DRIFTED = 30.0  # seconds without trust after a drift
CLIP = 0.001  # probabilities are kept this far from 0 and 1, so that no row costs more than 7 nats


class Drift:
    """Page-Hinkley, both ways."""

    def __init__(self, delta: float = DELTA, threshold: float = LAMBDA) -> None:
        self.delta, self.threshold = delta, threshold
        self.reset()

    def reset(self) -> None:
        """Begins again."""
        self.count, self.mean = 0, 0.0
        self.up = self.down = 0.0

    def add(self, value: float) -> bool:
        """Takes the next value; True when the mean has moved. It has begun again then."""
        self.count += 1
        self.mean += (value - self.mean) / self.count
        self.up = max(0.0, self.up + value - self.mean - self.delta)
        self.down = max(0.0, self.down - value + self.mean - self.delta)
        if max(self.up, self.down) > self.threshold:
            self.reset()
            return True
        return False


class Trust:
    """The account of one cluster."""

    def __init__(self) -> None:
        self.rows = 0
        self.breaches = 0
        self.weight = np.zeros(2)  # by label: sums of weights, and of weighted losses
        self.losses = np.zeros((2, 2))  # (label, model or rule)
        self.drift = Drift()
        self.drifted_until = float("-inf")
        self.labelled_at = float("-inf")
        self.trusted = False
        self.reason = "unsure: no label yet"

    def add(self, at: float, labels: Floats, weights: Floats, model: Floats, rule: Floats) -> None:
        """Takes what both said of rows whose labels have now come. Rows where the model abstained say nothing of it."""
        said = ~np.isnan(model)
        if not said.any():
            return
        labels, weights, model, rule = labels[said], weights[said], model[said], rule[said]
        self.labelled_at = at
        self.rows += len(labels)
        self.breaches += int(labels.sum())
        fade = np.exp(-len(labels) / MEMORY)
        self.weight *= fade
        self.losses *= fade
        for label in (0, 1):
            mine = labels == label
            self.weight[label] += weights[mine].sum()
            for column, said_by in enumerate((model, rule)):
                self.losses[label, column] += (weights[mine] * _loss(labels[mine], said_by[mine])).sum()
        if self.drift.add(float(np.average(labels - model, weights=weights))):
            self.drifted_until = at + DRIFTED

    def loss(self) -> tuple[float, float]:
        """Mean log loss of model and rule; NaN before any label."""
        total = self.weight.sum()
        if total <= 0:
            return float("nan"), float("nan")
        model, rule = self.losses.sum(axis=0) / total
        return float(model), float(rule)

    def judge(self, at: float) -> tuple[bool, str]:
        """Whether the model may decide now, and why."""
        self.trusted, self.reason = self._judge(at)
        return self.trusted, self.reason

    def _judge(self, at: float) -> tuple[bool, str]:
        if self.rows < LEAST_ROWS:
            return False, f"unsure: {self.rows} of {LEAST_ROWS} labels"
        if self.breaches < LEAST_BREACHES:
            return False, f"unsure: {self.breaches} of {LEAST_BREACHES} breaches seen"
        if at - self.labelled_at > STALE:
            return False, f"stale: no label for more than {STALE:.0f} s"
        if at < self.drifted_until:
            return False, "drifting: its residual moved"
        factor, slack = (LOSE, SLACK) if self.trusted else (GAIN, 0.0)
        model, rule = self.loss()
        if model > factor * rule + slack:
            return False, "worse than the rule over all labels"
        if self.weight[1] > 0 and self.losses[1, 0] > factor * self.losses[1, 1] + slack * self.weight[1]:
            return False, "worse than the rule on breaches"
        return True, "better than the rule"


def _loss(labels: Floats, said: Floats) -> Floats:
    p = np.clip(said, CLIP, 1 - CLIP)
    return np.where(labels > 0.5, -np.log(p), -np.log(1 - p))
