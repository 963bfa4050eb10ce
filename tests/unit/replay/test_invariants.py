"""Each promise that the swarm checks, and a planted breach of it that must be caught."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from adaptive.balancer import Lane, make
from adaptive.telemetry.columns import OUTCOME_DTYPE
from adaptive.types import Cause, Cluster, ClusterEntry, Endpoint, Health, Mark, Member, Topology, first_snapshot
from replay import invariants
from replay.policies import Policy
from replay.scenario import Instance, Rules, Scenario
from replay.simulator.run import Requests, Run
from replay.watching import Watched, Witness

CLUSTER = Cluster("api", 0, tuple(Member(Endpoint("api", "::1", 8000 + i), i) for i in range(3)))
TOPOLOGY = Topology(1, (CLUSTER,), 3)
REPEATABLE, FINAL, EXPLORED = int(Mark.REPEATABLE), int(Mark.FINAL), int(Mark.EXPLORED)


class Fleet:
    """Instances that hold what they are told to hold."""

    held = 0

    def probe(self, slot: int, now: float) -> tuple[int, float]:
        return self.held, 0.01

    def utilisation(self, slot: int, now: float) -> float:
        return 0.0

    def capacity(self, slot: int) -> float:
        return 150.0

    def truths(self, now: float) -> tuple[list[float], set[int]]:
        return [0.01] * 3, set()


def watched(fleet: Fleet | None = None) -> tuple[Watched, Witness]:
    """A real balancer, watched, under a first snapshot."""
    witness = Witness([8, 8, 8])

    def build(cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], of: Any) -> Any:
        return make(cluster, rng)

    made = witness.watching(Policy("adaptive", build)).build(CLUSTER, random.Random(1), (), fleet or Fleet())
    assert isinstance(made, Watched)
    made.apply(first_snapshot(TOPOLOGY, 0.0, version=1))
    return made, witness


def broken(witness: Witness) -> list[str]:
    return [v.invariant for v in witness.found]


def send(balancer: Watched, key: int, now: float = 0.0) -> Lane:
    lane = balancer.pick(now, True)
    assert lane is not None
    balancer.sent(lane, key, now)
    return lane


def test_a_balancer_that_keeps_its_promises_is_not_accused() -> None:
    balancer, witness = watched()
    rng = random.Random(3)
    under_way: list[tuple[Lane, int]] = []
    for key in range(500):
        now = key / 100
        under_way.append((send(balancer, key, now), key))
        while len(under_way) > 5:
            lane, old = under_way.pop(rng.randrange(len(under_way)))
            balancer.closed(lane, old, now, 0.03, 0)
    for lane, old in under_way:
        balancer.closed(lane, old, 5.0, None, 1)
    witness.finish(5.0)
    assert broken(witness) == []
    assert witness.sent == witness.closed == 500


def test_an_attempt_that_is_never_closed() -> None:
    balancer, witness = watched()
    send(balancer, 1)
    witness.finish(9.0)
    assert broken(witness) == ["one outcome an attempt", "counts in flight"]
    assert "never closed" in str(witness.found[0])


def test_an_attempt_that_is_closed_twice_or_sent_twice() -> None:
    balancer, witness = watched()
    lane = send(balancer, 1)
    balancer.closed(lane, 1, 0.1, 0.1, 0)
    balancer.closed(lane, 1, 0.1, 0.1, 0)
    assert broken(witness) == ["one outcome an attempt"]
    balancer.sent(lane, 2, 0.2)
    balancer.sent(lane, 2, 0.2)
    assert broken(witness)[1] == "one outcome an attempt"


def test_counts_in_flight_that_go_astray() -> None:
    balancer, witness = watched()
    lane = send(balancer, 1)
    lane.in_flight = -1
    balancer.closed(lane, 1, 0.1, 0.1, 0)
    assert broken(witness) == ["counts in flight"]
    balancer.share([0, -1, 0])
    assert broken(witness) == ["counts in flight"] * 2


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, float("nan")])
def test_a_propensity_that_is_no_probability(propensity: float) -> None:
    balancer, witness = watched()
    balancer.inner.pick = lambda *_: _lied(balancer, propensity=propensity)  # type: ignore[method-assign]
    balancer.pick(0.0, True)
    assert broken(witness) == ["propensities"]


def test_exploring_with_what_must_not_be_sent_twice() -> None:
    balancer, witness = watched()
    balancer.inner.pick = lambda *_: _lied(balancer, explored=True)  # type: ignore[method-assign]
    balancer.pick(0.0, True)
    assert broken(witness) == []
    balancer.pick(0.0, False)
    assert broken(witness) == ["exploring"]


def _lied(balancer: Watched, slot: int = 0, **says: object) -> Lane:
    for key, value in {"propensity": 1.0, "explored": False, **says}.items():
        setattr(balancer.inner, key, value)
    return balancer.lanes[slot]


def test_a_pick_of_one_who_is_out() -> None:
    balancer, witness = watched()
    first = first_snapshot(TOPOLOGY, 0.0, version=2)
    out = [int(Health.EJECTED), 0, 0]
    balancer.apply(dataclasses.replace(first, health=out))
    balancer.inner.pick = lambda *_: _lied(balancer)  # type: ignore[method-assign]
    balancer.pick(0.0, True)
    assert broken(witness) == ["nobody who is out"]
    panic = [ClusterEntry(True, True, 0.0, 0.0)]
    balancer.apply(dataclasses.replace(first, version=3, health=out, clusters=panic))
    balancer.pick(0.0, True)
    assert len(witness.found) == 1  # in panic health does not count


def test_nobody_picked_though_some_may_be_used() -> None:
    balancer, witness = watched()
    balancer.inner.pick = lambda *_: None  # type: ignore[method-assign]
    balancer.pick(0.0, True)
    assert broken(witness) == ["somebody serves"]


def test_the_same_one_again_though_others_are_left() -> None:
    balancer, witness = watched()
    balancer.inner.pick = lambda *_: _lied(balancer)  # type: ignore[method-assign]
    balancer.pick(0.0, True, (0,))
    assert broken(witness) == ["another one next time"]
    balancer.pick(0.0, True, (0, 1, 2))
    assert len(witness.found) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weight": [100, 0, 100]}, "weight of slot 1 is below 1"),
        ({"health": [int(Health.EJECTED)] * 3}, "nothing is left to serve"),
        ({"weight": [100]}, "columns of"),
        ({"version": 1}, "version 1 after 1"),
    ],
)
def test_a_snapshot_that_must_not_be_published(changes: dict[str, Any], said: str) -> None:
    balancer, witness = watched()
    wrong = dataclasses.replace(first_snapshot(TOPOLOGY, 0.0, version=2), **changes)
    try:
        balancer.apply(wrong)
    except IndexError:
        pass  # what the real balancer makes of it is its own affair
    assert broken(witness)[0] == "consistent snapshots"
    assert said in str(witness.found[0])


def test_a_queue_without_bounds() -> None:
    fleet = Fleet()
    balancer, witness = watched(fleet)
    fleet.held = 9
    for key in range(16):
        send(balancer, key)
    assert broken(witness) == ["bounded queues"]


def test_times_that_cannot_be() -> None:
    balancer, witness = watched()
    balancer.closed(send(balancer, 1), 1, 1.0, -0.5, 0)
    balancer.inner.patience = lambda *_: -1.0  # type: ignore[method-assign]
    balancer.patience(balancer.lanes[0], 0.0, True)
    assert broken(witness) == ["times", "times"]


# What is recorded.

SCENARIO = Scenario("x", tuple(Instance(f"h:{i}") for i in range(3)), rules=Rules(budget=(0.2, 1.0, 10.0)))


def rows(*wanted: dict[str, Any]) -> Any:
    """Attempts, each right but for what is wanted."""
    made = np.zeros(len(wanted), dtype=OUTCOME_DTYPE)
    for i, changes in enumerate(wanted):
        sent = float(changes.get("sent_at", 0.1 * i))
        usual = {
            "sent_at": sent, "first_byte": sent + 0.04, "done": sent + 0.05, "request": i, "attempt": 1,
            "propensity": 0.5, "status": 200, "cause": int(Cause.RESPONSE), "marks": REPEATABLE | FINAL,
        }  # fmt: skip
        for key, value in (usual | changes).items():
            made[i][key] = value
    return made


def again(cause: Cause, marks: int, **second: Any) -> Any:
    """A request whose first attempt ended so, and which was sent again."""
    first = {"request": 7, "cause": int(cause), "status": 0, "marks": marks, "sent_at": 1.0}
    return rows(first, {"request": 7, "attempt": 2, "sent_at": 1.1, "slot": 1, "marks": marks | FINAL, **second})


def accused(found: Any, made: int | None = None, scenario: Scenario = SCENARIO) -> list[str]:
    ordered = invariants.in_turn(found)
    return [v.invariant for v in invariants.attempts(ordered, len(found) if made is None else made, scenario)]


def test_attempts_as_they_should_be() -> None:
    assert accused(rows({}, {}, {"marks": FINAL})) == []
    assert accused(rows()) == []
    assert accused(again(Cause.TIMEOUT_ATTEMPT, REPEATABLE)) == []
    for untouched in (Cause.CONNECT_REFUSED, Cause.CONNECT_TIMEOUT, Cause.OVERFLOW):
        assert accused(again(untouched, 0)) == []


@pytest.mark.parametrize("cause", [Cause.TIMEOUT_ATTEMPT, Cause.RESET, Cause.RESPONSE, Cause.PROTOCOL_ERROR])
def test_a_post_sent_again_after_it_may_have_been_acted_on(cause: Cause) -> None:
    found = again(cause, 0)
    found["status"][0] = 503 if cause == Cause.RESPONSE else 0
    assert accused(found) == ["nothing twice that must not"]


@pytest.mark.parametrize(
    ("found", "made", "said"),
    [
        (rows({}, {}), 3, "one outcome an attempt"),
        (rows({"request": 1}, {"request": 1, "cause": 8, "sent_at": 9.0}), 2, "one outcome an attempt"),
        (rows({"attempt": 2}), 1, "one outcome an attempt"),
        (rows({"propensity": 0.0}), 1, "propensities"),
        (rows({"propensity": float("nan")}), 1, "propensities"),
        (rows({"marks": EXPLORED}), 1, "exploring"),
        (rows({"done": -1.0, "first_byte": float("nan")}), 1, "times"),
        (rows({"first_byte": 9.0}), 1, "times"),
        (rows({"slot": 3}), 1, "times"),
        (again(Cause.RESPONSE, REPEATABLE | FINAL), 2, "nothing after the answer"),
        (again(Cause.TIMEOUT_ATTEMPT, REPEATABLE, sent_at=1.01), 2, "one at a time"),
    ],
)
def test_attempts_that_must_not_be(found: Any, made: int, said: str) -> None:
    assert said in accused(found, made)


def test_more_retries_than_the_route_allows() -> None:
    chain = rows(
        *(
            {"request": 1, "attempt": k, "sent_at": float(k), "cause": int(Cause.CONNECT_REFUSED), "marks": REPEATABLE}
            for k in (1, 2, 3, 4)
        )
    )
    assert accused(chain) == ["bounded retries"]
    assert accused(chain, scenario=dataclasses.replace(SCENARIO, rules=Rules(retries=3))) == []


def causes(*wanted: Cause) -> Any:
    """One request's attempts, which ended so."""
    return rows(
        *(
            {"request": 1, "attempt": k + 1, "sent_at": float(k), "cause": int(c), "status": 0, "marks": REPEATABLE}
            for k, c in enumerate(wanted)
        )
    )


def test_a_kept_connection_that_was_closed_is_free_once_and_for_all_that_follow() -> None:
    stale, refused = Cause.RESET_IDLE, Cause.CONNECT_REFUSED
    for chain in ((stale, refused, refused, refused), (refused, stale, refused, refused)):
        assert accused(causes(*chain)) == []
    assert accused(causes(stale, refused, refused, refused, refused)) == ["bounded retries"]
    assert accused(causes(stale, stale, refused)) == ["bounded retries"]
    others = rows({"request": 0, "cause": int(stale), "status": 0})
    assert accused(np.concatenate([others, causes(refused, refused, refused, refused)])) == ["bounded retries"]


HEDGE = int(Mark.HEDGE) | REPEATABLE
CANCELLED = {"cause": int(Cause.CANCELLED), "status": 0, "marks": REPEATABLE}


def hedged(*wanted: dict[str, Any]) -> list[str]:
    """What is said of one request's attempts: 0.1 s each, the second a hedge sent in the middle of the first."""
    usual = [
        {"sent_at": 1.0, "done": 1.1},
        {"sent_at": 1.05, "done": 1.1, "marks": HEDGE},
        {"sent_at": 1.2, "done": 1.3},
    ]
    made = [
        {"request": 1, "attempt": k + 1, "first_byte": float("nan"), **CANCELLED, **usual[k], **changes}
        for k, changes in enumerate(wanted)
    ]
    return accused(rows(*made))


ANSWERED = {"cause": int(Cause.RESPONSE), "status": 200}


def test_a_second_copy_goes_out_beside_the_first_and_one_of_them_answers() -> None:
    assert hedged({**ANSWERED, "marks": REPEATABLE | FINAL}, {}) == []
    assert hedged({}, {**ANSWERED, "marks": HEDGE | FINAL}) == []
    timed_out = {"cause": int(Cause.TIMEOUT_ATTEMPT)}
    assert hedged({**timed_out, "done": 1.15}, timed_out, {**ANSWERED, "marks": REPEATABLE | FINAL}) == []


@pytest.mark.parametrize(
    ("attempts", "said"),
    [
        ([{"marks": 0}, {"marks": int(Mark.HEDGE)}], "nothing twice that must not"),
        ([{"done": 1.02}, {}], "one at a time"),
        ([{"done": 1.25}, {}, {}], "one at a time"),
        ([{**ANSWERED, "marks": REPEATABLE | FINAL}, {**ANSWERED, "marks": HEDGE | FINAL}], "nothing after the answer"),
        ([{**ANSWERED, "marks": REPEATABLE | FINAL}, {}, {}], "nothing after the answer"),
    ],
)
def test_second_copies_that_must_not_be(attempts: list[dict[str, Any]], said: str) -> None:
    assert said in hedged(*attempts)


def test_hedges_have_a_budget_of_their_own() -> None:
    """Ten requests and a tenth of a second at 3 % and one a second allow 1.4 hedges, and retries do not count."""

    def made(hedges: int) -> Any:
        first = [{"request": i, "sent_at": 0.05, "done": 0.2} for i in range(10)]
        second = [{"request": i, "attempt": 2, "sent_at": 0.1, "marks": HEDGE} for i in range(hedges)]
        return invariants.in_turn(rows(*first, *second))

    tight = dataclasses.replace(SCENARIO, rules=Rules(budget=(0.0, 0.0, 10.0)))
    assert invariants.budgets(made(1), tight) == []
    assert [v.invariant for v in invariants.budgets(made(2), tight)] == ["budgets"]


def test_a_budget_overdrawn_by_one() -> None:
    """Six requests and one second at a ratio of 0.2 and one a second allow 1.2 + 1 + 1 = 3.2 retries."""

    def chain(retries: int) -> Any:
        made: list[dict[str, Any]] = [{"request": i, "sent_at": 0.1, "cause": int(Cause.RESET)} for i in range(6)]
        made += [{"request": i, "attempt": 2, "sent_at": 1.0} for i in range(retries)]
        return invariants.in_turn(rows(*made))

    assert invariants.budgets(chain(3), SCENARIO) == []
    (violation,) = invariants.budgets(chain(4), SCENARIO)
    assert violation.invariant == "budgets"
    assert "4 retries of 6 requests, and 3.2 are allowed" in violation.detail


def a_run(latency: Sequence[float], due: Sequence[float]) -> Run:
    n = len(due)
    flags = np.zeros(n, dtype=bool)
    numbers = np.zeros(n, dtype=np.uint8)
    of = Requests(np.array(due), np.array(latency), flags, flags, numbers, numbers, numbers)
    return Run("x", "adaptive", 0, 0.0, 2.0, of, [], {})


@pytest.mark.parametrize(
    ("latency", "due", "said"),
    [
        ([0.1, 2.0], [0.0, 1.0], []),
        ([0.1, 2.1], [0.0, 1.0], ["every request is answered"]),
        ([0.1, float("nan")], [0.0, 1.0], ["every request is answered"]),
        ([-0.1, 0.1], [0.0, 1.0], ["every request is answered"]),
        ([0.1, 0.1], [1.0, 0.0], ["times"]),
    ],
)
def test_requests_without_an_answer(latency: list[float], due: list[float], said: list[str]) -> None:
    assert [v.invariant for v in invariants.of_run(a_run(latency, due), SCENARIO)] == said


def test_only_the_first_violations_are_kept() -> None:
    balancer, witness = watched()
    balancer.inner.pick = lambda *_: None  # type: ignore[method-assign]
    for _ in range(100):
        balancer.pick(0.0, True)
    assert len(witness.found) == 20
