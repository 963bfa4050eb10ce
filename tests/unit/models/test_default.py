"""The model that ships can be used, says sensible things, and is replaced where it cannot be used."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import default
from models.combined import Combined
from models.features import COUNT, FEATURES, NAMES, SCHEMA
from models.online import OnlinePredictor
from models.predictor import AHEAD
from models.saved import StoreError


def row(**values: float) -> np.ndarray:
    """Features of one endpoint, in their own units."""
    made = np.zeros((1, COUNT))
    for name, value in values.items():
        made[0, NAMES.index(name)] = np.clip(value / FEATURES[NAMES.index(name)].scale, -6, 6)
    return made


def test_it_was_made_for_these_features_and_knows_how_it_was_made() -> None:
    saved = default._saved(default.SHIPPED)
    assert saved.manifest.schema == SCHEMA
    assert "adaptive bench teach" in saved.manifest.command
    assert re.fullmatch("[0-9a-f]{40}", saved.manifest.meta["commit"])  # of a clean checkout
    assert sum(f.stat().st_size for f in default.SHIPPED.rglob("*") if f.is_file()) < 300_000


def test_it_foresees_in_its_first_second() -> None:
    soon, ahead = default.shipped()
    assert isinstance(soon, Combined)
    assert isinstance(ahead, Combined)
    assert ahead.horizon == AHEAD
    calm = row()
    failing = row(failures_1s=0.5, failures_5s=0.5, failures_30s=0.2, failures_peers=0.5, streak=3, failure_nats=40,
                  failing=3.0, failing_rise=1.5)  # fmt: skip
    assert soon.predict(calm)[0] < 0.02
    assert ahead.predict(calm)[0] < 0.1
    assert not soon.predict(failing)[0] < 0.5
    assert soon.odds(failing)[0] > soon.odds(calm)[0] + 3


def test_each_caller_has_one_of_its_own() -> None:
    one, other = default.shipped(), default.shipped()
    before = other.soon.predict(row(failures_1s=0.3))
    for _ in range(20):
        one.soon.learn(row(failures_1s=0.3), np.ones(1), np.ones(1))
    np.testing.assert_array_equal(other.soon.predict(row(failures_1s=0.3)), before)


def test_a_corrupted_one_is_refused_and_an_untaught_one_serves(tmp_path: Path) -> None:
    folder = tmp_path / "shipped"
    shutil.copytree(default.SHIPPED, folder)
    arrays = next(folder.rglob("arrays.npz"))
    data = bytearray(arrays.read_bytes())
    data[len(data) // 2] ^= 1
    arrays.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="corrupted"):
        default.shipped(folder=folder)
    assert isinstance(default.pair(folder=folder).soon, OnlinePredictor)


def test_one_of_another_schema_is_refused(tmp_path: Path) -> None:
    from models.saved import read, write

    saved = default._saved(default.SHIPPED)
    meta = json.loads(json.dumps(saved.manifest.meta))
    meta["soon"]["schema"] = "other"
    from dataclasses import replace

    write(tmp_path, replace(saved.manifest, meta=meta, files={}), saved.arrays)
    assert read(next(tmp_path.iterdir())).manifest.meta["soon"]["schema"] == "other"
    with pytest.raises(ValueError, match="feature schema other"):
        default.shipped(folder=tmp_path)


def test_without_any_an_untaught_one_serves(tmp_path: Path) -> None:
    assert isinstance(default.pair(folder=tmp_path / "none").soon, OnlinePredictor)
