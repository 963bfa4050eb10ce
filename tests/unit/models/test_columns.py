"""Medians over peers, against the plain way of computing them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Peers

numbers = st.one_of(st.just(float("nan")), st.floats(-10, 10))


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(-1, 3), numbers), min_size=1, max_size=24))
def test_medians_are_those_of_numpy(column: list[tuple[int, float]]) -> None:
    cluster = np.array([c for c, _ in column], dtype=np.int64)
    values = np.array([v for _, v in column])
    peers = Peers(cluster, 4)
    medians, others = peers.median(values), peers.others(values)
    for c in range(4):
        known = values[(cluster == c) & ~np.isnan(values)]
        expected = np.median(known) if len(known) else np.nan
        np.testing.assert_allclose(medians[c], expected)
    for i in range(len(values)):
        mask = (cluster == cluster[i]) & ~np.isnan(values)
        mask[i] = False
        expected = np.median(values[mask]) if mask.any() and cluster[i] >= 0 else np.nan
        np.testing.assert_allclose(others[i], expected)


def test_in_a_cluster_of_two_each_is_measured_by_the_other() -> None:
    others = Peers(np.zeros(2, dtype=np.int64), 1).others(np.array([1.0, 9.0]))
    assert others.tolist() == [9.0, 1.0]
