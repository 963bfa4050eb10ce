"""A pair that serves, from what was recorded: taught by the first part in time, scored on what came later.

Nothing of the later part is seen while it is fitted: questions whose answer came after the cut are left out. Scores
have a 95 % interval over blocks of time, and stand beside the pair that ships and every simple rule; where a model
abstains, the rule speaks, as it does live.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from models.columns import Bools, Floats, Ints
from models.combined import Combined
from models.features import NAMES
from models.fitting import NotFitted, fit
from models.predictor import AHEAD, Pair, Predictor
from models.scoring import Figure, average_precision, calibration_error, log_loss, with_interval
from replay.asking import SOON, Table, joined
from replay.foretelling import RULES

MOST = 2_000_000  # rows that are kept in memory: 400 MB
RUNS = 24  # blocks of time that training is cut into, to fit and to check on different ones
SHORTEST, LONGEST = 20.0, 600.0  # seconds of a block
MODEL, SHIPPED, RULE = "model", "the one that ships", "rule"
SECONDS = {"soon": SOON, "ahead": AHEAD}


class Learned(NamedTuple):
    """A fitted pair, how good it is on what came later, and what it was taught by."""

    pair: Pair
    taught: int  # rows
    scored: int
    figures: dict[str, dict[str, Figure]]  # average precisions, by horizon and name
    calibration: dict[str, float]
    loss: dict[str, tuple[float, float]]  # log losses of model and rule
    base: dict[str, float]  # share of the rows that breached
    signs: dict[str, float]  # mean contribution in rows before a breach less that in others, of the long horizon
    data: str  # SHA-256 of the rows

    def document(self) -> dict[str, Any]:
        """The scores, JSON-able."""
        return {
            name: {
                "average_precision": {key: list(figure) for key, figure in figures.items()},
                "calibration_error": self.calibration[name],
                "log_loss": self.loss[name][0],
                "rule_log_loss": self.loss[name][1],
                "base_rate": self.base[name],
            }
            for name, figures in self.figures.items()
        }

    def lines(self) -> list[str]:
        """The scores for people."""
        found = [f"taught by {self.taught} rows, scored on the {self.scored} that came later"]
        for name, figures in self.figures.items():
            found.append(f"breach within {SECONDS[name]:g} s, of {self.base[name]:.2%} of the rows; average precision:")
            best = sorted(figures, key=lambda key: (key not in (MODEL, SHIPPED, RULE), -figures[key].value))
            found += [f"  {key:<20} {figures[key]}" for key in best]
            own, rule = self.loss[name]
            found.append(
                f"  log loss {own:.4f}, of the rule {rule:.4f}; calibration error {self.calibration[name]:.4f}"
            )
        return found


def gathered(tables: Iterable[Table]) -> Table:
    """All of them, in order of time. Beyond MOST rows, of all every second look is dropped, as often as it takes.

    Raises NotFitted where there is no row at all.
    """
    kept: list[Table] = []
    stride = 1
    for table in tables:
        kept.append(table.thinned(stride))
        while sum(len(each.at) for each in kept) > MOST:
            stride *= 2
            kept = [joined(kept).thinned(stride)]
    kept = [table for table in kept if len(table.at)]
    if not kept:
        raise NotFitted("no endpoint had enough attempts to say anything of it")
    whole = joined(kept)
    order = np.argsort(whole.at, kind="stable")
    return type(whole)(*(getattr(whole, name)[order] for name in whole.__slots__))


def learn(table: Table, part: float, seed: int, shipped: Pair) -> Learned:
    """Fits to the first `part` of the time, scores on the rest. Raises NotFitted, saying why."""
    cut = float(table.at[0]) + part * float(table.at[-1] - table.at[0])
    early, late = table.take(table.at < cut - AHEAD - SOON), table.take(table.at >= cut)
    length = float(np.clip((cut - table.at[0]) / RUNS, SHORTEST, LONGEST))
    fitted: list[Combined] = []
    for place, (name, seconds) in enumerate(SECONDS.items()):
        try:
            fitted.append(fit(early.rows(name, _blocks(early.at, length)), seconds, seed + place))
        except NotFitted as error:
            raise NotFitted(f"the first {part:.0%}, breaches within {seconds:g} s: {error}") from None
    pair = Pair(*fitted)
    rng = np.random.default_rng([seed, 0x5C0])
    data = hashlib.sha256()
    for column in (early.at, early.features, early.soon, early.ahead):
        data.update(np.ascontiguousarray(column).tobytes())
    found = Learned(pair, len(early.at), len(late.at), {}, {}, {}, {}, {}, data.hexdigest())
    for name in SECONDS:
        _judge(found, late, name, shipped, _blocks(late.at, length), rng)
    return found


def _judge(found: Learned, late: Table, name: str, shipped: Pair, block: Ints, rng: np.random.Generator) -> None:
    label = getattr(late, name)
    known = ~np.isnan(label)
    truth = label[known] > 0.5
    if not truth.any() or truth.all():
        which = "every" if len(truth) and truth.all() else "no"
        raise NotFitted(f"what came later is of one class: {which} row has a breach within {SECONDS[name]:g} s")
    rule = late.rule[known]
    said = _said(getattr(found.pair, name), late, name)[known]
    scores = {MODEL: said, SHIPPED: _said(getattr(shipped, name), late, name)[known], RULE: rule}
    scores |= {column: late.features[known, NAMES.index(column)].astype(np.float64) for column in RULES}
    found.figures[name] = {
        key: with_interval(average_precision, truth, score, block[known], rng) for key, score in scores.items()
    }
    found.calibration[name] = calibration_error(truth, said)
    found.loss[name] = log_loss(truth, said), log_loss(truth, rule)
    found.base[name] = float(truth.mean())
    if name == "ahead":
        parts = found.pair.ahead.contributions(late.features[known].astype(np.float64))
        found.signs.update(zip(NAMES, _apart(parts, truth).tolist(), strict=True))


def _said(predictor: Predictor, table: Table, name: str) -> Floats:
    """What a model says, and the rule where it abstains."""
    said = predictor.predict(table.features.astype(np.float64))
    unsaid: Bools = np.isnan(said) | (table.few if name == "ahead" else np.zeros(len(said), dtype=bool))
    found: Floats = np.where(unsaid, table.rule, said)
    return found


def _apart(parts: Floats, truth: Bools) -> Floats:
    found: Floats = parts[truth].mean(axis=0) - parts[~truth].mean(axis=0)
    return found


def _blocks(at: Floats, length: float) -> Ints:
    found: Ints = np.floor(at / length).astype(np.int64)
    return found
