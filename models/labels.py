"""Labels that arrive late: did the endpoint breach its objective within the horizon after it was asked about?

A question is kept with the running totals of its moment; when the horizon has passed, the difference of the totals is
what happened in between, and gives the answer. So nothing can see a label before its time. A question is void
(censored) where the endpoint had too few attempts in between, or was taken out of service, or the observer was blind.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from models.columns import Bools, Floats, Ints, Peers

LEAST_ATTEMPTS = 3  # in the horizon, for an answer to be possible at all
SURE_ATTEMPTS = 10  # for an answer of full weight
LEAST_FAILURES = 2  # for a breach: one failure among few attempts is chance
# The share that failed must be above the objective's, and above this many times the peers' median (what fails
# everywhere alike is no endpoint's breach), by ABOVE standard deviations: 5 % of chance.
PEERS, ABOVE = 1.5, 1.64
SLOW = 3.0  # latency by the peers' median that is a breach where the objective names none
SLOW_LEAST = 0.005  # seconds of difference below which it is not
SLOW_MEASURED = 5  # latencies: the mean of five log-normal ones (sigma 0.6) is three times too long once in 60,000
WAITING = 256  # most questions (each of all endpoints) that wait for their answer


@dataclass(frozen=True, slots=True)
class Evidence:
    """Running totals since the start, columns (slots,)."""

    attempts: Ints
    failures: Ints
    measured: Ints
    log_latency: Floats  # sum of log microseconds
    log_flight: Floats  # sum of log(1 + attempts in flight at sending), of the measured ones
    stalled: Bools  # right now


@dataclass(frozen=True, slots=True)
class Batch:
    """Answered questions, one a row. `rule` and `model` are what each said when asked."""

    slots: Ints
    features: Floats  # (rows, features)
    labels: Floats  # 0 or 1
    weights: Floats  # (0, 1]
    rule: Floats
    model: Floats  # NaN where it abstained
    asked: float  # when


@dataclass(slots=True)
class _Question:
    asked: float
    due: float
    slots: Ints
    features: Floats
    before: tuple[Ints, Ints, Ints, Floats]
    rule: Floats
    model: Floats
    valid: Bools


class Ledger:
    """Questions that wait for their answers, oldest first."""

    def __init__(self, horizon: float) -> None:
        self.horizon = horizon
        self.waiting: deque[_Question] = deque(maxlen=WAITING)

    def ask(self, at: float, features: Floats, evidence: Evidence, rule: Floats, model: Floats, shown: Bools) -> None:
        """Notes the question for every endpoint that is in service and has features."""
        slots = np.flatnonzero(shown & ~np.isnan(features[:, 0]))
        if not len(slots):
            return
        before = tuple(column[slots] for column in (evidence.attempts, evidence.failures, evidence.measured))
        self.waiting.append(
            _Question(
                at,
                at + self.horizon,
                slots,
                features[slots],
                (before[0], before[1], before[2], evidence.log_latency[slots]),
                rule[slots],
                model[slots],
                np.ones(len(slots), dtype=bool),
            )
        )

    def spoil(self, shown: Bools) -> None:
        """Voids what is asked about endpoints that are out of service, or not to be seen, at this moment."""
        if not shown.all():
            for question in self.waiting:
                question.valid &= shown[question.slots]

    def answer(self, at: float, evidence: Evidence, peers: Peers, errors: Floats, latency: Floats) -> list[Batch]:
        """The questions whose time has come. `errors` and `latency` (NaN: none) are the objectives, (slots,)."""
        batches = []
        while self.waiting and self.waiting[0].due <= at:
            batches.append(_answer(self.waiting.popleft(), evidence, peers, errors, latency))
        return [batch for batch in batches if len(batch.labels)]

    def clear(self) -> None:
        """Drops every question, as when slots change their meaning."""
        self.waiting.clear()


def _answer(asked: _Question, evidence: Evidence, peers: Peers, errors: Floats, latency: Floats) -> Batch:
    slots = asked.slots
    attempts = evidence.attempts[slots] - asked.before[0]
    failures = evidence.failures[slots] - asked.before[1]
    measured = evidence.measured[slots] - asked.before[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.exp((evidence.log_latency[slots] - asked.before[3]) / measured) / 1e6
    column = np.full(len(errors), np.nan)
    column[slots] = np.where(measured >= LEAST_ATTEMPTS, mean, np.nan)
    others = peers.others(column)[slots]
    with np.errstate(invalid="ignore"):
        slow = np.where(
            np.isnan(latency[slots]), (mean > SLOW * others) & (mean - others > SLOW_LEAST), mean > latency[slots]
        )
        slow &= measured >= SLOW_MEASURED
        column[slots] = np.where(attempts >= LEAST_ATTEMPTS, failures / attempts, np.nan)
        allowed = np.minimum(np.fmax(errors[slots], PEERS * peers.others(column)[slots]), 0.5)
        chance = ABOVE * np.sqrt(attempts * allowed * (1 - allowed))
        failed = (failures >= LEAST_FAILURES) & (failures > allowed * attempts + chance)
    stalled = evidence.stalled[slots]
    labels = (failed | slow | stalled).astype(np.float64)
    weights = np.minimum(attempts / SURE_ATTEMPTS, 1.0)
    weights[stalled] = 1.0
    keep = asked.valid & ((attempts >= LEAST_ATTEMPTS) | stalled)
    return Batch(
        slots[keep], asked.features[keep], labels[keep], weights[keep], asked.rule[keep], asked.model[keep], asked.asked
    )
