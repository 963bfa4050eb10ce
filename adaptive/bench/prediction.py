"""How good predictions are, on fleets that nothing was tuned on: beside the rules, with intervals, and what they cost.

Where the Controller only watches, every label is there. False ejections are counted where it acts, in larger fleets
with nothing wrong in them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from adaptive import clock

HELD_OUT = 1000  # seeds from here on; tuning uses those below
ENDPOINTS = 100
LARGE = 40  # endpoints of the fleets in which false ejections are counted


def episodes(fleets: int, seed: int, say: Callable[[str], None], jobs: int = 1) -> list[Any]:
    """Held-out severities and seeds, the model watching; `fleets` of each forecastable kind, half of the others."""
    from replay.episodes import ABRUPT, CALM, FORECASTABLE
    from replay.sweep.spread import spread

    work: list[tuple[str, int, str]] = []
    for kinds, count in ((FORECASTABLE, fleets), (ABRUPT, max(2, fleets // 2)), (CALM, max(2, fleets // 2))):
        for kind in kinds:
            work += [(kind, HELD_OUT + seed + k, "adaptive" if k % 2 else "least_request") for k in range(count)]
    found = []
    for what, episode in zip(work, spread(watched, work, jobs), strict=True):
        found.append(episode)
        if len(found) == len(work) or work[len(found)][0] != what[0]:
            say(f"{what[0]}: {len(found)} of {len(work)} fleets")
    return found


def watched(what: tuple[str, int, str]) -> Any:
    """One of them, perhaps in a process of its own."""
    from replay.episodes import run

    kind, seed, policy = what
    return run(kind, seed, held_out=True, policy=policy)


def table(found: list[Any], seed: int) -> Iterator[str]:
    """The figures of what was watched."""
    import numpy as np

    from replay import foretelling, oracle
    from replay.episodes import FORECASTABLE

    rng = np.random.default_rng([seed, 0xF02E])
    mine = [e for e in found if e.kind in FORECASTABLE]
    for horizon, name in (("ahead", "30 s"), ("soon", "2 s")):
        said = foretelling.precisions(mine, horizon, rng)
        others = {n: f.value for n, f in said.items() if n not in ("model", "above")}
        best = max(others, key=lambda n: others[n])
        yield f"breach within {name}, forecastable faults: PR-AUC {said['model']}, best rule {best} {said[best]}"
        yield f"  above the best rule: {said['above']}; base rate {_base(mine, horizon):.3f}"
        yield "  rules: " + ", ".join(f"{n} {v:.3f}" for n, v in sorted(others.items(), key=lambda x: -x[1]))
        everything = foretelling.precisions(found, horizon, rng)
        yield f"  all fleets: PR-AUC {everything['model']}, above the best rule {everything['above']}"
        yield f"  calibration error, all fleets: {foretelling.calibration_error(found, horizon):.4f}"
    yield from _foreseen(foretelling.crossed(found), "alarms", rng)
    yield from _foreseen(foretelling.crossed(found, foretelling.threshold_of_looks), "rows, as PR-AUC has it", rng)
    could, count = oracle.foreseen(found, foretelling.wrong(found, oracle.KIND))
    yield f"creeping: an oracle that knows all rates and the shape of the ramp, as often wrong: {could} of {count}"
    could, count = oracle.bound(found)
    yield f"at most {could} of {count} can be, at precision 0.9 of alarms: that oracle's, all others that took 10 s"
    for kind, (ratio, seen_count, count) in foretelling.delays(found).items():
        yield f"{kind}: median delay {ratio:.2f} Lorden bounds in attempts sent, {seen_count} of {count} detected"
    yield alarms(found)


def _foreseen(seen: Any, what: str, rng: Any) -> Iterator[str]:
    count, possible = seen.of_possible()
    yield (
        f"foreseen 10 s ahead at precision 0.9 of {what}: {seen.share(rng)} of {len(seen.hits)} breaches, {count} of "
        f"the {possible} that took 15 s or longer to come; {seen.right} of {seen.said} alarms came true (each half of "
        "the fleets by the threshold of the other)"
    )
    yield "  by kind: " + ", ".join(f"{kind} {a} of {b}" for kind, (a, b) in seen.by_kind().items())


def alarms(found: Sequence[Any]) -> str:
    """The detectors' false alarms. A cold start is none: the instance is slow for real, as a gray one is."""
    hours, count = sum(e.hours for e in found), sum(e.alarms for e in found)
    cold, starts = (sum(e.cold[k] for e in found) for k in (0, 1))
    return (
        f"detectors' false alarms: {count} in {hours:.1f} instance-hours (95 % sure below {most(count, hours):.3f} an "
        f"hour; promised 0.010); cold starts that raised one {cold} of {starts}"
    )


def most(count: int, hours: float) -> float:
    """The largest rate an hour at which so few events are not yet unlikely (5 %, Poisson)."""
    low, high = 0.0, 3.0 * (count + 2.0)
    for _ in range(50):
        mean = (low + high) / 2
        chance = sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(count + 1))
        low, high = (mean, high) if chance > 0.05 else (low, mean)
    return high / hours


def _base(found: list[Any], horizon: str) -> float:
    import numpy as np

    return float(np.nanmean(np.concatenate([getattr(e.asked, horizon) for e in found])))


def false_moves(fleets: int, seed: int, say: Callable[[str], None]) -> Iterator[str]:
    """Moves down of a Controller that acts where nothing is wrong, with the model and without it."""
    from adaptive.controller import Settings
    from adaptive.types import Health
    from replay.episodes import CALM, fleet, run

    for enabled, name in ((True, "with the model"), (False, "rule alone")):
        found: list[Any] = []
        hours, lowered, ejected, by_model, requests = 0.0, 0, 0, 0, 0
        for kind in CALM:
            for k in range(fleets):
                at = HELD_OUT + seed + k
                scenario = thinned(fleet(kind, at, held_out=True, n=LARGE), 8.0)
                e = run(kind, at, acting=True, scenario=scenario, settings=Settings(seed=at, enabled=enabled))
                hours, requests = hours + e.hours, requests + e.requests
                found.append(e)
                lowered += sum(m.before == Health.HEALTHY and m.after > Health.HEALTHY for m in e.moved)
                ejected += sum(m.after == Health.EJECTED for m in e.moved)
                by_model += sum("predicted" in m.reason for m in e.moved)
            say(f"{kind}, {name}: {fleets} fleets; lowered {lowered}, ejected {ejected} in {hours:.1f} instance-hours")
        yield (
            f"fault-free fleets, {name}: {ejected} ejections in {hours:.1f} instance-hours, {ejected / hours:.3f} an "
            f"hour (95 % sure below {most(ejected, hours):.3f}); {lowered} lowered, {by_model} of them by prediction, "
            f"{lowered / hours:.3f} an hour ({requests} requests)"
        )
        if enabled:
            yield f"the same fleets: {alarms(found)}"


def thinned(scenario: Any, most: float) -> Any:
    """With at most so many requests a second and endpoint: many endpoints at the full load cost minutes."""
    rates = tuple((at, min(rate, most * len(scenario.instances))) for at, rate in scenario.load.rates)
    return dataclasses.replace(scenario, load=dataclasses.replace(scenario.load, rates=rates))


def cost(ticks: int = 300) -> tuple[float, float]:
    """Microseconds of CPU per endpoint and tick at ENDPOINTS: features, prediction and update; and the whole tick."""
    import numpy as np

    from adaptive.controller import Controller
    from adaptive.telemetry.columns import OUTCOME_DTYPE
    from adaptive.types import Cause, Cluster, Endpoint, InFlightSeen, Member, OutcomesSeen, Tick, Topology

    members = tuple(Member(Endpoint("api", f"10.0.0.{i}", 80), i, 1.0, 0, "") for i in range(ENDPOINTS))
    controller = Controller(Topology(1, (Cluster("api", 0, members, "adaptive"),), ENDPOINTS))
    learner = controller.learner
    assert learner is not None
    spent = [0.0]
    step = learner.step

    def timed(*arguments: Any) -> Any:
        began = clock.cpu()
        found = step(*arguments)
        spent[0] += clock.cpu() - began
        return found

    learner.step = timed  # type: ignore[assignment, method-assign]
    rng = np.random.default_rng(0)
    whole = 0.0
    for tick in range(ticks + 100):
        at = 100.0 + tick * 0.1
        rows = np.zeros(500, OUTCOME_DTYPE)
        rows["slot"] = rng.integers(0, ENDPOINTS, 500)
        rows["done"] = rows["first_byte"] = at - rng.random(500) * 0.1
        rows["sent_at"] = rows["done"] - rng.lognormal(-3.5, 0.5, 500)
        rows["load_cpu"] = rows["load_app"] = np.nan
        rows["cause"] = int(Cause.RESPONSE)
        rows["status"] = np.where(rng.random(500) < np.where(rows["slot"] < 5, 0.2, 0.002), 500, 200)
        if tick == 100:
            spent[0] = whole = 0.0
        began = clock.cpu()
        controller.handle(OutcomesSeen(at, rows))
        controller.handle(InFlightSeen(at, np.ones(ENDPOINTS), np.full(ENDPOINTS, at - 0.02)))
        controller.handle(Tick(at))
        whole += clock.cpu() - began
    return 1e6 * spent[0] / ticks / ENDPOINTS, 1e6 * whole / ticks / ENDPOINTS
