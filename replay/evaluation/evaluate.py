"""Evaluates policies from a trace: had another been in charge of this traffic, what would its clients have seen?

    found = evaluate(trace, ["adaptive", "peak_ewma"], seed=0)
    found.document()                 # a report's document: rows with intervals, refusals with reasons

A fleet is fitted to the outcomes and simulated under each policy on the recorded arrivals, so that each policy meets
the queues that it makes itself. Before that the fit must give back what was recorded under the policy that recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from replay.evaluation import recorded
from replay.evaluation.attempts import EvaluationError, Recording, seen
from replay.evaluation.beside import beside
from replay.evaluation.figures import NAMES, Check, Guess, check, figures, guess
from replay.evaluation.fit import Fit, fit, scenario
from replay.evaluation.intervals import Resampling, block_ids, block_seconds, difference
from replay.evaluation.logged import likely
from replay.evaluation.support import refusals
from replay.policies import Policy
from replay.scenario import Rules, Scenario
from replay.simulator.run import Run

SEEDS = 4  # runs of the likeliest scenario: its figures are their means
DRAWS = 8  # runs of scenarios drawn from the fit; their spread is known within a quarter

# Nats a pick by which one policy must be ahead of the others, to be taken for the one that recorded.
CLEAR = 0.01

# What the model may be wrong by beside its floor, where no check under the policy that recorded could be made.
BLIND = 0.03

Simulate = Callable[..., Run]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Predicted:
    """One policy as it would have been."""

    policy: str
    figures: Mapping[str, Guess]
    requests: int
    attempts: float  # per request
    runs: tuple[Run, ...]  # of the likeliest scenario
    estimators: Mapping[str, Any] = field(default_factory=dict)
    effective: float = float("nan")  # effective sample size of the estimators


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All of it. `logged`: the policy that recorded, or `recorded` where only its picks are known."""

    fit: Fit
    logged: str
    checks: tuple[Check, ...]
    predicted: tuple[Predicted, ...]
    refused: tuple[tuple[str, str], ...]  # (policy, reason)
    compared: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]
    partial: str
    seeds: tuple[int, ...]

    def of(self, policy: str) -> Predicted | None:
        """One policy's figures; None where it was refused."""
        return next((p for p in self.predicted if p.policy == policy), None)


def evaluate(
    trace: Recording,
    policies: Sequence[str],
    *,
    seed: int = 0,
    seeds: int = SEEDS,
    draws: int = DRAWS,
    cluster: str = "",
    logged: str = "",
    timeout: float = 0.0,
    warm: float | None = None,
    rules: Rules | None = None,
    weights: Mapping[str, float] | None = None,
    predictor: Any = None,
    simulate: Simulate | None = None,
    estimators: bool = True,
    say: Say = lambda text: None,
) -> Evaluation:
    """Fits the trace and simulates each policy on its arrivals, `seeds` + `draws` times.

    `logged`: the policy that recorded, if it is known. `weights`: static weights by endpoint, for the candidates alone.
    Raises EvaluationError where the trace supports no answer for any policy.
    """
    run = simulate or _simulator()
    named = {name: _named(name) for name in dict.fromkeys([*policies, *([logged] if logged else [])])}
    refused = [(name, str(found)) for name, found in named.items() if isinstance(found, Exception)]
    if logged in dict(refused):
        raise EvaluationError(dict(refused)[logged])
    rng = np.random.default_rng([seed, 1])
    data = seen(trace, cluster)
    say(f"fitting {len(data.rows)} attempts of {len(data.requests.due)} requests to {len(data.instances)} instances")
    guessed = ""
    if not logged:
        guessed, ahead = likely(data)
        say(
            f"by its picks it was recorded under {guessed or 'no policy that is known'} ({ahead:.2f} nats a pick ahead)"
        )
        logged = guessed if ahead > CLEAR else ""
        if logged:
            named.setdefault(logged, _named(logged))
    made = fit(data, rng, timeout=timeout, warm=warm, rules=rules, weights=dict(weights or {}))
    worlds = [scenario(made, np.random.default_rng([seed, 2, k]), dict(weights or {})) for k in range(draws)]
    plain = tuple(range(1000 * seed + 1, 1000 * seed + 1 + seeds))
    check_policy: Policy | Exception = named[logged] if logged else recorded.policy(data.requests.first)
    assert isinstance(check_policy, Policy)
    say(f"checking the fit by simulating {logged or 'the recorded picks'}")
    checks = _checks(made, [replace(w, instances=_unweighted(w)) for w in worlds], check_policy, run, seed, predictor)
    _refuse(checks, logged)
    excess = {c.name: c.excess if logged else _blind(c) for c in checks}
    predicted: list[Predicted] = []
    for name in dict.fromkeys(policies):
        policy = named[name]
        if isinstance(policy, Exception):
            continue
        say(f"simulating {name}")
        runs = tuple(run(made.scenario, policy, s, record=s == plain[0], predictor=predictor) for s in plain)
        reasons = _support(made, runs[0])
        if reasons:
            refused += [(name, reason) for reason in reasons]
            continue
        others = [run(w, policy, 1000 * seed + 500 + k, predictor=predictor) for k, w in enumerate(worlds)]
        found = beside(data, policy, made, seed) if estimators else None
        predicted.append(_predicted(name, runs, others, excess, made, found))
    warnings = [*made.notes, *_loose(checks)]
    if guessed and logged:
        warnings.append(f"the trace was recorded under {logged}, as far as its picks tell (--logged says it)")
    elif not logged:
        warnings.append(
            "the policy that recorded is not known (--logged says it): the fit was checked with the recorded picks, "
            "which no longer suit the queues that they meet, so that the intervals are wider than they need be"
        )
    if estimators:
        warnings.append("the estimators beside the simulation hold the recorded queues fixed: they ignore interference")
    pairs = _compared(predicted, seed)
    return Evaluation(
        made,
        logged or recorded.NAME,
        checks,
        tuple(predicted),
        tuple(refused),
        pairs,
        tuple(warnings),
        trace.partial,
        plain,
    )


def _simulator() -> Simulate:
    from replay.simulator.simulation import simulate

    return simulate


def _named(name: str) -> Policy | Exception:
    from replay.policies import named

    try:
        return named(name)
    except ValueError as error:
        return error


def _unweighted(world: Scenario) -> tuple[Any, ...]:
    return tuple(replace(one, weight=1.0) for one in world.instances)


def _judged(one: Run) -> dict[str, float]:
    return figures(one.seen(), one.requests.failed[one.requests.due >= one.warm])


def _checks(
    made: Fit, worlds: Sequence[Scenario], policy: Policy, run: Simulate, seed: int, predictor: Any
) -> tuple[Check, ...]:
    requests = made.seen.requests
    judged = requests.due >= made.warm
    if not judged.any():
        raise EvaluationError(f"no request is due after the first {made.warm:g} s, which are not judged")
    truth = figures(requests.seen(made.warm, made.timeout), requests.failed[judged])
    again = [_judged(run(w, policy, 1000 * seed + 700 + k, predictor=predictor)) for k, w in enumerate(worlds)]
    return tuple(check(name, truth[name], [one[name] for one in again]) for name in NAMES)


def _blind(one: Check) -> float:
    """What the check with the recorded picks tells of the model's error: picks that do not suit the queues that they
    meet make latencies longer, so that only what comes out too short is held against the fit.
    """
    return float(np.hypot(BLIND, one.excess if one.off < 0.0 else 0.0))


def _refuse(checks: Sequence[Check], logged: str) -> None:
    bad = [c for c in checks if c.refused and (logged or c.off < 0.0)]
    if bad:
        told = ", ".join(f"{c.name} {1e3 * c.simulated:.1f} ms for {1e3 * c.recorded:.1f} ms" for c in bad)
        hint = "" if logged else "; the policy that recorded is not known, and --logged names it"
        raise EvaluationError(f"the fitted fleet does not give back what was recorded: {told}{hint}")


def _loose(checks: Sequence[Check]) -> list[str]:
    return [
        f"the fit gives back {c.name} with {c.off:+.1%}; intervals are widened by it"
        for c in checks
        if c.name in ("p50", "p99") and c.excess > 0.03
    ]


def _support(made: Fit, one: Run) -> list[str]:
    rows = one.outcomes
    if rows is None:
        return []
    order = np.argsort(rows["sent_at"], kind="stable")
    rows = rows[order]
    return refusals(made, np.asarray(rows["sent_at"]), np.asarray(rows["done"]), np.asarray(rows["slot"]))


def _predicted(
    name: str, runs: tuple[Run, ...], others: Sequence[Run], excess: Mapping[str, float], made: Fit, found: Any
) -> Predicted:
    plain, drawn = [_judged(one) for one in runs], [_judged(one) for one in others]
    guesses = {f: guess(f, [x[f] for x in plain], [x[f] for x in drawn], excess[f], made.timeout) for f in NAMES}
    requests = int((runs[0].requests.due >= runs[0].warm).sum())
    attempts = float(np.mean([one.requests.attempts.mean() for one in runs]))
    told, effective = found if found is not None else ({}, float("nan"))
    return Predicted(name, guesses, requests, attempts, runs, told, effective)


def _compared(predicted: Sequence[Predicted], seed: int) -> tuple[Mapping[str, Any], ...]:
    """Each policy against the first: paired by blocks of the same arrivals, over all runs of the likeliest fleet."""
    if len(predicted) < 2:
        return ()
    first, out = predicted[0], []
    due = first.runs[0].requests.due
    due = due[due >= first.runs[0].warm]
    values = [np.concatenate([one.seen() for one in p.runs]) for p in predicted]
    above = values[0][: len(due)]
    ids = block_ids(due, block_seconds(due, above, above > np.quantile(above, 0.99)))
    every = np.tile(ids, len(first.runs))
    draw = Resampling(int(ids.max()) + 1, np.random.default_rng([seed, 3]))
    for q, name in ((0.5, "p50"), (0.99, "p99")):
        base = draw.quantile(values[0], q, every)
        for p, mine in zip(predicted[1:], values[1:], strict=True):
            made = difference(draw.quantile(mine, q, every), base)
            span = draw.interval(made)
            better = None if not span.low * span.high > 0 else span.high < 0
            out.append(
                {
                    "scenario": p.runs[0].scenario,
                    "policy": p.policy,
                    "to": first.policy,
                    "figure": name,
                    "difference": made.estimate,
                    "interval": [span.low, span.high],
                    "better": better,
                }
            )
    return tuple(out)
