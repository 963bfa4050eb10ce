"""Questions put to a Controller as it looks on, and their answers: the rows that a model is fitted to.

At every look both horizons are asked about every endpoint, as live; an answer comes when its time is over, from what
was seen by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adaptive.controller import Controller
from adaptive.policy.steering import Steering
from adaptive.types import Health, Moved
from models.columns import Bools, Floats, Ints
from models.features import COUNT
from models.fitting import Rows
from models.foresight import Foresight
from models.labels import Batch, Ledger
from models.predictor import AHEAD

EVERY = 0.5  # seconds between two looks
SOON = 2.0  # seconds of the short horizon
WAITING = 256  # looks that wait for the long horizon's answer: it is 64 of them


class Still(Steering):
    """Moves nobody."""

    def steer(self, *_: Any, **__: Any) -> list[Moved]:
        """Nothing."""
        return []


class Watching(Controller):
    """Sees and predicts as ever, and changes nothing."""

    steers = Still


@dataclass(frozen=True, slots=True)
class Table:
    """Rows are questions: columns (rows,), features (rows, COUNT). NaN labels are unknown."""

    at: Floats
    slot: Floats
    features: npt.NDArray[np.float32]
    rule: Floats  # what the rule said, a probability
    said: Floats  # (rows, 2) what the serving pair said, NaN where it abstained
    few: Bools  # too few attempts for the long horizon
    soon: Floats  # label of the short horizon
    soon_weight: Floats
    ahead: Floats  # label of the long one
    ahead_weight: Floats

    def take(self, rows: Bools) -> Table:
        """These rows only."""
        return Table(*(getattr(self, name)[rows] for name in self.__slots__))

    def thinned(self, stride: int) -> Table:
        """The rows of one look in `stride`."""
        return self.take(np.floor(self.at / EVERY + 0.5) % stride == 0) if stride > 1 else self

    def rows(self, horizon: str, runs: Ints) -> Rows:
        """What a model of this horizon is fitted to: rows whose answer is known, and that it would be asked about."""
        label = getattr(self, horizon)
        known = ~np.isnan(label)
        if horizon == "ahead":
            known &= ~self.few
        weight = getattr(self, f"{horizon}_weight")[known]
        features = self.features[known].astype(np.float64)
        return Rows(features, label[known], weight, self.rule[known], runs[known])


def joined(tables: list[Table]) -> Table:
    """One after the other. At least one."""
    return Table(*(np.concatenate([getattr(t, name) for t in tables]) for name in Table.__slots__))


class Asked:
    """The questions of one stretch of time, about `slots` endpoints. None is kept after `until`."""

    def __init__(self, slots: int, until: float) -> None:
        self.slots, self.until = slots, until
        self.ledger, self.foresight = Ledger(SOON), Foresight(AHEAD)
        self.foresight.waiting = type(self.foresight.waiting)(maxlen=WAITING)
        self.looks: list[tuple[float, npt.NDArray[np.float32], Floats, Floats, Bools]] = []
        self.short: list[Batch] = []
        self.long: list[Batch] = []

    def look(self, controller: Controller, at: float, lowered: Bools | None = None) -> None:
        """One look, just after a tick. `lowered` are kept from traffic by somebody else than this Controller."""
        learner = controller.learner
        if learner is None or controller.evidence is None:
            return
        evidence, suspicion = controller.evidence, controller.suspicion
        shown = controller.steering.health < Health.CANARY
        self.ledger.spoil(shown)
        self.foresight.act(controller.steering.health > Health.HEALTHY if lowered is None else lowered)
        answers = self.ledger.answer(at, evidence, controller.peers, controller.errors, controller.latency)
        for batch in answers:
            self.foresight.tell(batch, len(shown))
        self.short += answers
        self.long += self.foresight.answer(at - SOON)
        if at > self.until:
            return
        features = learner.features.copy()
        said = np.column_stack([learner.probability, learner.coming])
        self.looks.append((at, features.astype(np.float32), suspicion, said, learner.few))
        self.ledger.ask(at, features, evidence, suspicion, learner.probability, shown)
        self.foresight.ask(at, features, suspicion, learner.coming, shown)

    def table(self) -> Table:
        """All of it as columns; endpoints with too little to go by are left out."""
        n, looks = self.slots, self.looks
        labels = np.full((4, len(looks), n), np.nan)
        place = {look[0]: i for i, look in enumerate(looks)}
        for k, batches in ((0, self.short), (2, self.long)):
            for batch in batches:
                labels[k, place[batch.asked], batch.slots] = batch.labels
                labels[k + 1, place[batch.asked], batch.slots] = batch.weights
        at, slot = (x.reshape(-1).astype(np.float64) for x in np.meshgrid(list(place), np.arange(n), indexing="ij"))
        features = np.array([look[1] for look in looks]).reshape(-1, COUNT)
        keep = ~np.isnan(features[:, 0])
        rule = np.array([look[2] for look in looks]).reshape(-1)
        said = np.array([look[3] for look in looks]).reshape(-1, 2)
        few = np.array([look[4] for look in looks], dtype=bool).reshape(-1)
        columns = [column.reshape(-1)[keep] for column in labels]
        return Table(at[keep], slot[keep], features[keep], rule[keep], said[keep], few[keep], *columns)
