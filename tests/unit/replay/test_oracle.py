"""The oracle foresees what counts can show, and nothing by what it has not been told yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.features import COUNT
from replay import oracle
from replay.asking import EVERY, Table
from replay.episodes import Episode, fleet
from replay.foretelling import LEAD, breached

LATER = 4  # looks within the short horizon
WRONG = 2  # false alarms that the oracle may raise


def usual_share(seed: int) -> float:
    """How often healthy endpoints of this fleet fail; the oracle is told, and believes it."""
    faults = fleet("creeping", seed, True).instances[0].faults
    return max([f.values["p"] for f in faults if f.kind == "errors"], default=0.0)


# Fleets that always fail a little: where nothing ever fails, a single failure says all.
SEEDS = [seed for seed in range(1000, 1040) if usual_share(seed) > 0.0][:8]


def made(seed: int, each: int) -> Episode:
    """A fleet whose errors creep as its scenario says, with `each` attempts a look at every endpoint."""
    rng = np.random.default_rng([seed, each])
    scenario = fleet("creeping", seed, True)
    troubles, n, looks = scenario.notes["troubles"], len(scenario.instances), round(scenario.seconds / EVERY)
    at = EVERY * (1 + np.arange(looks))
    usual = usual_share(seed)
    share = np.full((looks, n), usual)
    for trouble in troubles:
        ramp = next(f for f in scenario.instances[trouble.slot].faults if f.kind == "ramp_errors")
        part = (at - ramp.start) / (ramp.end - ramp.start)
        share[:, trouble.slot] = np.where((part > 0) & (part < 1), np.maximum(usual, ramp.values["p"] * part), usual)
    failures = rng.binomial(each, share)
    counted = np.stack([np.full((looks, n), each).cumsum(axis=0), failures.cumsum(axis=0)], axis=1).astype(float)
    soon = np.zeros((looks, n))
    for look in range(looks):
        then = slice(look, look + LATER)
        soon[look] = failures[then].sum(axis=0) > 0.05 * each * LATER + 1.64 * np.sqrt(0.0475 * each * LATER) + 1
    ahead = np.array([soon[look : look + 60].max(axis=0) for look in range(looks)])
    rows = looks * n
    one, none = np.ones(rows), np.zeros(rows)
    # A model that foresees every breach.
    said = np.where(ahead.reshape(-1) == 1, 0.95, 0.0)
    table = Table(
        np.repeat(at, n), np.tile(np.arange(n, dtype=float), looks), np.zeros((rows, COUNT), dtype=np.float32), none,
        np.column_stack([said, said]), none > 0, soon.reshape(-1), one, ahead.reshape(-1), one,
    )  # fmt: skip
    return Episode("creeping", seed, troubles, table, counted, (), (), 0, (0, 0), rows * each, 1.0)


def test_many_attempts_show_what_few_do_not() -> None:
    many, few = (oracle.foreseen([made(seed, each) for seed in SEEDS], WRONG) for each in (200, 1))
    assert many[0] >= 0.75 * many[1]
    assert few[0] < 0.75 * few[1]


def test_what_comes_later_changes_nothing_that_was_said() -> None:
    e = made(SEEDS[0], 50)
    cut = len(e.counted) // 2
    forged = e.counted.copy()
    forged[cut:, 1] += 1000.0
    before = e.asked.at < EVERY * cut
    said = oracle.probabilities(e, True)[before]
    assert (oracle.probabilities(replace(e, counted=forged), True)[before] == said).all()
    assert said.max() > 0.5


def test_without_creeping_errors_there_is_nothing_to_foresee() -> None:
    assert oracle.foreseen([], WRONG) == (0, 0)


def test_whoever_may_be_wrong_oftener_foresees_no_less() -> None:
    fleets = [made(seed, 20) for seed in SEEDS[:4]]
    found = [oracle.foreseen(fleets, wrong)[0] for wrong in (0, 1, 4, 16)]
    assert found == sorted(found)


def test_no_more_can_be_foreseen_than_the_oracle_does_and_than_there_was_time_for() -> None:
    creeping = [made(seed, 1) for seed in SEEDS]
    most, count = oracle.bound(creeping)
    assert most == oracle.foreseen(creeping, count // 9)[0] < count
    # The same breaches, had they come of leaks: what there was time for.
    leaks = [replace(e, kind="leak", troubles=[replace(t, kind="leak") for t in e.troubles]) for e in creeping]
    after = [breached(e, trouble) - trouble.start for e in creeping for trouble in e.troubles]
    assert oracle.bound(leaks) == (sum(seconds >= LEAD for seconds in after), count)
