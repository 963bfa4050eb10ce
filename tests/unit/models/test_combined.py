"""The predictor that serves: calibrated where it was not fitted, honest in its interval, the same from its arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models import combined, default
from models.columns import Floats
from models.combined import UNSURE, Combined
from models.features import COUNT, NAMES
from models.fitting import FEW, FREE, NotFitted, Rows, fit
from models.trees import Trees
from tests.unit.models.made import fitted, pair, world


def test_what_it_says_happens_as_often_in_a_world_it_has_not_seen() -> None:
    model, new = fitted(), world(seed=7)
    said = model.predict(new.features)
    known = ~np.isnan(said)
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.0)):
        mine = known & (said >= low) & (said < high)
        assert said[mine].mean() == pytest.approx(new.labels[mine].mean(), abs=0.08)


def test_its_interval_holds_what_happens() -> None:
    model, new = fitted(), world(seed=8)
    _, low, high = model.predict_between(new.features)
    order = np.argsort(low + high)
    groups = np.array_split(order, 20)
    inside = [low[g].mean() - 0.02 <= new.labels[g].mean() <= high[g].mean() + 0.02 for g in groups]
    assert sum(inside) >= 17


def test_it_abstains_where_the_interval_is_wide() -> None:
    made = pair().soon
    assert isinstance(made, Combined)
    calm = np.zeros((1, COUNT))
    assert np.isfinite(made.predict(calm))[0]
    wide = made.calibration
    wide = wide._replace(low=np.zeros_like(wide.low), high=np.full_like(wide.high, UNSURE + 0.1))
    assert np.isnan(replace(made, calibration=wide).predict(calm))[0]


def test_it_says_the_same_whether_the_interval_is_asked_for_or_not() -> None:
    made, rows = default.shipped().soon, world(seed=4)
    assert isinstance(made, Combined)
    assert made.sure
    assert np.array_equal(made.predict(rows.features), made.predict_between(rows.features)[0])


def test_more_of_a_sign_never_speaks_for_an_endpoint_where_few_runs_teach() -> None:
    rows = world(seed=5)
    down = rows._replace(labels=1 - rows.labels)  # every sign that says anything says the opposite
    many = np.arange(len(rows.runs)) % FEW  # so many runs show that it does
    assert not _falls(fitted().trees, rows.features)
    assert not _falls(fit(down, 2.0).trees, rows.features)
    assert _falls(fit(down._replace(runs=many), 2.0).trees, rows.features)


def _falls(trees: Trees, features: Floats) -> list[str]:
    """The signs of which more lowers what the trees say of some row."""
    rows, before, found = features[:300], trees.predict(features[:300]), []
    for place, name in enumerate(NAMES):
        more = rows.copy()
        more[:, place] += 1.0
        if name not in FREE and (trees.predict(more) < before - 1e-12).any():
            found.append(name)
    return found


def test_arrays_make_the_same_model_again_and_the_line_keeps_what_it_learned() -> None:
    both, rows = pair(), world(seed=3)
    both.soon.learn(rows.features[:256], rows.labels[:256], np.ones(256))
    arrays, meta = combined.to_arrays(both)
    again = combined.from_arrays(arrays, meta)
    for ours, theirs in zip(both, again, strict=True):
        np.testing.assert_array_equal(ours.predict(rows.features), theirs.predict(rows.features))


def test_contributions_add_up_to_the_mixed_log_odds() -> None:
    model, x = fitted(), world().features[:50]
    rest = model.mix[0] + model.mix[1] * (model.trees.base + model.trees.value[model.trees.roots].sum())
    rest += model.mix[2] * model.linear.intercept
    np.testing.assert_allclose(model.contributions(x).sum(axis=1) + rest, model.odds(x))


def test_arrays_of_another_schema_or_shape_are_refused() -> None:
    arrays, meta = combined.to_arrays(pair())
    for wrong in ({**meta, "soon": {**meta["soon"], "schema": "other"}}, {"schema": meta["schema"]}):
        with pytest.raises(ValueError, match=r"schema|complete"):
            combined.from_arrays(arrays, wrong)
    with pytest.raises(ValueError, match="lacks the array"):
        combined.from_arrays({k: v for k, v in arrays.items() if k != "ahead/mix"}, meta)
    with pytest.raises(ValueError, match="shapes"):
        combined.from_arrays({**arrays, "soon/line": np.zeros(3)}, meta)


def test_rows_that_cannot_teach_say_why() -> None:
    rows = world()
    with pytest.raises(NotFitted, match="one class"):
        fit(rows._replace(labels=np.zeros(len(rows.labels))), 2.0)
    with pytest.raises(NotFitted, match="no row is complete"):
        fit(rows._replace(features=np.full_like(rows.features, np.nan)), 2.0)
    with pytest.raises(NotFitted, match="features, not"):
        fit(Rows(rows.features[:, :3], *rows[1:]), 2.0)
    few = rows._replace(labels=(np.arange(len(rows.labels)) < 5).astype(float))
    with pytest.raises(NotFitted, match="too few"):
        fit(few, 2.0)
