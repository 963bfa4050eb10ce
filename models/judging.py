"""How good a model of pods is on one day, beside every baseline: what `adaptive models score` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.calls import PodBins
from models.columns import Bools, Floats
from models.edges import Fault, truth
from models.pods import PodModel
from models.scoring import Figure, average_precision, blocks, calibration_error, log_loss, with_interval

MODEL, SHIPPED, RULE = "model", "shipped weights", "rule, by what was seen until then"
TAIL, BEST = "p95 by the day's calm median", "max(p95, p95 of client - server) by the day's calm median"
CEILING = "knowing that a fault is in force now"
FLOOR = 1e-6  # seconds


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores of one day, or of a part of it. `figures` are average precisions, by name."""

    rows: int
    positives: int
    figures: dict[str, Figure]
    calibration: float
    loss: float
    known: float  # share of rows of services that the model was made for
    delays: dict[str, float | None]  # by fault: seconds from its beginning to the first alarm at precision 0.9
    threshold: float

    def document(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "task": "a latency fault in force on the pod within 30 s, per pod and 10 s bin",
            "rows": self.rows,
            "positives": self.positives,
            "average_precision": {name: list(figure) for name, figure in self.figures.items()},
            "calibration_error": self.calibration,
            "log_loss": self.loss,
            "share_of_known_services": self.known,
            "threshold_at_precision_0.9": self.threshold,
            "seconds_to_first_alarm": self.delays,
        }

    def lines(self) -> list[str]:
        """For people."""
        share = self.positives / self.rows if self.rows else 0.0
        found = [f"{self.rows} rows, {self.positives} of them ({share:.1%}) before or in a latency fault"]
        width = max(map(len, self.figures))
        found += [f"  {name:<{width}}  {figure}" for name, figure in self.figures.items()]
        found.append(f"average precision, 95 % interval over blocks of time; calibration error {self.calibration:.3f}")
        if self.known < 1:
            found.append(
                f"for {1 - self.known:.0%} of the rows the model is a guest (another system, or made of few faults): "
                "there it and the rule count half each"
            )
        return found


def judge(model: PodModel, rows: PodBins, faults: list[Fault], rng: np.random.Generator) -> Judgement:
    """Scores of the rows. Raises ValueError where no row, or every row, has a latency fault."""
    coming, now = truth(rows, faults)
    if coming.all() or not coming.any():
        raise ValueError("one class only: " + ("every" if len(coming) and coming.all() else "no") + " row has a fault")
    said, block = model.predict(rows), blocks(rows.at)
    tail, between = (_by_calm(values, rows, coming) for values in (rows.p95, rows.p95_between))
    scores = {
        MODEL: said,
        SHIPPED: PodModel().predict(rows),
        RULE: rows.rule,
        TAIL: tail,
        BEST: np.fmax(tail, between),
        CEILING: now.astype(np.float64),
    }
    figures = {name: with_interval(average_precision, coming, s, block, rng) for name, s in scores.items()}
    threshold = _threshold(coming, said)
    return Judgement(
        len(coming),
        int(coming.sum()),
        figures,
        calibration_error(coming, said),
        log_loss(coming, said),
        float(model.known(rows).mean()),
        _delays(rows, said >= threshold, faults),
        threshold,
    )


def _by_calm(values: Floats, rows: PodBins, coming: Bools) -> Floats:
    """Log ratio to the median of the pod's own rows without a fault, the whole day's: a baseline may look ahead."""
    found = np.zeros(len(values))
    for pod in np.unique(rows.pod):
        mine = rows.pod == pod
        calm = values[mine & ~coming & ~np.isnan(values)]
        if len(calm):
            found[mine] = np.log((values[mine] + FLOOR) / (np.median(calm) + FLOOR))
    return np.nan_to_num(found)


def _threshold(labels: Bools, said: Floats, precision: float = 0.9) -> float:
    """The lowest threshold at which at least this share of the alarms is right; above 1 where there is none."""
    order = np.argsort(-said, kind="stable")
    right = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(right >= precision)
    return float(said[order][good[-1]]) if len(good) else 1.1


def _delays(rows: PodBins, alarm: Bools, faults: list[Fault]) -> dict[str, float | None]:
    names = np.array(rows.pods)[rows.pod]
    found: dict[str, float | None] = {}
    for fault in faults:
        mine = (names == fault.pod) & truth(rows, [fault])[0]
        if mine.any():
            first = rows.at[mine & alarm]
            found[f"{fault.pod} {fault.kind}"] = float(first.min() - fault.at) if len(first) else None
    return found
