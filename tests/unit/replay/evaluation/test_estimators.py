"""Off-policy estimators beside closed forms, full enumeration and a slow reference of their formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation import estimators
from replay.evaluation.estimators import Logged, Regression, effective
from replay.evaluation.intervals import Resampling, block_ids


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


def draw(blocks: int = 20) -> Resampling:
    return Resampling(blocks, rng(99), 200)


MU, PI, MEAN = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6]), np.array([0.1, 0.5, 0.9])


def bandit(n: int, seed: int, q: np.ndarray | None = None) -> Logged:
    """Three picks with known probabilities and chances of a reward; its value under the target is 0.7."""
    chance = rng(seed)
    pick = chance.choice(3, n, p=MU)
    reward = (chance.random(n) < MEAN[pick]).astype(float)
    ids = block_ids(np.arange(float(n)), n / 20)
    told = {} if q is None else {"q_logged": q[pick], "q_target": np.full(n, float(PI @ q))}
    return Logged(reward, MU[pick], PI[pick], ids, **told)


@pytest.mark.parametrize("name", ["ips", "snips", "dr", "switch"])
def test_an_estimator_finds_the_value_of_a_closed_form(name: str) -> None:
    found = estimators.every(bandit(50_000, 1, MEAN + 0.05), draw())[name]
    # The standard error is its own oracle here: over many seeds four of them fail once in 16,000 times.
    assert abs(found.value - PI @ MEAN) < 4.0 * found.error
    assert found.interval.low < PI @ MEAN < found.interval.high


def test_standard_errors_are_the_spread_over_many_logs() -> None:
    logs = [estimators.every(bandit(400, seed, MEAN), draw()) for seed in range(300)]
    for name in ("ips", "snips", "dr"):
        values = np.array([one[name].value for one in logs])
        told = np.mean([one[name].error for one in logs])
        assert told == pytest.approx(values.std(), rel=0.15)  # 300 logs know a spread within 4 %


def test_ips_is_unbiased_by_enumeration_of_all_logs() -> None:
    """Three decisions of two picks each, rewards fixed by the pick: all 8 logs, weighted by how likely each is."""
    mu, pi, reward = np.array([0.8, 0.2]), np.array([0.3, 0.7]), np.array([1.0, 4.0])
    mean = dr = 0.0
    wrong = np.array([3.0, -1.0])
    for picks in itertools.product((0, 1), repeat=3):
        at = np.array(picks)
        log = Logged(reward[at], mu[at], pi[at], np.zeros(3, int), wrong[at], np.full(3, float(pi @ wrong)))
        mean += float(mu[at].prod()) * estimators.ips(log, draw(1)).value
        dr += float(mu[at].prod()) * estimators.dr(log, draw(1)).value
    assert mean == pytest.approx(float(pi @ reward))
    assert dr == pytest.approx(float(pi @ reward))  # however wrong the regression is


@given(st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(-10, 10)), min_size=2, max_size=40))
def test_the_logging_policy_itself_is_judged_by_its_plain_mean(rows: list[tuple[float, float]]) -> None:
    propensity, reward = (np.array(column) for column in zip(*rows, strict=True))
    log = Logged(reward, propensity, propensity, np.zeros(len(rows), int))
    assert estimators.snips(log, draw(1)).value == pytest.approx(reward.mean())
    assert estimators.ips(log, draw(1)).effective == pytest.approx(len(rows))


def test_dr_with_the_exact_regression_has_no_error_where_rewards_have_no_noise() -> None:
    pick = rng(2).choice(3, 200, p=MU)
    log = Logged(MEAN[pick], MU[pick], PI[pick], np.arange(200) % 20, MEAN[pick], np.full(200, float(PI @ MEAN)))
    found = estimators.dr(log, draw())
    assert found.value == pytest.approx(float(PI @ MEAN), abs=1e-12)
    assert found.error < 1e-12


def test_the_estimators_follow_their_formulas_row_by_row() -> None:
    log = bandit(300, 3, np.array([0.2, 0.4, 0.6]))
    assert log.q_logged is not None
    assert log.q_target is not None
    sums = {"ips": 0.0, "dr": 0.0, "dm": 0.0, "switch": 0.0}
    weighted = total = 0.0
    for i in range(300):
        w = log.target[i] / log.propensity[i]
        rest = log.reward[i] - log.q_logged[i]
        sums["ips"] += w * log.reward[i]
        sums["dm"] += log.q_target[i]
        sums["dr"] += log.q_target[i] + w * rest
        sums["switch"] += log.q_target[i] + (w * rest if w <= 2.0 else 0.0)
        weighted, total = weighted + w * log.reward[i], total + w
    found = {**estimators.every(log, draw()), "switch": estimators.switch(log, draw(), 2.0)}
    assert found["snips"].value == pytest.approx(weighted / total)
    for name, value in sums.items():
        assert found[name].value == pytest.approx(value / 300)


def test_vowpal_wabbits_own_estimators_agree() -> None:
    ips, snips = (pytest.importorskip(f"estimators.bandits.{name}") for name in ("ips", "snips"))
    log = bandit(500, 4)
    theirs = {"ips": ips.Estimator(), "snips": snips.Estimator()}
    for p, r, t in zip(log.propensity, log.reward, log.target, strict=True):
        for one in theirs.values():
            one.add_example(p, r, t)
    ours = estimators.every(log, draw())
    assert {name: ours[name].value for name in theirs} == {n: pytest.approx(e.get()) for n, e in theirs.items()}


def test_clipping_says_what_it_took_away() -> None:
    log = bandit(5000, 5)
    found = estimators.ips(log, draw(), clip=2.0)
    assert found.clipped == pytest.approx(1.0 - np.minimum(log.weights(), 2.0).sum() / log.weights().sum())
    assert found.clipped > 0.3
    assert found.effective > estimators.ips(log, draw()).effective


def test_effective_sample_size_of_weights_that_are_all_zero_is_zero() -> None:
    assert effective(np.zeros(5)) == 0.0


def test_a_quantile_under_the_target_is_that_of_the_target() -> None:
    """Logged evenly over two instances of different latency; the target uses only the slow one."""
    chance = rng(6)
    pick = chance.integers(2, size=40_000)
    latency = chance.exponential(1.0 + pick)
    log = Logged(latency, np.full(40_000, 0.5), pick.astype(float), block_ids(np.arange(40_000.0), 1000.0))
    found = estimators.quantile(log, 0.99, Resampling(40, rng(7)))
    assert found.interval.low < -2.0 * np.log(0.01) < found.interval.high
    assert found.effective == pytest.approx(pick.sum())


def test_the_regression_learns_what_each_instance_does_with_its_load() -> None:
    chance = rng(8)
    load = chance.integers(0, 8, (4000, 2)).astype(float)
    pick = chance.integers(2, size=4000)
    truth = np.stack([1.0 + load[:, 0], 3.0 + 0.5 * load[:, 1]], axis=1)
    reward = truth[np.arange(4000), pick] + 0.1 * chance.normal(size=4000)
    found = Regression(load[:, :, None], pick, reward, np.arange(4000) // 100)
    assert np.abs(found.q - truth).max() < 0.15  # pulled by 50 of some 1,600 decisions towards a mean 0.7 away at most


def test_the_regression_predicts_no_decision_from_itself() -> None:
    """Rewards of pure noise: a fit that saw them would be correlated with them."""
    chance = rng(9)
    features, pick = chance.normal(size=(300, 2, 8)), chance.integers(2, size=300)
    reward = chance.normal(size=300)
    q = Regression(features, pick, reward, np.arange(300) // 10, pull=0.0).q[np.arange(300), pick]
    assert np.corrcoef(q, reward)[0, 1] < 0.15  # 2.6 standard errors; seen rewards give 0.24
