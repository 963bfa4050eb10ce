"""Hangs told from what was given up, where second copies hide most of it and few are sent there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adaptive.types import Cause, Mark
from replay.evaluation.attempts import seen
from replay.evaluation.figures import Guess, guess
from replay.evaluation.fit import Fit, fit, scenario
from replay.evaluation.spans import Span
from replay.scenario import Clients, Fault, Instance, Load, Scenario, Service
from replay.simulator.simulation import simulate
from tests.unit.replay.evaluation.test_fit import fitted, queue, trace

PATIENCE, HEDGED = 2.0, 0.3  # seconds until a client hangs up, and until a second copy has won
WINDOW = (8.0, 12.0)


def recording(posts: float, share: float = 0.3, after_all: float = 0.0, window: tuple[float, float] = WINDOW) -> Any:
    """Two instances, at the first of which a share of the attempts within a window hang, or take `after_all` seconds
    where that is not 0. What may be sent again is beaten by a second copy, and posts are not.
    """
    rng = np.random.default_rng(5)
    sent, done, gone = queue(rng, 12, 100.0)
    lost = (sent >= window[0]) & (sent < window[1]) & (rng.random(len(sent)) < share)
    post = rng.random(len(sent)) < posts
    took = np.where(post, after_all or PATIENCE, HEDGED)
    made = trace([(sent, np.where(lost, sent + took, done), gone), queue(rng, 12, 100.0)])
    mine = made.rows[: len(sent)]
    ends = lost & ~(post & bool(after_all))
    mine["cause"][ends] = np.where(post, Cause.CLIENT_GONE, Cause.CANCELLED)[ends]
    mine["status"][ends] = 0
    mine["marks"][post] &= ~np.uint8(Mark.REPEATABLE)
    return made


def hang(made: Fit) -> Span:
    """The only one."""
    (found,) = [span for span in made.nodes[0].spans if span.kind == "hang"]
    return found


def test_what_must_not_be_sent_twice_tells_that_the_beaten_would_never_have_been_answered() -> None:
    found = hang(fitted(recording(posts=0.3)))
    assert (found.start, found.end) == pytest.approx(WINDOW, abs=0.3)
    assert found.p == pytest.approx(0.3, abs=0.07)  # 400 attempts: three standard errors
    assert found.chance == 1.0


def test_and_it_tells_that_they_would_have_been() -> None:
    made = fitted(recording(posts=0.3, after_all=0.6))
    assert not [span for span in made.nodes[0].spans if span.kind == "hang"]


@pytest.mark.parametrize(("factor", "most"), [(4.0, 0.0), (12.0, 0.5)])
def test_a_slow_instance_whose_answers_a_gateway_does_not_wait_for_is_not_sure_to_hang(
    factor: float, most: float
) -> None:
    """Seconds: it is simulated, for what a gateway gives up and beats is its own. Of one so slow that nearly all was
    beaten, nobody can tell.
    """
    slow = (Fault("slow", 10.0, 20.0, {"factor": factor}),)
    fleet = tuple(Instance(f"10.0.0.{i}:80", Service(0.04, 0.6), 6, faults=slow if i == 1 else ()) for i in range(5))
    whole = Scenario("slow", fleet, Load(((0.0, 300.0),), 0.5), Clients(PATIENCE), seconds=25.0, warm=3.0)
    found = fit(seen(recorded(whole, "adaptive", 1)), np.random.default_rng(1), timeout=PATIENCE, warm=whole.warm)
    assert any(row["cause"] in (Cause.CANCELLED, Cause.TIMEOUT_ATTEMPT) for row in found.seen.rows)
    assert all(span.chance <= most for span in found.nodes[1].spans if span.kind == "hang")


def test_where_nothing_tells_half_of_the_draws_have_the_hang_and_it_is_noted() -> None:
    made = fitted(recording(posts=0.0))
    assert 0.0 < hang(made).chance < 1.0
    drawn = [scenario(made, np.random.default_rng(k)).instances[0].faults for k in range(40)]
    with_it = sum(any(fault.kind == "hang" for fault in faults) for faults in drawn)
    assert 8 <= with_it <= 32  # outside once in 10,000 of a fair coin's
    assert any("whether they would ever have been answered" in note for note in made.notes)


def test_what_is_so_all_the_time_is_how_the_instance_is() -> None:
    made = fitted(recording(posts=0.0, share=0.1, window=(0.0, 1e9)))
    assert not [span for span in made.nodes[0].spans if span.kind == "hang"]


def test_it_ended_anywhere_between_the_last_that_hung_and_the_next_that_was_answered() -> None:
    def ejected(rows: Any) -> None:
        at = rows["sent_at"] - 1000.0
        away = (rows["slot"] == 0) & (at > 8.5) & (at < 14.5)
        rows["slot"][away] = 1

    recorded = recording(posts=0.5, share=1.0)
    ejected(recorded.rows)
    made = fitted(recorded)
    found = hang(made)
    assert (min(found.ends), max(found.ends)) == pytest.approx((8.5, 14.5), abs=0.3)
    assert found.end == pytest.approx(11.5, abs=0.1)
    ends = [
        fault.end
        for k in range(40)
        for fault in scenario(made, np.random.default_rng(k)).instances[0].faults
        if fault.kind == "hang"
    ]
    assert min(ends) < 9.5 and max(ends) > 13.5


def test_two_that_took_far_longer_than_any_answer_are_a_hang_however_few_were_sent_there() -> None:
    def few(rows: Any) -> None:
        at = rows["sent_at"] - 1000.0
        away = (rows["slot"] == 0) & (at > 8.2) & (at < 11.8)
        rows["slot"][away] = 1

    made = recording(posts=0.5)
    few(made.rows)
    mine = made.rows[made.rows["slot"] == 0]
    assert (mine["cause"] == Cause.CLIENT_GONE).sum() >= 2
    found = hang(fitted(made))
    assert found.start == pytest.approx(8.0, abs=0.2)
    assert found.p == pytest.approx(0.3, abs=3 * found.error)


def test_failures_under_another_policy_are_foretold_from_behind_hedges() -> None:
    """Some seconds: nearly nothing fails in the recordings, and what would have is simulated many times over.

    An interval of 95 % misses the truth once in twenty, and of four two or more once in seventy.
    """
    held, said, truth, failed = 0, 0.0, 0, 0
    for seed in (1, 2):
        for share in (1.0, 0.3):
            found, came, recorded = foretold(seed, share)
            held += found.low <= came <= found.high
            said, truth, failed = said + found.value, truth + came, failed + recorded
    assert held >= 3
    assert failed < truth / 5
    assert truth / 2 < said < 2 * truth


def foretold(seed: int, share: float) -> tuple[Guess, int, int]:
    """Failures under least_request as foretold from a recording under adaptive, as they are, and in the recording."""
    hangs = (Fault("hang", 8.0, 16.0, {"p": share}),)
    fleet = tuple(Instance(f"10.0.0.{i}:80", Service(0.04, 0.6), 6, faults=hangs if not i else ()) for i in range(5))
    whole = Scenario("hang", fleet, Load(((0.0, 250.0),), 0.5), Clients(PATIENCE), seconds=20.0, warm=3.0)
    data = seen(recorded(whole, "adaptive", seed))
    made = fit(data, np.random.default_rng(seed), timeout=PATIENCE, warm=whole.warm)
    worlds = [scenario(made, np.random.default_rng([seed, k])) for k in range(6)]
    plain = [float(simulate(made.scenario, "least_request", k).failures()) for k in range(2)]
    drawn = [float(simulate(world, "least_request", 10 + k).failures()) for k, world in enumerate(worlds)]
    truth = simulate(whole, "least_request", seed).failures()
    return guess("failed", plain, drawn, 0.0, PATIENCE), truth, int(data.requests.failed.sum())


def recorded(whole: Scenario, policy: str, seed: int) -> Any:
    """A simulated run as a recording."""
    names = {str(i): ("fleet", one.name) for i, one in enumerate(whole.instances)}
    rows = simulate(whole, policy, seed, record=True).outcomes
    return SimpleNamespace(header={"clusters": ["fleet"], "endpoints": names}, rows=rows, partial="")
