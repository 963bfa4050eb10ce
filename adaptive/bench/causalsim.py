"""The public benchmark of counterfactual replay, run and shown: our predictor beside the naive one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from replay import causalsim
from replay.causalsim import POLICIES, Errors

OURS = "size times rate"
PREDICTORS: Mapping[str, causalsim.Predict] = {OURS: causalsim.by_factors, "as recorded": causalsim.as_recorded}
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
    """The greater of our two medians."""
    ours = result.errors[OURS]
    return float(max(np.median(ours.processing), np.median(ours.latency)))


def table(result: Result) -> Iterator[str]:
    """Lines: medians and p90 over pairs; then ours by target policy."""
    yield result.title
    yield f"{'':<26}{'processing time':>24}{'latency':>24}"
    yield f"{'':<26}{'median':>12}{'p90':>12}{'median':>12}{'p90':>12}"
    for name, errors in result.errors.items():
        figures = [np.quantile(column, q) for column in (errors.processing, errors.latency) for q in (0.5, 0.9)]
        yield f"{name:<26}" + "".join(f"{figure:>12.2%}" for figure in figures)
    for name, (processing, latency) in PUBLISHED.items():
        yield f"{name:<26}{processing:>12.1%}{'':>12}{latency:>12.1%}"
    ours = result.errors[OURS]
    yield f"{'by target policy':<26}"
    for target, name in enumerate(POLICIES):
        pairs = ours.target == target
        yield f"  {name:<24}{np.median(ours.processing[pairs]):>12.2%}{'':>12}{np.median(ours.latency[pairs]):>12.2%}"
