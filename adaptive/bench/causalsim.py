"""The public benchmark of counterfactual replay, run and shown: our predictor beside the naive one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from replay import causalsim
from replay.causalsim import POLICIES, Errors

OURS = "size times rate"
PREDICTORS: Mapping[str, causalsim.Predict] = {OURS: causalsim.by_factors, "as recorded": causalsim.as_recorded}
# The paper's pairs, as we read it: any source, and as a target one of the eight policies that look at queues, or none.
# The other eight, which know two servers each, are easier to predict.
HARD = len(POLICIES) - causalsim.PAIRED
# Medians over 120 pairs of policies that the paper reports, for processing time and latency.
PUBLISHED = {"CausalSim, as published": (0.244, 0.270), "SLSim, as published": (1.243, 4.678)}


@dataclass(frozen=True, slots=True)
class Result:
    """Errors of each predictor in one world."""

    title: str
    errors: Mapping[str, Errors]


def measure(trajectories: int, seed: int, drift: float, say: Callable[[str], None]) -> Result:
    """Draws a world, serves it under every policy, and asks each predictor."""
    drawn = causalsim.world(trajectories, seed, drift)
    served = causalsim.truth(drawn, say)
    changes = int((np.diff(drawn.rates.reshape(-1, causalsim.SERVERS), axis=0) != 0).sum())
    errors = {name: causalsim.benchmark(drawn, served, predict, say) for name, predict in PREDICTORS.items()}
    hours = float(drawn.gaps.sum()) / causalsim.HOUR
    title = (
        f"{trajectories} trajectories of {causalsim.JOBS} jobs, seed {seed}, {hours:.1f} h, "
        f"{changes} changes of a server's rate; mean absolute percentage errors over all pairs of policies"
    )
    return Result(title, errors)


def worst(result: Result) -> float:
    """The greatest of our medians: over all pairs and over the hard ones, of processing time and of latency."""
    ours = result.errors[OURS]
    hard = ours.target < HARD
    return float(max(np.median(column[which]) for column in (ours.processing, ours.latency) for which in (hard, ...)))


def table(result: Result) -> Iterator[str]:
    """Lines: medians and p90 over pairs; then ours by target policy."""
    yield result.title
    yield f"{'':<32}{'processing time':>24}{'latency':>24}"
    yield f"{'':<32}{'median':>12}{'p90':>12}{'median':>12}{'p90':>12}"
    for name, errors in result.errors.items():
        hard = errors.target < HARD
        for which, pairs in ((np.ones(len(hard), bool), "all"), (hard, "hard")):
            columns = (errors.processing[which], errors.latency[which])
            figures = [np.quantile(column, q) for column in columns for q in (0.5, 0.9)]
            label = f"{name}, {pairs} {which.sum()} pairs"
            yield f"{label:<32}" + "".join(f"{figure:>12.2%}" for figure in figures)
    for name, (processing, latency) in PUBLISHED.items():
        yield f"{name:<32}{processing:>12.1%}{'':>12}{latency:>12.1%}"
    ours = result.errors[OURS]
    yield f"{'by target policy':<32}"
    for target, name in enumerate(POLICIES):
        pairs = ours.target == target
        yield f"  {name:<30}{np.median(ours.processing[pairs]):>12.2%}{'':>12}{np.median(ours.latency[pairs]):>12.2%}"
