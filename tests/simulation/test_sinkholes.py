"""Instances that fail at once look idle, and draw the traffic of a balancer that counts attempts in flight alone."""

from __future__ import annotations

from replay.sweep.cells import Cell, Stock
from replay.sweep.measure import measure

INSTANCES = 20  # of which a tenth fails


def failed(policy: str, seed: int) -> float:
    return float(
        measure(Cell("s3_sinkhole", policy, seed, INSTANCES, 0.7, Stock(held_out=True, seconds=15.0)))["failed"]
    )


def test_of_what_fails_when_two_of_twenty_fail_fast_nineteen_in_twenty_are_avoided() -> None:
    """Three seconds: two runs a seed, of twenty thousand requests each."""
    for seed in (0, 1):
        assert failed("adaptive", seed) <= 0.05 * failed("least_request", seed)
