"""Reading a median off counts by upper bound."""

from __future__ import annotations

import math

from adaptive.bench.acks import Acks


def test_a_share_is_within_the_bound_that_so_many_keep() -> None:
    acks = Acks((0.005, 0.01, 0.25), (1, 5, 3, 1))
    assert [acks.within(share) for share in (0.1, 0.5, 0.6, 0.7, 0.95)] == [0.005, 0.01, 0.01, 0.25, math.inf]


def test_it_says_how_many_it_is_of() -> None:
    said = str(Acks((0.005, 0.01), (8, 12, 0)))
    assert said == "from a decision to Envoy's ACK: half within 10 ms, 95 % within 10 ms (20 pushes)"
