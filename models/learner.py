"""Prediction and learning in step: ask before the answer is known, score and teach when it comes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.columns import Bools, Floats, Observed, Peers
from models.drift import SHIFTED, Population
from models.features import COUNT, NAMES, SCHEMA, build
from models.foresight import Foresight
from models.labels import Batch, Evidence, Ledger
from models.past import Past
from models.predictor import AHEAD, Pair, Predictor
from models.trust import Trust

ASK_EVERY = 0.5  # seconds between questions: windows of 1 s have half changed by then
ASK_AHEAD = 2.0  # and between those of the long horizon
FIT_EVERY = 1.0  # seconds; a fit costs some 2 us of CPU a row, 0.5 ms at most
LOOK_AHEAD = 0.5  # seconds between two predictions of the long horizon, which moves slowly
# Attempts within 30 s without which nothing is foreseen: a trend of half a minute is drawn through windows of 5 s, and
# needs ten latencies in each, as the rule does for a mean. With five, one slow answer is a p95, and two are a trend.
LEAST_AHEAD = 60
LOOK_SHIFT = 5.0  # seconds between two looks at the population of the features
HELD = 64  # most batches that wait for the next fit


class DriftSeen(NamedTuple):
    """What drifted, in which cluster (None: in all of them)."""

    cluster: int | None
    what: str


class Head:
    """One predictor with the accounts of its trust, by cluster, and the answers that it is still to be taught."""

    def __init__(self, predictor: Predictor) -> None:
        if predictor.schema != SCHEMA:
            raise ValueError(f"the model was made for feature schema {predictor.schema}, not {SCHEMA}")
        self.predictor = predictor
        self.trust: dict[int, Trust] = {}
        self.held: list[Batch] = []
        self.fitted = float("-inf")

    def account(self, cluster: int) -> Trust:
        """The account of one cluster."""
        found = self.trust.get(cluster)
        if found is None:
            found = self.trust[cluster] = Trust(getattr(self.predictor, "standing", None))
        return found

    def take(self, at: float, batches: list[Batch], peers: Peers, drifts: list[DriftSeen]) -> None:
        """Scores answers, and teaches what has come since the last fit."""
        for batch in batches:
            clusters = peers.cluster[batch.slots]
            for index in sorted(set(clusters.tolist())):
                rows = clusters == index
                found = self.account(index).add(
                    at, batch.labels[rows], batch.weights[rows], batch.model[rows], batch.rule[rows]
                )
                if found:
                    drifts.append(DriftSeen(index, found))
            self.held = [*self.held[-HELD + 1 :], batch]
        if self.held and at - self.fitted >= FIT_EVERY:
            self.fitted = at
            self.predictor.learn(
                np.concatenate([b.features for b in self.held]),
                np.concatenate([b.labels for b in self.held]),
                np.concatenate([b.weights for b in self.held]),
            )
            self.held = []


class Learner:
    """The pair for all clusters."""

    def __init__(self, pair: Pair, horizon: float) -> None:
        self.soon, self.ahead = Head(pair.soon), Head(pair.ahead)
        self.ledger, self.foresight = Ledger(horizon), Foresight(AHEAD)
        self.population = Population()
        self.past = Past(0)
        self.features: Floats = np.zeros((0, COUNT))
        self.probability: Floats = np.zeros(0)  # untrusted ones too, for the operator
        self.coming: Floats = np.zeros(0)  # the same of the long horizon
        self.coming_least: Floats = np.zeros(0)  # the lower end of its interval
        self.few: Bools = np.zeros(0, dtype=bool)  # endpoints with too few attempts for the long horizon
        self.drifts: list[DriftSeen] = []  # of the last step
        self.drifted = 0  # drifts since the start
        self.last_drift = ""
        self.answered: list[Batch] = []  # by the last step, of the short horizon
        self.wants_training = False  # something drifted since this model was trained
        self._asked = self._asked_ahead = self._looked = self._compared = float("-inf")

    @property
    def predictor(self) -> Predictor:
        """The one of the short horizon."""
        return self.soon.predictor

    @property
    def trust(self) -> dict[int, Trust]:
        """Its accounts."""
        return self.soon.trust

    def step(
        self,
        at: float,
        seen: Observed,
        peers: Peers,
        evidence: Evidence,
        suspicion: Floats,
        shown: Bools,
        lowered: Bools,
        errors: Floats,
        latency: Floats,
        trusted: float = 1.0,
    ) -> Floats:
        """Probabilities (slots,) at this moment; NaN where the model abstains. `shown` marks the endpoints that are in
        service and to be seen, `lowered` those that we keep traffic from; `suspicion` is the rule's, `errors` and
        `latency` are the objectives; `trusted` from 0 to 1 says how well the observer sees.
        """
        self.drifts = []
        self._answers(at, peers, evidence, shown, lowered, errors, latency)
        if self.past.slots != len(shown):
            self.past = Past(len(shown))
        totals = evidence.attempts, evidence.failures, evidence.measured, evidence.log_latency, evidence.log_flight
        # Logarithms of microseconds in the totals, of seconds in what is seen.
        logs = evidence.log_latency - evidence.measured * _MICRO
        past = self.past.update(seen, peers, (*totals[:3], logs, totals[4]), trusted)
        self.features = build(seen, past, peers, errors)
        self.probability = self.soon.predictor.predict(self.features)
        if at - self._looked >= LOOK_AHEAD or len(self.coming) != len(shown):
            self._looked = at
            self.coming, self.coming_least = _with_least(self.ahead.predictor, self.features)
        self.few = seen.attempts[2] < LEAST_AHEAD
        self.coming[self.few] = self.coming_least[self.few] = np.nan
        if at - self._asked >= ASK_EVERY:
            self._asked = at
            self.ledger.ask(at, self.features, evidence, suspicion, self.probability, shown)
            self._compare(at, shown)
        if self.drifts:
            self.drifted, self.last_drift, self.wants_training = (
                self.drifted + len(self.drifts), self.drifts[-1].what, True,
            )  # fmt: skip
        if at - self._asked_ahead >= ASK_AHEAD:
            self._asked_ahead = at
            self.foresight.ask(at, self.features, suspicion, self.coming, shown)
        return self.probability

    def _answers(
        self, at: float, peers: Peers, evidence: Evidence, shown: Bools, lowered: Bools, errors: Floats, latency: Floats
    ) -> None:
        self.ledger.spoil(shown)
        self.foresight.act(lowered)
        batches = self.answered = self.ledger.answer(at, evidence, peers, errors, latency)
        for batch in batches:
            self.foresight.tell(batch, len(shown))
        self.soon.take(at, batches, peers, self.drifts)
        self.ahead.take(at, self.foresight.answer(at - self.ledger.horizon), peers, self.drifts)

    def _compare(self, at: float, shown: Bools) -> None:
        """Whether the features still look as they did in the beginning. Where they do not, they begin anew."""
        self.population.add(at, self.features[shown & ~np.isnan(self.features[:, 0])])
        if at - self._compared < LOOK_SHIFT:
            return
        self._compared = at
        shift = self.population.shift()
        if len(shift):
            shift[_YOUTH] = 0.0
        if len(shift) and shift.max() > SHIFTED:
            worst = int(np.argmax(shift))
            what = f"the population of {NAMES[worst]} moved (PSI {shift[worst]:.2f})"
            self.drifts.append(DriftSeen(None, what))
            self.population = Population()
            for head in (self.soon, self.ahead):
                for account in head.trust.values():
                    account.drift(at, what)

    def trusted(self, at: float, cluster: int) -> tuple[bool, str]:
        """Whether the short horizon's model may decide for this cluster now, and why."""
        return self.soon.account(cluster).judge(at)

    def trusted_ahead(self, at: float, cluster: int) -> tuple[bool, str]:
        """The same of the long horizon's. It is judged by its own answers, but they come late: where the short one sees
        the world drift, neither is believed.
        """
        found = self.ahead.account(cluster).judge(at)
        short = self.soon.account(cluster)
        return (False, f"drifting: {short.drifting}") if at < short.drifted_until else found

    def replace(self, pair: Pair) -> None:
        """Another pair serves from now on. What is known of the endpoints' past stays; questions do not, for they hold
        what the other one said.
        """
        soon, ahead = Head(pair.soon), Head(pair.ahead)
        self.soon, self.ahead = soon, ahead
        self.ledger.clear()
        self.foresight.clear()
        self.answered = []
        self.wants_training = False

    def forget(self) -> None:
        """Drops questions and accounts, as when clusters and slots change their meaning; the model stays."""
        self.ledger.clear()
        self.foresight.clear()
        self.past = Past(0)
        self.population = Population()
        for head in (self.soon, self.ahead):
            head.trust.clear()
            head.held = []


def _with_least(predictor: Predictor, features: Floats) -> tuple[Floats, Floats]:
    """Probabilities, and the lower ends of their intervals, where the predictor knows any."""
    predict_between = getattr(predictor, "predict_between", None)
    if predict_between is None:
        said = predictor.predict(features)
        return said, said
    said, least, _ = predict_between(features)
    return said, least


_MICRO = float(np.log(1e6))
_YOUTH = NAMES.index("youth")  # it moves in every fleet that gets older, and says nothing of the world
