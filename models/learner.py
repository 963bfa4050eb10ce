"""Prediction and learning in step: ask before the answer is known, score and teach when it comes."""

from __future__ import annotations

import numpy as np

from models.columns import Bools, Floats, Observed, Peers
from models.features import COUNT, SCHEMA, build
from models.labels import Batch, Evidence, Ledger
from models.predictor import Predictor
from models.trust import Trust

ASK_EVERY = 0.5  # seconds between questions: windows of 1 s have half changed by then
FIT_EVERY = 1.0  # seconds; a fit costs about half a millisecond, whatever the traffic
HELD = 64  # most batches that wait for the next fit


class Learner:
    """One predictor for all clusters, with the account of its trust in each."""

    def __init__(self, predictor: Predictor, horizon: float) -> None:
        if predictor.schema != SCHEMA:
            raise ValueError(f"the model was made for feature schema {predictor.schema}, not {SCHEMA}")
        self.predictor = predictor
        self.ledger = Ledger(horizon)
        self.trust: dict[int, Trust] = {}
        self.features: Floats = np.zeros((0, COUNT))
        self.probability: Floats = np.zeros(0)  # untrusted ones too, for the operator
        self._held: list[Batch] = []
        self._asked = self._fitted = float("-inf")

    def step(
        self,
        at: float,
        seen: Observed,
        peers: Peers,
        evidence: Evidence,
        suspicion: Floats,
        shown: Bools,
        errors: Floats,
        latency: Floats,
    ) -> Floats:
        """Probabilities (slots,) at this moment; NaN where the model abstains. `shown` marks the endpoints that are in
        service and to be seen; `suspicion` is the rule's, `errors` and `latency` are the objectives.
        """
        self.ledger.spoil(shown)
        for batch in self.ledger.answer(at, evidence, peers, errors, latency):
            self._score(at, batch, peers)
            self._held = [*self._held[-HELD + 1 :], batch]
        if self._held and at - self._fitted >= FIT_EVERY:
            self._fitted = at
            self.predictor.learn(
                np.concatenate([b.features for b in self._held]),
                np.concatenate([b.labels for b in self._held]),
                np.concatenate([b.weights for b in self._held]),
            )
            self._held = []
        self.features = build(seen, peers, errors)
        self.probability = self.predictor.predict(self.features)
        if at - self._asked >= ASK_EVERY:
            self._asked = at
            self.ledger.ask(at, self.features, evidence, suspicion, self.probability, shown)
        return self.probability

    def _score(self, at: float, batch: Batch, peers: Peers) -> None:
        clusters = peers.cluster[batch.slots]
        for index in np.unique(clusters).tolist():
            rows = clusters == index
            account = self.trust.setdefault(index, Trust())
            account.add(at, batch.labels[rows], batch.weights[rows], batch.model[rows], batch.rule[rows])

    def trusted(self, at: float, cluster: int) -> tuple[bool, str]:
        """Whether the model may decide for this cluster now, and why."""
        return self.trust.setdefault(cluster, Trust()).judge(at)

    def forget(self) -> None:
        """Drops questions and accounts, as when clusters and slots change their meaning; the model stays."""
        self.ledger.clear()
        self.trust.clear()
        self._held = []
