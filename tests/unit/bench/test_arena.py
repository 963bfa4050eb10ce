"""The verdict on rows of an arena."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from adaptive.bench.arena import Row, compare, worse
from adaptive.bench.running import NotStarted

CALM = Row("calm", 1000, 0, 35.0, 140.0, 220.0)
HANG = dataclasses.replace(CALM, scenario="hang", failed=3)


def test_a_row_is_read_from_the_arenas_own_words() -> None:
    told = {"scenario": "calm", "n": 1000, "failed": 0, "p50_ms": 35.0, "p99_ms": 140.0, "p999_ms": 220.0, "cpu_s": 1}
    assert Row.of(json.dumps(told)) == CALM


def test_calm_may_differ_by_noise_and_no_more() -> None:
    assert worse(dataclasses.replace(CALM, p99=144.0, p999=300.0), CALM) == []
    assert worse(dataclasses.replace(CALM, p99=145.0), CALM) == ["calm: p99 145.0, nginx 140.0"]


def test_under_faults_failures_and_the_tail_decide() -> None:
    assert worse(HANG, HANG) == []
    assert worse(dataclasses.replace(HANG, failed=4), HANG) == ["hang: 4 failed, nginx 3"]
    assert worse(dataclasses.replace(HANG, p999=221.0), HANG) == ["hang: p99.9 221.0, nginx 220.0"]


async def test_a_folder_without_an_arena_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"holds no arena\.py"):
        await compare(tmp_path, [], print)
