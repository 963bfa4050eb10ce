"""Does acting on predictions spoil them? Fleets whose model moves endpoints, learns from what is left to be seen, and
acts again; beside a model that learns from the same fleets with nobody moved, which sees the truth.

What an acting gateway keeps traffic from, it does not see: the breach that it averted looks as if none had come. The
hours go by in rounds of fleets; after each the model is trained anew on all that was seen so far, and acts in the
next. Both models are scored on fleets that neither has seen and that nobody moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from models.columns import Floats
    from models.predictor import Pair
    from replay.episodes import Episode

FLEET = 5  # endpoints: what a day costs grows with them
RATE = 15.0  # most requests a second and endpoint, for the same reason
FIRST = 5000  # seeds of these fleets: beyond those of training and of what is held out
SCORED = 1000  # seeds of the fleets that both are scored on

Say = Callable[[str], None]


class Work(NamedTuple):
    """One fleet; `pair` None: the one that ships."""

    kind: str
    seed: int
    acting: bool
    held_out: bool
    pair: Pair | None


def one(work: Work) -> Episode:
    """Runs it, perhaps in a process of its own."""
    from adaptive.bench.prediction import thinned
    from replay.episodes import fleet, run

    scenario = thinned(fleet(work.kind, work.seed, work.held_out, FLEET), RATE)
    return run(work.kind, work.seed, work.held_out, acting=work.acting, predictor=work.pair, scenario=scenario)


def kinds() -> list[str]:
    """Every kind of fleet, in turn; those that can be foreseen three times as often, as in training."""
    from replay.episodes import ABRUPT, CALM, FORECASTABLE

    return [*FORECASTABLE, *ABRUPT, *FORECASTABLE, *CALM, *FORECASTABLE]


def measure(hours: float, rounds: int, scored: int, seed: int, jobs: int, say: Say) -> Iterator[str]:
    """The verdict, in lines. `scored`: fleets of each kind to score on."""
    from replay.episodes import ABRUPT, CALM, FORECASTABLE, SECONDS
    from replay.sweep.spread import spread
    from replay.teaching import teach

    each = max(len(kinds()), round(hours * 3600.0 / SECONDS / rounds))
    turn = kinds()
    acted: list[Episode] = []
    true: list[Episode] = []
    pairs: list[Pair] = []  # each round's
    for number in range(rounds):
        fleets = [(turn[i % len(turn)], FIRST + seed + number * each + i) for i in range(each)]
        latest = pairs[-1] if pairs else None
        work = [Work(kind, at, acting, False, latest) for kind, at in fleets for acting in (True, False)]
        found = list(spread(one, work, jobs))
        acted += found[::2]
        true += found[1::2]
        pairs.append(teach(acted, seed))
        gone = sum(e.asked.at.size for e in true) - sum(e.asked.at.size for e in acted)
        moved = sum(len(e.moved) for e in found[::2])
        say(f"round {number + 1} of {rounds}: {each} fleets, {moved} moves; {gone} rows are not seen, all in all")
    many = {**dict.fromkeys(FORECASTABLE, scored), **dict.fromkeys((*ABRUPT, *CALM), max(1, scored // 2))}
    whole = [Work(kind, SCORED + seed + i, False, True, None) for kind, count in many.items() for i in range(count)]
    yield f"{rounds} rounds of {each} fleets: {rounds * each * SECONDS / 3600:.1f} hours of acting and retraining"
    yield from verdict(list(spread(one, whole, jobs)), pairs[-1], teach(true, seed), seed)


def verdict(found: Sequence[Episode], acting: Pair, truth: Pair, seed: int) -> Iterator[str]:
    """Average precisions of both on the same fleets, and the difference, drawn over whole fleets."""
    import numpy as np

    from replay.foretelling import DRAWS, Figure

    rng = np.random.default_rng([seed, 0xAC7])
    for horizon, name in (("ahead", "30 s"), ("soon", "2 s")):
        parts = [_scores(e, horizon, (acting, truth)) for e in found]
        mine, its = _precisions(parts)
        drawn = [_precisions([parts[i] for i in rng.integers(0, len(parts), len(parts))]) for _ in range(DRAWS)]
        low, high = np.nanquantile([a - b for a, b in drawn], [0.05, 0.95])
        difference = Figure(mine - its, float(low), float(high))
        yield (
            f"breach within {name}, {len(found)} fleets that nobody moves: PR-AUC {mine:.3f} of the model that acted, "
            f"{its:.3f} of the one trained on the truth; difference {difference} (at least -0.03 wanted)"
        )


def _scores(e: Episode, horizon: str, pairs: Sequence[Pair]) -> list[Floats]:
    """Labels, and what each pair says of the same rows; the rule where it abstains."""
    import numpy as np

    label = getattr(e.asked, horizon)
    known = ~np.isnan(label)
    features, rule = e.asked.features[known].astype(np.float64), e.asked.rule[known]
    said = [getattr(pair, horizon).predict(features) for pair in pairs]
    return [label[known], *(np.where(np.isnan(each), rule, each) for each in said)]


def _precisions(parts: Sequence[list[Floats]]) -> tuple[float, float]:
    import numpy as np

    from replay.foretelling import average_precision

    label, first, second = (np.concatenate(column) for column in zip(*parts, strict=True))
    return average_precision(label, first), average_precision(label, second)
