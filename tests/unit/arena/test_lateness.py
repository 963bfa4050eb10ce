"""What the machine added to a run."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive.arena.lateness import LEAST, WINDOW, worst


def test_a_stall_of_a_moment_shows_though_the_whole_was_on_time() -> None:
    at = np.arange(0.0, 240.0, 0.005)
    late = np.full(len(at), 0.001)
    assert worst(at, late) == pytest.approx(0.001)
    stalled = (at >= 63.0) & (at < 63.2)
    late[stalled] = 0.2 - (at[stalled] - 63.0)
    assert np.quantile(late, 0.99) == pytest.approx(0.001)
    assert worst(at, late) > 0.1


def test_of_a_handful_of_values_and_of_none_nothing_is_said() -> None:
    assert worst(np.zeros(0), np.zeros(0)) == 0.0
    assert worst(np.full(LEAST - 1, WINDOW), np.ones(LEAST - 1)) == 0.0
    assert worst(np.full(LEAST, WINDOW), np.ones(LEAST)) == 1.0
