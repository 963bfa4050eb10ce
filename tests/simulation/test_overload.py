"""Overload, end to end in virtual time: what passes is waited out, what lasts is bounded, and nothing feeds itself.

Each test takes one to three seconds: it simulates some ten thousand requests.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptive.types import Mark
from replay import library
from replay.arena_like import arena
from replay.scenario import Clients, Scenario
from replay.simulator.run import Run
from replay.simulator.simulation import simulate

SEED = 31


def surge(rate: float, seconds: float) -> Scenario:
    """So many requests a second, for a while, against 1,500 that can be served; clients wait for two seconds."""
    calm = arena(SEED)["calm"]
    steps = ((0.0, 1000.0), (6.0, rate), (6.0 + seconds, 1000.0))
    return replace(
        calm, load=replace(calm.load, rates=steps), rules=replace(calm.rules, route_timeout=2.0), seconds=18.0
    )


def standard(name: str, load: float = 0.7, seconds: float = 24.0) -> Scenario:
    return library.one(name, 8, load, SEED, seconds=seconds, mean=0.04)


def mean(run: Run, start: float, end: float) -> float:
    """Mean latency of the requests due then; a failed one counts as the clients' time-out."""
    requests = run.requests
    rows = (requests.due >= start) & (requests.due < end)
    return float(np.where(requests.failed, run.timeout, requests.latency)[rows].mean())


def test_a_surge_that_clients_outwait_fails_nobody_and_is_over_two_seconds_after_it() -> None:
    """The backlog of 10 % too many for 5 s is half a second, which is drained in 1.5 s."""
    run = simulate(surge(1650.0, 5.0), "adaptive", SEED, views=False)
    assert run.failures() == 0
    assert mean(run, 13.0, 18.0) < 1.1 * mean(run, 2.0, 6.0)


def test_a_surge_beyond_what_clients_wait_for_refuses_the_excess_at_once_and_serves_the_rest_in_time() -> None:
    run = simulate(surge(2400.0, 4.0), "adaptive", SEED, views=False)
    requests = run.requests
    excess = 4.0 * (2400.0 - 1500.0) - 1.0 * 1500.0  # what the wait of a second does not hold
    assert run.counts["shed"] == requests.failed.sum() and 0.5 * excess < run.failures() < 1.5 * excess
    assert requests.latency[~requests.failed].max() < 2.0
    assert np.median(requests.latency[requests.failed]) < 0.1


def test_an_overload_that_grows_until_it_ends_fails_nobody_who_can_still_be_served_in_time() -> None:
    """From 0.75 to 1.74 of what the fleet can serve, in which four machines of ten are busy otherwise half of the time:
    six to eight seconds of requests wait in the end, and clients wait for ten.
    """
    ramp = library.one("s10_antagonists_and_ramp", 8, 0.7, SEED, seconds=30.0, mean=0.1)
    run = simulate(ramp, "adaptive", ramp.seed, views=False)
    assert run.failures() == 0 and run.quantile(0.99) > 4.0


def test_clients_who_leave_sooner_than_the_route_allows_are_noticed_before_much_is_served_in_vain() -> None:
    """A fifth too much for 20 s. The route allows 15 s, clients wait for two: their queue is to hold one second."""
    scenario = replace(surge(1800.0, 20.0), seconds=32.0, clients=Clients(timeout=2.0))
    run = simulate(replace(scenario, rules=replace(scenario.rules, route_timeout=15.0)), "adaptive", SEED, views=False)
    excess = 20.0 * (1800.0 - 1500.0) - 1.0 * 1500.0
    assert run.failures() < 1.15 * excess


@pytest.mark.parametrize("load", [0.7, 0.9])
def test_a_gateway_that_is_far_from_its_fleet_takes_the_distance_for_no_overload(load: float) -> None:
    run = simulate(standard("s15_one_gateway_is_far", load), "adaptive", SEED, views=False)
    assert run.counts["shed"] == 0 and run.quantile(0.99) > 0.3


def test_clients_who_ask_again_do_not_keep_a_fleet_down_that_has_recovered() -> None:
    """All lose most of their speed for six seconds, and clients ask again: the state outlives no trigger."""
    scenario = standard("s12_retry_storm")
    (fault,) = scenario.instances[0].faults
    run = simulate(scenario, "adaptive", scenario.seed, views=False)
    late = run.requests.due > fault.end + 2.0
    assert run.requests.failed[~late].any()
    assert run.requests.failed[late].mean() < 0.01  # of those who still ask again; a lasting state fails most
    assert mean(run, fault.end + 2.0, scenario.seconds) < 1.2 * mean(run, 2.0, fault.start)


def test_patient_clients_who_ask_again_do_not_either() -> None:
    """As in the arena: a time-out of two seconds, of which the route knows, and two more tries after an error."""
    scenario = standard("s12_retry_storm")
    (fault,) = scenario.instances[0].faults
    patient = replace(
        scenario, clients=Clients(timeout=2.0, retries=2), rules=replace(scenario.rules, route_timeout=2.0)
    )
    run = simulate(patient, "adaptive", scenario.seed, views=False)
    late = run.requests.due > fault.end + 4.0
    assert run.requests.failed[~late].any()
    assert run.requests.failed[late].mean() < 0.01  # of those who still ask again; a lasting state fails most
    assert mean(run, fault.end + 4.0, scenario.seconds) < 1.2 * mean(run, 2.0, fault.start)


@pytest.mark.parametrize("name", ["s15_gateway_stalls", "s2_gray_hangs", "s5_pauses_of_all"])
def test_what_is_sent_twice_is_at_most_a_twentieth_of_the_requests_in_any_second(name: str) -> None:
    """Of a second in which fewer than 100 requests begin, one copy is a hundredth and more: it says nothing."""
    scenario = standard(name)
    outcomes = simulate(scenario, "adaptive", scenario.seed, views=False, record=True).outcomes
    assert outcomes is not None
    further = (outcomes["attempt"] > 1) | (outcomes["marks"] & int(Mark.HEDGE) > 0)
    begin = np.arange(2.0, scenario.seconds - 1.0, 0.1)
    first, more = (
        np.searchsorted(sent := np.sort(outcomes["sent_at"][rows]), begin + 1.0) - np.searchsorted(sent, begin)
        for rows in (~further, further)
    )
    busy = first >= 100
    assert busy.mean() > 0.5 and more.sum() > 0
    assert (more[busy] / first[busy]).max() <= 0.05
