"""Trees as arrays say what the library says that grew them, and refuse arrays that are no trees."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from models.trees import Trees, exported


def grown(rows: int = 2000, width: int = 6) -> tuple[Trees, HistGradientBoostingClassifier, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, width))
    y = (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=rows) > 0.5).astype(float)
    with threadpool_limits(1):  # where other work has the cores, threads of so little wait for each other far longer
        model = HistGradientBoostingClassifier(max_iter=15, max_depth=5, random_state=0).fit(x, y)
    return exported(model), model, x


def test_they_say_what_the_library_says() -> None:
    trees, model, x = grown()
    np.testing.assert_allclose(trees.predict(x), model.decision_function(x), atol=1e-9)
    assert trees.depth <= 5


def test_contributions_add_up_to_the_prediction() -> None:
    trees, _, x = grown()
    rest = trees.base + trees.value[trees.roots].sum()
    np.testing.assert_allclose(trees.contributions(x).sum(axis=1) + rest, trees.predict(x), atol=1e-9)


def test_arrays_make_the_same_trees_again() -> None:
    trees, _, x = grown()
    np.testing.assert_array_equal(Trees.from_arrays(trees.to_arrays()).predict(x), trees.predict(x))


@pytest.mark.parametrize(("name", "value"), [("child", 10**6), ("child", -1), ("roots", -1), ("feature", -3)])
def test_arrays_that_point_outside_are_refused(name: str, value: int) -> None:
    arrays = grown(300)[0].to_arrays()
    arrays[name] = arrays[name].astype(np.int64)
    arrays[name][0] = value
    with pytest.raises(ValueError, match="point outside"):
        Trees.from_arrays(arrays)


def test_a_circle_of_nodes_is_refused() -> None:
    arrays = grown(300)[0].to_arrays()
    arrays["child"][3] = 0
    with pytest.raises(ValueError, match="point outside"):
        Trees.from_arrays(arrays)
