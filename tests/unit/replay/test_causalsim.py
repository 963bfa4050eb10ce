"""The public benchmark, small: the environment beside a plain one, and predictions beside the truth."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from replay import causalsim
from replay.causalsim import JOBS, POLICIES, SERVERS, Served, World
from replay.evaluation import factors


def plainly(drawn: World, row: int, policy: int) -> list[tuple[int, float, float]]:
    """One trajectory, one job at a time with a heap of departures: server, processing time and latency of each."""
    name, queue, busy = POLICIES[policy], [0] * SERVERS, [0.0] * SERVERS
    mean, now, leaving, out = [0.0] * SERVERS, 0.0, [], []
    for job in range(JOBS):
        while leaving and leaving[0][0] <= now:
            queue[heapq.heappop(leaving)[1]] -= 1
        rates, draws = drawn.rates[row, job], drawn.draws[row, job]
        if name == "random":
            server = int(draws[0])
        elif name.startswith("two_servers"):
            server = int(drawn.pairs[int(name[-1]), drawn.coins[row, job]])
        else:
            among = sorted(set(draws[: int(name[-1])].tolist())) if name.startswith("best_of") else range(SERVERS)
            cost = {"oracle": rates, "tracker": mean}.get(name)
            server = min(among, key=lambda s: queue[s] if cost is None else (queue[s] + 1) * cost[s])
        processing = float(drawn.sizes[row, job] * rates[server])
        end = max(busy[server], now) + processing
        busy[server] = end
        queue[server] += 1
        heapq.heappush(leaving, (end, server))
        mean[server] += (1.0 - causalsim.MEMORY) * (processing - mean[server])
        out.append((server, processing, end - now))
        now += float(drawn.gaps[row, job])
    return out


@pytest.fixture(scope="module")
def worlds() -> list[tuple[World, list[Served]]]:
    """Rates that stay, and rates drawn anew with probability one half an hour: the 64 trajectories last 53 minutes."""
    drawn = [causalsim.world(64, 1), causalsim.world(64, 1, drift=0.5)]
    return [(one, causalsim.truth(one)) for one in drawn]


@pytest.mark.parametrize("policy", range(len(POLICIES)), ids=POLICIES)
def test_trajectories_side_by_side_are_those_of_a_plain_queue(worlds: list, policy: int) -> None:
    drawn, served = worlds[1]
    for server, processing, latency, plain in zip(
        served[policy].server[3],
        served[policy].processing[3],
        served[policy].latency[3],
        plainly(drawn, 3, policy),
        strict=True,
    ):
        assert (server, processing, pytest.approx(latency)) == plain


def test_sizes_load_the_fleet_as_asked(worlds: list) -> None:
    drawn, _ = worlds[0]
    load = drawn.sizes.mean() * drawn.rates[0, 0].mean() / drawn.gaps.mean() / SERVERS
    assert load == pytest.approx(causalsim.LOAD)


@pytest.mark.parametrize("drifting", [False, True], ids=["steady", "drifting"])
def test_half_of_all_pairs_are_predicted_within_a_tenth(worlds: list, drifting: bool) -> None:
    """The benchmark's bound. The naive replay of the same trajectories is worse than 50 %."""
    drawn, served = worlds[drifting]
    ours = causalsim.benchmark(drawn, served, causalsim.by_factors)
    assert len(ours.source) == len(POLICIES) * (len(POLICIES) - 1)
    assert np.median(ours.processing) < 0.10
    assert np.median(ours.latency) < 0.10
    hard = ours.target < len(POLICIES) - causalsim.PAIRED  # those that look at queues, or at all servers
    assert np.median(ours.processing[hard]) < 0.10
    assert np.median(ours.latency[hard]) < 0.10
    naive = causalsim.benchmark(drawn, served, causalsim.as_recorded)
    assert np.median(naive.processing) > 0.5
    assert np.median(naive.latency) > 0.5


def test_the_truth_predicts_itself_without_error(worlds: list) -> None:
    """Whoever knows sizes and rates makes no error: what is left of ours is of the factors, not of the replay."""
    drawn, served = worlds[0]

    def knows(processing: np.ndarray, server: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rates = np.broadcast_to(drawn.rates[0, 0], (*processing.shape, SERVERS))
        return processing / np.take_along_axis(rates, server[:, :, None], 2)[:, :, 0], rates

    found = causalsim.benchmark(drawn, served, knows)
    # Rounding of size = time / rate may still turn a tie; of 64 trajectories it turned at most one.
    assert np.median(found.latency) < 1e-9


def test_factors_find_a_server_that_becomes_slower_and_sizes_that_grow() -> None:
    rng = np.random.default_rng([1])
    server = rng.integers(3, size=6000)
    size = np.where(np.arange(6000) < 4000, 10.0, 40.0) * (1.0 + 0.2 * rng.standard_normal(6000))
    rate = np.array([1.0, 2.0, 4.0])[server] * np.where((server == 1) & (np.arange(6000) >= 2500), 0.5, 1.0)
    found = factors.fit(size * rate, server, 3)
    assert list(map(len, found.changes)) == [1, 0, 1, 0]
    assert found.changes[0][0] == pytest.approx(4000, abs=10)
    assert found.changes[2][0] == pytest.approx(2500, abs=30)
    rates = found.rates(np.array([0, 5999]))
    # 800 jobs or more in each cell, of variation 0.2: a ratio is known within 0.2 * sqrt(2 / 800) = 1 %.
    assert rates[:, 1] / rates[:, 0] == pytest.approx([2.0, 1.0], rel=0.04)
    assert rates[:, 2] / rates[:, 0] == pytest.approx([4.0, 4.0], rel=0.04)
