"""What a forecast says to an operator."""

from __future__ import annotations

from math import log

import pytest

from adaptive.policy.forecast import PHRASES
from models.features import NAMES


def test_every_feature_can_be_put_into_words() -> None:
    assert set(PHRASES) == set(NAMES)
    for name, phrase in PHRASES.items():
        for value in (-0.4, 0.0, 2.0):
            assert len(phrase(value)) > 15 and "{" not in phrase(value), name


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("level", log(1.9), "latency for its load 1.9 times its peers', by the line through its last 25 s"),
        ("tail_rise", log(1.25), "p95 latency beside its peers' grows by 25% in 10 s"),
        ("rise", log(0.9), "latency for its load, beside its peers', falls by 10% in 10 s"),
        ("failures_1s", -0.01, "failures of the last second 1.0% below the objective"),
        ("connect_5s", 0.25, "25% of its attempts got no connection in 5 s"),
        ("streak", 3.0, "3 failures since its last success"),
    ],
)
def test_logarithms_and_shares_are_told_as_people_say_them(name: str, value: float, words: str) -> None:
    assert PHRASES[name](value) == words


def test_the_pooled_failure_line_is_told_as_a_share() -> None:
    told = PHRASES["failing"](1.0)  # 2 % · sinh 1
    assert told == "failures 2.4% above its peers', by the line through its last 25 s"
