"""Two policies run side by side on one fleet: the differences-in-Q estimator, beside the naive difference of means.

Each request is given to one of two policies by chance. They share the queues, so that each policy's requests feel what
the other did: the plain difference of their means misses most of what a switch of all traffic would do. Differences in
Q counts a request's effect on those after it too:
    DQ = E[Q(s, 1) | a = 1] - E[Q(s, 0) | a = 0]
with Q the value of a decision relative to the average under the trial itself, as in Farias, Li, Peng and Zheng,
"Markovian Interference in Experiments" (NeurIPS 2022). Its bias is second-order in the policies' difference; to first
order it is the derivative of the average reward by the share of traffic that policy 1 gets.

Q is linear in features of the state, one set of coefficients for each policy, and solved by least-squares temporal
differences for the average reward: Σ z_t (ψ_t - ψ̄_{t+1}) θ = Σ z_t (r_t - r̄), z a trace of ψ that fades by `trace`,
ψ̄ averaged over which policy comes next. A longer trace leans less on the features and has more variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from replay.evaluation.intervals import Figure, Interval, Resampling

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Share of the mean square of a feature that is added to its equation: keeps a state that hardly varies from deciding.
RIDGE = 1e-7
LEAST = 100  # requests of each policy
# A state that differs between the two policies' requests by so many standard errors was not left to chance.
UNEVEN = 4.0


@dataclass(frozen=True, slots=True)
class Differences:
    """Policy 1 minus policy 0 in the reward's unit: by differences in Q, and naively. `warnings`: why to doubt it."""

    dq: Interval
    naive: Interval
    dq_figure: Figure
    naive_figure: Figure
    warnings: tuple[str, ...] = ()


def backlog(due: Floats, sent: Floats, done: Floats, slot: Ints, instances: int) -> tuple[Floats, Floats]:
    """What each instance had before it when each request was due, as the trace knows afterwards: how long the attempts
    that were there still took, the last of them and all together; seconds, (n, instances) each.

    `due` (n,); attempts `sent`, `done`, `slot` (m,). Counts of attempts in flight will not do: they do not tell whose
    the waiting attempts are, and DQ then sees little of what a slow one does to those behind it. Nor will the last one
    alone, where an instance serves several at a time.
    """
    last, every = np.zeros((len(due), instances)), np.zeros((len(due), instances))
    for i in range(instances):
        mine = np.flatnonzero(slot == i)
        mine = mine[np.argsort(sent[mine], kind="stable")]
        ends, gone = done[mine], np.sort(done[mine])
        begun, over = np.searchsorted(sent[mine], due, side="left"), np.searchsorted(gone, due, side="right")
        latest = np.r_[-np.inf, np.maximum.accumulate(ends)]
        last[:, i] = np.maximum(latest[begun] - due, 0.0)
        left = np.r_[0.0, np.cumsum(ends)][begun] - np.r_[0.0, np.cumsum(gone)][over] - due * (begun - over)
        every[:, i] = np.maximum(left, 0.0)
    return last, every


def queue_features(load: Floats) -> Floats:
    """Features of a fleet's state at each request, from each instance's load (seconds or attempts), (n, instances).

    Which instance it is does not matter, only how much there is and how unevenly it lies: the total, its square and
    cube, the sum of squares, the least and the most, and the square of the least.
    """
    total = load.sum(axis=1)
    columns = [total, total**2, total**3]
    if load.shape[1] > 1:
        least = load.min(axis=1)
        columns += [(load**2).sum(axis=1), least, least**2, load.max(axis=1)]
    return np.column_stack(columns)


def differences(
    reward: Floats, second: Bools, features: Floats, ids: Ints, draw: Resampling, trace: float = 0.0
) -> Differences:
    """Both estimates. Requests in order of time: `reward` (n,), `second` (n,) whether policy 1 served it, `features`
    (n, k) of the state that it met, `ids` (n,) its block of time.

    Raises ValueError where one of the policies served fewer than LEAST requests.
    """
    n, ones = len(reward), int(second.sum())
    if min(ones, n - ones) < LEAST:
        raise ValueError(
            f"the two policies served {n - ones} and {ones} requests: each needs at least {LEAST} to be compared"
        )
    share = ones / n
    spread = features.std(axis=0)
    state = np.column_stack([np.ones(n), (features - features.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)])
    a = second.astype(np.float64)[:, None]
    mine = np.hstack([state * (1.0 - a), state * a])
    mean = np.hstack([state * (1.0 - share), state * share])
    z = mine if trace == 0.0 else lfilter([1.0], [1.0, -trace], mine, axis=0)
    d = mine.shape[1]
    z, step, r, block = z[:-1], (mine[:-1] - mean[1:]), reward[:-1], ids[:-1]
    gram, right, traces = np.zeros((draw.blocks, d, d)), np.zeros((draw.blocks, d)), np.zeros((draw.blocks, d))
    ends = np.flatnonzero(np.diff(block)) + 1
    for start, stop in zip([0, *ends], [*ends, n - 1], strict=True):
        b = int(block[start])
        gram[b] += z[start:stop].T @ step[start:stop]
        right[b] += z[start:stop].T @ r[start:stop]
        traces[b] += z[start:stop].sum(axis=0)
    met = np.zeros((draw.blocks, d))
    np.add.at(met, ids, mine)
    count = np.bincount(ids, minlength=draw.blocks).astype(np.float64)
    first = np.bincount(ids, second.astype(np.float64), minlength=draw.blocks)
    paid = np.bincount(ids, reward, minlength=draw.blocks)
    tables = (gram.reshape(draw.blocks, -1), right, traces, met, count, first, paid)
    every = np.vstack([np.ones(draw.blocks), draw.counts])
    solved = _solve(tuple(np.asarray(every @ table, np.float64) for table in tables), d)
    figure = Figure(float(solved[0]), solved[1:], np.zeros(draw.blocks))
    naive1 = draw.ratio(reward * second, second.astype(np.float64), ids)
    naive0 = draw.ratio(reward * ~second, (~second).astype(np.float64), ids)
    plain = Figure(naive1.estimate - naive0.estimate, naive1.draws - naive0.draws, np.zeros(draw.blocks))
    return Differences(
        draw.interval(figure), draw.interval(plain), figure, plain, _warnings(state[:, 1:], second, ids, draw)
    )


def _solve(sums: tuple[Floats, ...], d: int) -> Floats:
    """DQ of each row of summed tables."""
    gram, right, traces, met, count, first, paid = sums
    gram = gram.reshape(-1, d, d)
    scale = np.maximum(np.abs(np.diagonal(gram, axis1=1, axis2=2)).mean(axis=1), 1e-300)
    # A constant may be added to all of Q: the ridge picks the one of least size, and DQ does not feel it.
    gram = gram + (RIDGE * scale)[:, None, None] * np.eye(d)
    theta = np.linalg.solve(gram, (right - (paid / count)[:, None] * traces)[:, :, None])[:, :, 0]
    half = d // 2
    ones = (met[:, half:] * theta[:, half:]).sum(axis=1) / np.maximum(first, 1.0)
    zeros = (met[:, :half] * theta[:, :half]).sum(axis=1) / np.maximum(count - first, 1.0)
    found: Floats = ones - zeros
    return found


def _warnings(state: Floats, second: Bools, ids: Ints, draw: Resampling) -> tuple[str, ...]:
    """Whether the requests of both policies met the same states, as chance would have it."""
    found = []
    for k in range(state.shape[1]):
        one = draw.ratio(state[:, k] * second, second.astype(np.float64), ids)
        zero = draw.ratio(state[:, k] * ~second, (~second).astype(np.float64), ids)
        gap, error = one.estimate - zero.estimate, float(np.std(one.draws - zero.draws))
        if error > 0.0 and abs(gap) > UNEVEN * error and abs(gap) > 0.02:
            found.append(
                f"feature {k} of the state differs between the policies' requests by {gap:+.2f} standard deviations "
                f"({abs(gap) / error:.0f} standard errors): requests were not given to a policy by chance"
            )
    return tuple(found[:1])
