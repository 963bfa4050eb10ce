"""Evaluates policies from a trace: had another been in charge of this traffic, what would its clients have seen?

    found = evaluate(trace, ["adaptive", "peak_ewma"], seed=0)
    found.document()                 # a report's document: rows with intervals, refusals with reasons

A fleet is fitted to the outcomes and simulated under each policy on the recorded arrivals, so that each policy meets
the queues that it makes itself. Before that the fit must give back what was recorded under the policy that recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from adaptive.types import Mark
from replay.evaluation import gateway, recorded
from replay.evaluation.attempts import EvaluationError, Recording, Seen, seen
from replay.evaluation.beside import beside
from replay.evaluation.figures import NAMES, Check, Guess, check, figures, guess
from replay.evaluation.fit import Fit, fit, scenario
from replay.evaluation.intervals import Resampling, block_ids, block_seconds, difference
from replay.evaluation.logged import likely
from replay.evaluation.support import refusals
from replay.policies import Policy
from replay.scenario import Rules, Scenario
from replay.simulator.run import Run
from replay.sweep.spread import spread

SEEDS = 4  # runs of the likeliest scenario: its figures are their means
DRAWS = 8  # runs of scenarios drawn from the fit; their spread is known within a quarter

# Nats a pick by which one policy must be ahead of the others, to be taken for the one that recorded.
CLEAR = 0.01

# What the model may be wrong by beside its floor, where no check under the policy that recorded could be made.
BLIND = 0.03

# Share of attempts that were second copies from which on they make the 99th percentile what it is.
HEDGED = 0.005
HEDGING = "adaptive"  # of the policies that are simulated, what those are called which send them
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
    jobs: int = 1,
    say: Say = lambda text: None,
) -> Evaluation:
    """Fits the trace and simulates each policy on its arrivals, `seeds` + `draws` times.

    `logged`: the policy that recorded, if it is known. `weights`: static weights by endpoint, for the candidates alone.
    `jobs`: processes that simulate, -1 one a core; the answer is the same.
    Raises EvaluationError where the trace supports no answer for any policy.
    """
    data = seen(trace, cluster)
    say(f"fitting {len(data.rows)} attempts of {len(data.requests.due)} requests to {len(data.instances)} instances")
    named = {name: _named(name) for name in dict.fromkeys([*policies, *([logged] if logged else [])])}
    refused = [(name, str(found)) for name, found in named.items() if isinstance(found, Exception)]
    if logged in dict(refused):
        raise EvaluationError(dict(refused)[logged])
    told = bool(logged)
    logged = logged or _likely(data, say)
    given = dict(weights or {})
    rules = rules or gateway.rules(trace.header, data)
    made = fit(data, np.random.default_rng([seed, 1]), timeout=timeout, warm=warm, rules=rules, weights=given)
    worlds = [scenario(made, np.random.default_rng([seed, 2, k]), given) for k in range(draws)]
    stage = _Stage(made, worlds, seed, seeds, simulate or _simulator(), predictor, jobs)
    check_policy = _named(logged) if logged else recorded.policy(data.requests.first)
    assert isinstance(check_policy, Policy)
    say(f"checking the fit by simulating {logged or 'the recorded picks'}")
    checks = stage.checks(check_policy)
    alike = "" if _hedged(data) and HEDGING not in logged else logged  # the recorded gateway, and that of the check
    _refuse(checks, alike, logged)
    excess = {c.name: c.excess if alike else _blind(c) for c in checks}
    predicted: list[Predicted] = []
    for policy in (named[name] for name in dict.fromkeys(policies)):
        if isinstance(policy, Exception):
            continue
        say(f"simulating {policy.name}")
        found = stage.predict(policy, excess, estimators)
        if isinstance(found, Predicted):
            predicted.append(found)
        else:
            refused += [(policy.name, reason) for reason in found]
    warnings = (*made.notes, *_loose(checks), *_caveats(logged, told, estimators, bool(alike)))
    pairs = _compared(predicted, seed)
    by = logged or recorded.NAME
    return Evaluation(made, by, checks, tuple(predicted), tuple(refused), pairs, warnings, trace.partial, stage.plain)


def _likely(data: Seen, say: Say) -> str:
    """The policy that recorded, as far as its picks tell it clearly; empty if they do not."""
    guessed, ahead = likely(data)
    say(f"by its picks it was recorded under {guessed or 'no policy that is known'} ({ahead:.2f} nats a pick ahead)")
    return guessed if ahead > CLEAR else ""


def _hedged(data: Seen) -> bool:
    """Whether so many requests had second copies beside them that the latencies tell of it."""
    return float(((data.rows["marks"] & Mark.HEDGE) > 0).mean()) > HEDGED


def _caveats(logged: str, told: bool, estimators: bool, alike: bool) -> list[str]:
    """What to bear in mind of every answer. `told`: whether the policy that recorded was named, not guessed; `alike`:
    whether its gateway and the simulated one do the same.
    """
    out = []
    if logged and not told:
        out.append(f"the trace was recorded under {logged}, as far as its picks tell (--logged says it)")
    if logged and not alike:
        out.append(
            f"slow requests had second copies beside them, which {logged} as it is simulated does not send: only "
            "latencies that come out too short are held against the fit"
        )
    if not logged:
        out.append(
            "the policy that recorded is not known (--logged says it): the fit was checked with the recorded picks, "
            "which no longer suit the queues that they meet, so that the intervals are wider than they need be"
        )
    if estimators:
        out.append("the estimators beside the simulation hold the recorded queues fixed: they ignore interference")
    return out


@dataclass(frozen=True, slots=True)
class _Stage:
    """A fit and draws of it, on which policies are run."""

    made: Fit
    worlds: Sequence[Scenario]
    seed: int
    seeds: int
    run: Simulate
    predictor: Any
    jobs: int

    @property
    def plain(self) -> tuple[int, ...]:
        """Seeds of the runs of the likeliest scenario."""
        return tuple(1000 * self.seed + 1 + k for k in range(self.seeds))

    def checks(self, policy: Policy) -> tuple[Check, ...]:
        """Whether the fit gives back what was recorded; the weights are not yet those of the candidates.

        Raises EvaluationError where no request is judged.
        """
        made, requests = self.made, self.made.seen.requests
        judged = requests.due >= made.warm
        if not judged.any():
            raise EvaluationError(f"no request is due after the first {made.warm:g} s, which are not judged")
        truth = figures(requests.seen(made.warm, made.timeout), requests.failed[judged])
        worlds = [replace(w, instances=_unweighted(w)) for w in self.worlds]
        again = [_judged(one) for one in self._drawn(worlds, policy, 700)]
        return tuple(check(name, truth[name], [one[name] for one in again]) for name in NAMES)

    def predict(self, policy: Policy, excess: Mapping[str, float], estimators: bool) -> Predicted | list[str]:
        """What the policy would have done, or why that cannot be said."""
        made, first = self.made, self.plain[0]
        runs = tuple(self._runs(policy, [_Work(made.scenario, s, s == first) for s in self.plain]))
        reasons = _support(made, runs[0])
        if reasons:
            return reasons
        others = self._drawn(self.worlds, policy, 500)
        found = beside(made.seen, policy, made, self.seed) if estimators else None
        return _predicted(policy.name, runs, others, excess, made, found)

    def _drawn(self, worlds: Sequence[Scenario], policy: Policy, offset: int) -> list[Run]:
        base = 1000 * self.seed + offset
        return self._runs(policy, [_Work(world, base + k, False) for k, world in enumerate(worlds)])

    def _runs(self, policy: Policy, work: Sequence[_Work]) -> list[Run]:
        return list(spread(partial(_one, self.run, self.predictor, policy), work, self.jobs))


class _Work(NamedTuple):
    world: Scenario
    seed: int
    record: bool


def _one(run: Simulate, predictor: Any, policy: Policy, work: _Work) -> Run:
    """One run, perhaps in a process of its own."""
    return run(work.world, policy, work.seed, record=work.record, predictor=predictor, compiled=not work.record)


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


def _blind(one: Check) -> float:
    """What the check with the recorded picks tells of the model's error: picks that do not suit the queues that they
    meet make latencies longer, so that only what comes out too short is held against the fit.
    """
    return float(np.hypot(BLIND, one.excess if one.off < 0.0 else 0.0))


def _refuse(checks: Sequence[Check], alike: str, logged: str) -> None:
    bad = [c for c in checks if c.refused and (alike or c.off < 0.0)]
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
