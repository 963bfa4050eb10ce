"""The features say nothing in calm, and point at the endpoint that differs."""

from __future__ import annotations

import numpy as np

from adaptive.stats import Stats
from models.columns import Floats, Peers
from models.features import CLIP, COUNT, NAMES, SCHEMA, build
from models.past import Past
from tests.simulation.toy import rows

AT = 1000.0
ERRORS = np.full(5, 0.05)


def features(latency: Floats, failed: Floats, attempts: int = 100) -> Floats:
    """Features of five endpoints with the given latencies and failure shares."""
    s = Stats(5, np.ones(5, dtype=bool), AT - 60)
    made = rows(5 * attempts)
    made["slot"] = np.repeat(np.arange(5), attempts)
    made["done"] = AT - 0.3
    made["sent_at"] = made["done"] - latency[made["slot"]]
    made["first_byte"] = made["done"]
    made["status"] = np.where(np.tile(np.arange(attempts), 5) < failed[made["slot"]] * attempts, 500, 200)
    s.fold(made, AT)
    seen, peers = s.observed(AT), Peers(np.zeros(5, dtype=np.int64), 1)
    past = Past(5)
    return build(seen, past.update(seen, peers, (np.zeros(5),) * 5), peers, ERRORS)


def test_endpoints_that_do_as_their_peers_do_have_features_near_zero() -> None:
    found = features(np.full(5, 0.04), np.full(5, 0.05))
    assert found.shape == (5, COUNT)
    some = [i for i, name in enumerate(NAMES) if name not in ("youth", "silence")]
    assert np.abs(found[:, some]).max() < 0.5


def test_load_that_slows_everyone_down_moves_no_feature() -> None:
    np.testing.assert_allclose(
        features(np.full(5, 0.04), np.zeros(5)), features(np.full(5, 0.12), np.zeros(5)), atol=0.01
    )


def test_the_slow_one_stands_out() -> None:
    found = features(np.array([0.12, 0.04, 0.04, 0.04, 0.04]), np.zeros(5))[:, NAMES.index("latency_peers_5s")]
    assert found[0] > 1.5
    assert np.abs(found[1:]).max() < 0.3


def test_the_failing_one_stands_out_and_stays_within_the_clip() -> None:
    found = features(np.full(5, 0.04), np.array([1.0, 0, 0, 0, 0]))
    column = found[:, NAMES.index("failures_5s")]
    assert column[0] == CLIP
    assert column[1:].max() <= 0


def test_an_endpoint_with_too_little_to_go_by_has_no_features() -> None:
    assert np.isnan(features(np.full(5, 0.04), np.zeros(5), attempts=4)).all()


def test_names_are_unique_and_the_schema_has_an_id() -> None:
    assert len(set(NAMES)) == COUNT
    assert len(SCHEMA) == 12
