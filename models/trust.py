"""Whether the model may decide for a cluster: by its losses on delayed labels against those of the model-free rule.

It may when it has learned enough to judge (unsure), its labels still come (stale), nothing drifts (`models.drift`),
and its log loss is below the rule's, over all rows and over the breaches alone: a model that only knows that breaches
are rare wins the first and loses the second.

A model that was trained comes with what it was worth there, as PRIOR rows: it may decide from the first second, and
what it is worth here soon outweighs that.
"""

from __future__ import annotations

import numpy as np

from models.columns import Floats
from models.drift import Adwin, PageHinkley

LEAST_ROWS, LEAST_BREACHES = 200, 10  # below, nothing can be said of the model's skill
STALE = 30.0  # seconds without a label, over 10 horizons
MEMORY = 5000.0  # rows after which an old loss counts 37 %: some minutes of ten endpoints, several faults
GAIN, LOSE = 1.0, 1.05  # of the rule's loss: below the first trust is won, above the second it is lost
SLACK = 0.002  # nats by which the model may be worse before it loses trust, so that two near zero do not flap
DRIFTED = 30.0  # seconds without trust after a drift
PRIOR = 300.0  # rows that the standing from training counts as: half a minute of five endpoints
PRIOR_BREACHES = 30.0  # and how many breaches among them
CLIP = 0.001  # probabilities are kept this far from 0 and 1, so that no row costs more than 7 nats


class Trust:
    """The account of one cluster."""

    def __init__(self, standing: Floats | None = None) -> None:
        """`standing` (2, 3) as in `models.combined`: by label, weight and summed losses of model and rule in training;
        None or zeros for a model that was not trained.
        """
        self.rows = 0
        self.breaches = 0
        self.weight = np.zeros(2)  # by label: sums of weights, and of weighted losses
        self.losses = np.zeros((2, 2))  # (label, model or rule)
        self._loss: tuple[float, float] | None = None  # what `loss` found, while nothing has come since
        self.trained = standing is not None and bool((standing[:, 0] > 0).all())
        if standing is not None and self.trained:
            self.weight = np.array([PRIOR - PRIOR_BREACHES, PRIOR_BREACHES])
            self.losses = standing[:, 1:] / standing[:, :1] * self.weight[:, None]
        self.jump, self.creep = PageHinkley(), Adwin()
        self.drifted_until = float("-inf")
        self.drifting = ""
        self.labelled_at = float("-inf")
        self.trusted = False
        self.reason = "unsure: no label yet"

    def drift(self, at: float, what: str) -> None:
        """Takes trust away for DRIFTED seconds."""
        self.drifted_until, self.drifting = at + DRIFTED, what

    def add(self, at: float, labels: Floats, weights: Floats, model: Floats, rule: Floats) -> str:
        """Takes what both said of rows whose labels have now come. Rows where the model abstained say nothing of it.
        Returns what drifted just now, or nothing.
        """
        said = ~np.isnan(model)
        if not said.any():
            return ""
        labels, weights, model, rule = labels[said], weights[said], model[said], rule[said]
        self.labelled_at = at
        self._loss = None
        self.rows += len(labels)
        self.breaches += int(labels.sum())
        fade = np.exp(-len(labels) / MEMORY)
        self.weight *= fade
        self.losses *= fade
        for label in (0, 1):
            mine = labels == label
            self.weight[label] += weights[mine].sum()
            for column, said_by in enumerate((model, rule)):
                self.losses[label, column] += (weights[mine] * log_loss(labels[mine], said_by[mine])).sum()
        residual = float(np.average(labels - model, weights=weights))
        jumped, crept = self.jump.add(residual), self.creep.add(residual)
        found = "its residual jumped (Page-Hinkley)" if jumped else "its residual moved (ADWIN)" if crept else ""
        if found:
            self.drift(at, found)
        return found

    def loss(self) -> tuple[float, float]:
        """Mean log loss of model and rule; NaN before any label."""
        if self._loss is None:
            total = self.weight.sum()
            model, rule = self.losses.sum(axis=0) / total if total > 0 else (np.nan, np.nan)
            self._loss = float(model), float(rule)
        return self._loss

    def judge(self, at: float) -> tuple[bool, str]:
        """Whether the model may decide now, and why."""
        self.trusted, self.reason = self._judge(at)
        return self.trusted, self.reason

    def _judge(self, at: float) -> tuple[bool, str]:
        if not self.trained and self.rows < LEAST_ROWS:
            return False, f"unsure: {self.rows} of {LEAST_ROWS} labels"
        if not self.trained and self.breaches < LEAST_BREACHES:
            return False, f"unsure: {self.breaches} of {LEAST_BREACHES} breaches seen"
        if self.rows and at - self.labelled_at > STALE:
            return False, f"stale: no label for more than {STALE:.0f} s"
        if at < self.drifted_until:
            return False, f"drifting: {self.drifting}"
        factor, slack = (LOSE, SLACK) if self.trusted else (GAIN, 0.0)
        model, rule = self.loss()
        if model > factor * rule + slack:
            return False, "worse than the rule over all labels"
        if self.weight[1] > 0 and self.losses[1, 0] > factor * self.losses[1, 1] + slack * self.weight[1]:
            return False, "worse than the rule on breaches"
        return True, "better than the rule" if self.rows else "better than the rule, in training"


def log_loss(labels: Floats, said: Floats) -> Floats:
    p = np.clip(said, CLIP, 1 - CLIP)
    return np.where(labels > 0.5, -np.log(p), -np.log(1 - p))
