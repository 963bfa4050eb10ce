"""How long Envoy waits for a slow attempt before it sends a second one follows how slow all are."""

from __future__ import annotations

from dataclasses import replace

import yaml

from adaptive.config.load import parse
from adaptive.envoy.patience import FACTOR, LESS_EVERY, MORE_EVERY, Patience
from adaptive.types import ClusterEntry, Snapshot

CONFIG = parse(
    yaml.safe_dump(
        {
            "listen": ["127.0.0.1:8080"],
            "clusters": {
                "one": {"endpoints": ["127.0.0.1:1"]},
                "plain": {"endpoints": ["127.0.0.1:2"], "hedging": False},
            },
            "routes": [{"name": "r", "cluster": "one"}, {"name": "s", "prefix": "/s", "cluster": "plain"}],
        }
    )
)
FIRST = Snapshot(1, 0.0, 1, [1, 1], [0, 0], [0.0] * 2, [0] * 2, [0.0] * 2, [0.0] * 2, ())


def at_typical(seconds: float) -> Snapshot:
    return replace(FIRST, clusters=[ClusterEntry(False, False, 0.0, seconds)] * 2)


def patient(seconds: float, now: float) -> Patience:
    made = Patience()
    assert made.follow(CONFIG, at_typical(seconds), now)
    return made


def test_it_is_a_multiple_of_the_typical_latency_and_only_where_second_copies_are_wanted() -> None:
    assert patient(0.04, 0.0).seconds == {"r": FACTOR * 0.04}


def test_nothing_is_known_before_anything_was_answered() -> None:
    assert not Patience().follow(CONFIG, at_typical(0.0), 0.0)


def test_a_fleet_that_slows_down_is_given_more_at_once_for_second_copies_would_make_it_worse() -> None:
    made = patient(0.04, 0.0)
    assert not made.follow(CONFIG, at_typical(0.07), 0.9 * MORE_EVERY), "not with every Snapshot either"
    assert made.follow(CONFIG, at_typical(0.07), MORE_EVERY)
    assert made.follow(CONFIG, at_typical(0.2), 2 * MORE_EVERY)
    assert made.seconds == {"r": FACTOR * 0.2}


def test_less_can_wait() -> None:
    made = patient(0.2, 0.0)
    assert not made.follow(CONFIG, at_typical(0.04), 0.9 * LESS_EVERY)
    assert made.follow(CONFIG, at_typical(0.04), LESS_EVERY)


def test_a_small_change_changes_nothing() -> None:
    made = patient(0.04, 0.0)
    assert not made.follow(CONFIG, at_typical(0.05), 2 * LESS_EVERY)
