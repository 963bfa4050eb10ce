"""Durations and sizes, as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive.config.units import LONGEST, read_duration, read_size, write_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("300ms", 0.3),
        ("2s", 2.0),
        ("1m30s", 90.0),
        ("0.1s", 0.1),
        ("1h", 3600.0),
        ("50us", 5e-05),
        (0, 0.0),
    ],
)
def test_a_duration_is_the_float_that_its_decimal_says(text: Any, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (2, "2s or 2ms"),
        (0.5, "0.5s or 0.5ms"),
        ("30", "30s or 30ms"),
        ("30s1m", "from large to small"),
        ("1s1s", "each once"),
        ("-1s", "is not a duration"),
        ("1 s", "is not a duration"),
        ("1e3s", "is not a duration"),
        ("400d", "longer than a year"),
        ("", "is not a duration"),
        (True, "must be a duration"),
        (None, "must be a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_hint(value: Any, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        read_duration(value)


@given(st.floats(0, LONGEST, allow_subnormal=False).filter(lambda x: x == 0 or x > 1e-12))
def test_a_written_duration_reads_back_to_the_same_float(seconds: float) -> None:
    assert read_duration(write_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64KiB", 65536),
        ("64 KiB", 65536),
        ("1GiB", 2**30),
        ("1.5KiB", 1536),
        ("1MB", 10**6),
        ("5B", 5),
        (4096, 4096),
        (0, 0),
    ],
)
def test_a_size_is_a_whole_number_of_bytes(text: Any, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize(
    "value", ["64", "64k", "64KB", "-1B", "0.3B", "1e3B", -1, 2**63, 1.5, True, None, "9999999TiB"]
)
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"size|bytes|range"):
        read_size(value)
