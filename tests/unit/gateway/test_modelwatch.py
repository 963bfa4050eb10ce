"""The watch tells what the store's names have come to stand for, refuses what cannot be used, and notes decisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptive.controller import Controller
from adaptive.gateway.modelwatch import ModelWatch
from adaptive.model_events import ModelChanged, ModelMoved
from adaptive.telemetry import events
from adaptive.types import Tick, Topology
from models.calibration import Calibration
from models.combined import Combined, to_arrays
from models.features import COUNT, SCHEMA
from models.online import OnlinePredictor
from models.predictor import Pair
from models.saved import ARRAYS, Manifest
from models.store import Store
from models.trees import Trees


def combined(slope: float) -> Combined:
    leaf = np.array([0])
    trees = Trees(0.0, leaf, leaf, np.zeros(1), leaf, np.zeros(1))
    line = OnlinePredictor(0, np.full(COUNT, slope), -3.0)
    flat = Calibration(np.array([-9.0, 9.0]), *(np.array([0.1, 0.9]) for _ in range(3)))
    return Combined(trees, line, np.array([0.0, 0.0, 1.0]), flat, 2.0, np.ones((2, 3)))


def save(store: Store, slope: float) -> str:
    arrays, meta = to_arrays(Pair(combined(slope), combined(slope)))
    return store.save(Manifest("pair", SCHEMA, 1.0 + slope, meta=meta), arrays)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_promotion_becomes_one_event_and_nothing_new_none(store: Store) -> None:
    watch = ModelWatch(store.directory)
    assert watch.poll() == []
    name = save(store, 0.1)
    assert watch.poll() == []
    store.promote(name, "champion", "by hand", 1.0)
    (event,) = watch.poll()
    assert (event.role, event.version, event.reason) == ("champion", name, "by hand")
    assert watch.poll() == []
    store.rollback("worse", 2.0)
    assert [(e.role, e.version) for e in watch.poll()] == [("champion", "")]


def test_a_corrupted_champion_is_refused_and_the_last_good_one_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = save(store, 0.1), save(store, 0.2)
    store.promote(good, "champion", "first", 1.0)
    store.promote(bad, "champion", "second", 2.0)
    (store.directory / "versions" / bad / ARRAYS).write_bytes(b"nonsense")
    watch = ModelWatch(store.directory)
    (event,) = watch.poll()
    assert (event.version, event.reason) == (good, "the last good one")
    assert watch.refused == 1 and f"model {bad} refused" in caplog.text and "SHA-256" in caplog.text


def test_a_model_for_other_features_leaves_what_serves_in_place(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    arrays, meta = to_arrays(Pair(combined(0.1), combined(0.1)))
    other = {**meta, **{part: {**meta[part], "schema": "old"} for part in ("soon", "ahead")}}
    name = store.save(Manifest("pair", "old", 1.0, meta=other), arrays)
    watch = ModelWatch(store.directory)
    store.promote(name, "challenger", "", 1.0)
    assert watch.poll() == []
    assert "made for feature schema old" in caplog.text


def test_the_controller_takes_it_over_and_a_log_of_it_gives_the_same_again(store: Store) -> None:
    store.promote(save(store, 0.3), "champion", "by hand", 1.0)
    (event,) = ModelWatch(store.directory).poll()
    controller = Controller(Topology(1, (), 0))
    (moved,) = [c for c in controller.handle(event) if isinstance(c, ModelMoved)]
    assert (moved.deed, moved.version) == ("serves", event.version)
    assert controller.handle(event) == []  # it serves already
    assert controller.report()["model"]["versions"]["champion"] == event.version
    assert controller.learner is not None
    np.testing.assert_array_equal(controller.learner.soon.predictor.linear.coefficients, np.full(COUNT, 0.3))  # type: ignore[attr-defined]
    kind, value = events._decoder.decode(events.record(event))
    again = events.made(kind, value)
    assert isinstance(again, ModelChanged)
    np.testing.assert_array_equal(again.arrays, event.arrays)
    controller.handle(Tick(event.at + 1))


def test_arrays_that_cannot_be_used_leave_the_model_as_it_is() -> None:
    controller = Controller(Topology(1, (), 0))
    before = controller.learner.predictor if controller.learner else None
    told = ModelChanged(1.0, "champion", "bad", "{}", np.frombuffer(b"nonsense", dtype=np.uint8), "by hand")
    (moved,) = controller.handle(told)
    assert isinstance(moved, ModelMoved) and moved.deed == "refused"
    assert controller.learner is not None and controller.learner.predictor is before


def test_what_was_decided_live_is_noted_in_the_store_and_not_told_again(store: Store) -> None:
    one, two = save(store, 0.1), save(store, 0.2)
    store.promote(one, "champion", "first", 1.0)
    store.promote(two, "challenger", "tonight", 1.0)
    watch = ModelWatch(store.directory)
    assert {e.version for e in watch.poll()} == {one, two}
    watch.carry_out(ModelMoved(5.0, "promoted", two, "better", True))
    assert store.resolve("champion") == two and store.named("challenger") is None
    assert watch.poll() == []
    watch.carry_out(ModelMoved(6.0, "rolled back", two, "worse than the rule", True))
    assert store.resolve("champion") == one
    assert [(e.role, e.version) for e in watch.poll()] == [("champion", one)]
