"""A public benchmark of counterfactual replay: the load-balancing environment of CausalSim (NSDI'23, section 6.4).

Eight first-in first-out servers, each slower or faster than the others by a factor drawn once, or drawn anew now and
then. Jobs come one at a time; one of 16 policies sends each to a server. In a randomised trial every trajectory of 1000
jobs is served under one policy. Asked is, for each pair of a source and a target policy: what processing times and
latencies would the jobs of the source's trajectories have had under the target? The true answer is known, for the
environment can be run again.

What the predictor is given: arrival times, servers, processing times and latencies of all trajectories but those of the
target policy, and how the target policy chooses. What it is not given: sizes, rates, and when they change.
Chance of a random policy is the same in the true and in the predicted run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from replay.evaluation import factors

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SERVERS = 8
JOBS = 1000  # of a trajectory
SPREAD = 5.0  # a server takes 5 ** U(-1, 1) times as long
GAP = 50.0  # mean milliseconds between two jobs, exponential
LOAD = 0.6
STATES = 50  # mean sizes log-spaced from 10 to 316, variations evenly spaced from 0 to 0.5
STATE_CHANGE = 1.0 / 12000.0  # probability, per job
SIZES = (3.0, 1000.0)  # sizes are clipped to this
MEMORY = 0.995  # of the tracking policy's mean
HOUR = 3.6e6  # milliseconds
DRAWS = 5  # servers drawn for each job, as many as the policy of five choices needs
PAIRED = 8  # policies that know two servers each


@dataclass(frozen=True, slots=True)
class World:
    """Everything that no policy changes. Times are milliseconds; T trajectories of JOBS jobs, one after the other."""

    gaps: Floats  # (T, JOBS) until the next job
    sizes: Floats  # (T, JOBS)
    rates: Floats  # (T, JOBS, SERVERS) processing time per size, at each job's moment
    draws: Ints  # (T, JOBS, DRAWS) servers drawn evenly, for the policies that need chance
    coins: Ints  # (T, JOBS) 0 or 1
    pairs: Ints  # (PAIRED, 2) the servers of each policy that knows only two
    policy: Ints  # (T,) the policy that the trial gave each trajectory


@dataclass(frozen=True, slots=True)
class Served:
    """What happened to the jobs under one policy, each (T, JOBS)."""

    server: Ints
    processing: Floats
    latency: Floats


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean absolute percentage errors, one for each pair of a source and a target policy, (pairs,)."""

    source: Ints
    target: Ints
    processing: Floats
    latency: Floats


POLICIES = (
    "random",
    "shortest_queue",
    *(f"best_of_{k}" for k in range(2, DRAWS + 1)),
    "oracle",
    "tracker",
    *(f"two_servers_{i}" for i in range(PAIRED)),
)


def world(trajectories: int, seed: int, drift: float = 0.0) -> World:
    """Draws a world. `drift`: probability that a server's rate is drawn anew within an hour (0.5: each 87 minutes)."""

    def stream(name: str) -> np.random.Generator:
        return np.random.default_rng(list(f"{seed}/causalsim/{name}".encode()))

    shape, jobs = (trajectories, JOBS), trajectories * JOBS
    gaps = stream("gaps").exponential(GAP, jobs)
    rng = stream("sizes")
    state = np.cumsum(rng.random(jobs) < STATE_CHANGE)
    mean = np.logspace(1.0, 2.5, STATES)[rng.integers(STATES, size=state[-1] + 1)][state]
    variation = np.linspace(0.0, 0.5, STATES)[rng.integers(STATES, size=state[-1] + 1)][state]
    sizes = np.clip(mean * (1.0 + variation * rng.standard_normal(jobs)), *SIZES)
    rng = stream("rates")
    hazard = -np.log1p(-drift) / HOUR
    changed = rng.random((jobs, SERVERS)) < -np.expm1(-hazard * gaps)[:, None]
    changed = np.concatenate([np.zeros((1, SERVERS), bool), changed[:-1]])  # what changes after a job meets the next
    segment = np.cumsum(changed, axis=0)
    values = SPREAD ** rng.uniform(-1.0, 1.0, (int(segment[-1].max()) + 1, SERVERS))
    rates = np.take_along_axis(values, segment, axis=0)
    sizes *= LOAD * SERVERS * gaps.mean() / (sizes.mean() * rates[0].mean())
    rng = stream("policies")
    pairs = np.stack([rng.choice(SERVERS, 2, replace=False) for _ in range(PAIRED)])
    return World(
        gaps.reshape(shape),
        sizes.reshape(shape),
        rates.reshape(*shape, SERVERS),
        rng.integers(SERVERS, size=(*shape, DRAWS)),
        rng.integers(2, size=shape),
        pairs,
        rng.permutation(np.arange(trajectories) % len(POLICIES)),
    )


def serve(drawn: World, rows: Ints, policy: int, sizes: Floats, rates: Floats) -> Served:
    """Serves these trajectories under one policy, as if sizes (len(rows), JOBS) and rates (…, SERVERS) were so.

    Each trajectory begins with empty queues; all of them advance together, job by job.
    """
    n = len(rows)
    choose = _chooser(drawn, rows, policy)
    every = np.arange(n)
    finish = np.zeros((n, SERVERS, JOBS))  # of each server's jobs, in order
    head, tail = np.zeros((n, SERVERS), np.int64), np.zeros((n, SERVERS), np.int64)
    coming = np.full((n, SERVERS), np.inf)  # when the job in service ends
    free = np.zeros((n, SERVERS))
    mean = np.zeros((n, SERVERS))  # of the tracker
    now = np.zeros(n)
    out = Served(np.empty((n, JOBS), np.int64), np.empty((n, JOBS)), np.empty((n, JOBS)))
    gaps = drawn.gaps[rows]
    for job in range(JOBS):
        row, column = np.nonzero(coming <= now[:, None])
        while len(row):
            place = head[row, column] + 1
            head[row, column] = place
            left = place < tail[row, column]
            following = np.where(left, finish[row, column, np.minimum(place, JOBS - 1)], np.inf)
            coming[row, column] = following
            more = following <= now[row]
            row, column = row[more], column[more]
        server = choose(job, tail - head, rates[:, job], mean)
        processing = sizes[:, job] * rates[every, job, server]
        end = np.maximum(free[every, server], now) + processing
        free[every, server] = end
        last = tail[every, server]
        finish[every, server, last] = end
        coming[every, server] = np.minimum(coming[every, server], end)
        tail[every, server] = last + 1
        mean[every, server] += (1.0 - MEMORY) * (processing - mean[every, server])
        out.server[:, job], out.processing[:, job], out.latency[:, job] = server, processing, end - now
        now = now + gaps[:, job]
    return out


def _chooser(drawn: World, rows: Ints, policy: int) -> Callable[[int, Ints, Floats, Floats], Ints]:
    """How a policy chooses: (job, jobs at each server, rates, the tracker's means) → servers. Ties: the first."""
    name = POLICIES[policy]
    draws, coins = drawn.draws[rows], drawn.coins[rows]
    if name == "random":
        return lambda job, queue, rates, mean: draws[:, job, 0]
    if name == "shortest_queue":
        return lambda job, queue, rates, mean: np.argmin(queue, axis=1)
    if name == "oracle":
        return lambda job, queue, rates, mean: np.argmin((queue + 1) * rates, axis=1)
    if name == "tracker":
        return lambda job, queue, rates, mean: np.argmin((queue + 1) * mean, axis=1)
    if name.startswith("two_servers_"):
        pair = drawn.pairs[policy - len(POLICIES) + PAIRED]
        return lambda job, queue, rates, mean: pair[coins[:, job]]
    k = int(name.removeprefix("best_of_"))

    def best(job: int, queue: Ints, rates: Floats, mean: Floats) -> Ints:
        seen = np.full(queue.shape, np.iinfo(np.int64).max)
        drawn_now = draws[:, job, :k]
        np.put_along_axis(seen, drawn_now, np.take_along_axis(queue, drawn_now, 1), 1)
        chosen: Ints = np.argmin(seen, axis=1)
        return chosen

    return best


Predict = Callable[[Floats, Ints], tuple[Floats, Floats]]
"""From processing times and servers, (T, JOBS) each, to sizes (T, JOBS) and rates (T, JOBS, SERVERS)."""


def as_recorded(processing: Floats, server: Ints) -> tuple[Floats, Floats]:
    """The naive replay: a job takes as long as it took, wherever it goes."""
    return processing, np.ones((*processing.shape, SERVERS))


def by_factors(processing: Floats, server: Ints) -> tuple[Floats, Floats]:
    """Ours: processing times split into size and rate over time, then put together anew."""
    found = factors.fit(processing.ravel(), server.ravel(), SERVERS)
    rates = found.rates(np.arange(processing.size))
    sizes = processing.ravel() / rates[np.arange(processing.size), server.ravel()]
    return sizes.reshape(processing.shape), rates.reshape(*processing.shape, SERVERS)


def truth(drawn: World, say: Callable[[str], None] = lambda text: None) -> list[Served]:
    """What happens to all trajectories under each policy."""
    rows = np.arange(len(drawn.policy))
    served = []
    for policy, name in enumerate(POLICIES):
        say(f"{policy + 1}/{len(POLICIES)} served by {name}")
        served.append(serve(drawn, rows, policy, drawn.sizes, drawn.rates))
    return served


def benchmark(
    drawn: World, served: list[Served], predict: Predict, say: Callable[[str], None] = lambda text: None
) -> Errors:
    """Errors of a predictor over all pairs. The trajectories of the target policy are hidden from it."""
    recorded = np.arange(len(drawn.policy))
    server = np.stack([served[p].server[i] for i, p in enumerate(drawn.policy)])
    processing = np.stack([served[p].processing[i] for i, p in enumerate(drawn.policy)])
    found: list[tuple[int, int, float, float]] = []
    for target, name in enumerate(POLICIES):
        rows = recorded[drawn.policy != target]
        say(f"{target + 1}/{len(POLICIES)} predicting {name} from the others")
        predicted = serve(drawn, rows, target, *predict(processing[rows], server[rows]))
        off = [
            np.abs(mine / true[rows] - 1.0).mean(axis=1)
            for mine, true in (
                (predicted.processing, served[target].processing),
                (predicted.latency, served[target].latency),
            )
        ]
        for source in range(len(POLICIES)):
            mine = drawn.policy[rows] == source
            if mine.any():
                found.append((source, target, float(off[0][mine].mean()), float(off[1][mine].mean())))
    return Errors(*(np.array(column) for column in zip(*found, strict=True)))
