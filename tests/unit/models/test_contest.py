"""A challenger is promoted for being better over enough episodes and nothing less; a champion is held to the rule."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from models.contest import LEAST_EPISODES, Account, Contest, Verdict
from models.features import COUNT, SCHEMA
from models.labels import Batch
from models.predictor import Pair, Silent

ROWS = 10


class Says(Silent):
    """Says the first feature, which the test sets to what is to be said."""

    def __init__(self, right: float) -> None:
        super().__init__(SCHEMA)
        self.right = right

    def predict(self, features: np.ndarray) -> np.ndarray:
        return np.where(features[:, 0] > 0.5, self.right, 1 - self.right)


def batch(rng: np.random.Generator, breach: bool, champion: float, rule: float) -> Batch:
    """Ten endpoints, the first of which breaches; who is `right` says so with that probability."""
    labels = np.zeros(ROWS)
    labels[0] = float(breach)
    features = np.zeros((ROWS, COUNT))
    features[:, 0] = labels

    def said(right: float) -> np.ndarray:
        noise = np.exp(rng.normal(0, 0.05, ROWS))
        return np.clip(np.where(labels > 0.5, right, (1 - right) * noise), 0.001, 0.999)

    return Batch(np.arange(ROWS), features, labels, np.ones(ROWS), said(rule), said(champion), 0.0)


def play(
    contest: Contest, champion: float, rule: float, episodes: int = 30, seed: int = 1
) -> tuple[list[Verdict], int]:
    """Minutes of which ten seconds have a breach; the verdicts, and the episodes until the first."""
    rng = np.random.default_rng(seed)
    found: list[Verdict] = []
    for step in range(episodes * 60):
        verdict = contest.take(float(step), [batch(rng, step % 60 < 10, champion, rule)])
        if verdict is not None:
            return [verdict], step // 60
    return found, episodes


def contest(challenger: float) -> Contest:
    made = Contest()
    made.challenge("new", Pair(Says(challenger), Silent(SCHEMA)), "trained tonight")
    return made


def test_a_better_challenger_is_promoted_once_enough_episodes_were_seen() -> None:
    made = contest(0.95)
    (verdict,), after = play(made, champion=0.7, rule=0.7)
    assert verdict.deed == "promoted" and verdict.version == "new"
    assert "better than the champion by +" in verdict.reason and "over 8 episodes" in verdict.reason
    assert after == LEAST_EPISODES - 1


def test_a_worse_challenger_is_dismissed() -> None:
    (verdict,), _ = play(contest(0.6), champion=0.9, rule=0.7)
    assert verdict.deed == "dismissed" and "worse than the champion" in verdict.reason


@pytest.mark.parametrize("seed", range(3))
def test_one_that_is_only_as_good_stays_in_shadow(seed: int) -> None:
    assert play(contest(0.9), champion=0.9, rule=0.7, seed=seed)[0] == []


def test_a_champion_below_the_rule_is_rolled_back_and_the_default_model_never() -> None:
    made = Contest()
    made.crown("bad", "promoted by hand")
    (verdict,), _ = play(made, champion=0.6, rule=0.9)
    assert (verdict.deed, verdict.version) == ("rolled back", "bad")
    assert "worse than the model-free rule" in verdict.reason
    assert play(Contest(), champion=0.6, rule=0.9)[0] == []


def test_calm_alone_promotes_nobody() -> None:
    made = contest(0.99)
    rng = np.random.default_rng(0)
    for step in range(4000):
        assert made.take(float(step), [batch(rng, False, 0.6, 0.6)]) is None
    assert made.report()["beside_the_champion"] == f"0 of {LEAST_EPISODES} episodes seen"


def test_one_lucky_episode_among_many_is_no_advantage() -> None:
    account = Account()
    account.episodes = [0.0] * 20 + [3.0]
    mean, low, high = account.bounds()
    assert low < 0 < mean < high


def test_a_new_champion_begins_with_a_clean_account() -> None:
    made = Contest()
    made.crown("one", "")
    made.above.episodes = [-1.0] * 20
    made.crown("two", "newer")
    assert made.above.episodes == [] and cast(str, made.report()["champion"]) == "two"
