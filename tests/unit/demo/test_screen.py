"""What the demo puts on the terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from adaptive.demo import schedule, screen
from adaptive.demo.figures import Move, Results, Second, Warned, summarise


def drawn(renderable: Any, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    out: str = console.file.getvalue()  # type: ignore[attr-defined]
    return out


def endpoint(health: str, **changed: Any) -> dict[str, Any]:
    window = {"attempts": 210, "failures": 3, "p50_seconds": 0.025, "p95_seconds": None}
    return {
        "health": health,
        "weight": 50,
        "probability": 0.83,
        "suspicion": 0.41,
        "in_flight": 7,
        "windows": {"5s": window},
    } | changed


def view(**changed: Any) -> screen.View:
    results = Results()
    results.add(Second(0, 2, [0.02] * 98))
    made = screen.View(12.0, 64.0, 9, schedule.plan(), list(range(40001, 40007)), {"Adaptive": results})
    made.cluster = {"mode": "model", "reason": "better than the rule", "trained_rows": 300}
    made.endpoints = [endpoint("HEALTHY"), endpoint("DEGRADED"), *(endpoint("HEALTHY") for _ in range(4))]
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def test_each_instance_has_a_row_with_what_the_gateway_sees_and_what_is_true() -> None:
    lines = drawn(screen.live(view(), 80, 24)).splitlines()
    row = next(line for line in lines if line.startswith("B"))
    assert row.split()[:8] == ["B", "degraded", "50", "0.83", "25", "–", "7", "3/210"]
    assert "leaks: 2.5×, 12 s left" in row


def test_a_wide_terminal_shows_the_rules_doubt_and_the_ports_as_well() -> None:
    text = drawn(screen.live(view(), 120, 40), 120)
    assert ":40002" in text and "0.41" in text
    assert "0.41" not in drawn(screen.live(view(), 80, 24))


def test_the_picture_fits_the_terminal_even_with_a_long_log() -> None:
    moves = [Move(float(i), i % 6, "HEALTHY", "EJECTED", "so many attempts failed " * 9) for i in range(200)]
    for width, height in ((80, 24), (120, 40)):
        lines = drawn(screen.live(view(moves=moves), width, height), width).rstrip("\n").splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert "199.0 s" in lines[-1]


def test_before_anything_is_known_the_picture_says_what_it_waits_for() -> None:
    empty = screen.View(float("-inf"), 64.0, 1, schedule.plan(), status="starting three fleets")
    assert "starting three fleets" in drawn(screen.live(empty, 80, 24))


def test_a_model_that_is_not_trusted_is_said_to_decide_nothing() -> None:
    text = drawn(
        screen.live(view(cluster={"mode": "fallback", "reason": "unsure: 3 of 10 breaches seen"}), 120, 40), 120
    )
    assert "learning (unsure: 3 of 10 breaches seen); the rule decides alone" in text


def test_the_log_tells_when_the_model_takes_over_but_not_where_it_began() -> None:
    modes = [(0.5, "fallback", "no data yet"), (21.0, "model", "better than the rule")]
    lines = [text.plain for text in screen.log_lines([Move(30.0, 2, "HEALTHY", "DEGRADED", "slow")], modes)]
    assert lines == [" 21.0 s  the model decides, too: better than the rule", " 30.0 s  C  degraded  slow"]


def test_latencies_are_milliseconds_with_a_decimal_only_where_it_matters() -> None:
    found = [screen.milliseconds(seconds) for seconds in (None, float("nan"), 0.0012, 0.0094, 0.012, 2.5)]
    assert found == ["–", "–", "1.2", "9.4", "12", "2500"]


def test_a_column_that_adaptive_loses_shows_it() -> None:
    console = Console(file=io.StringIO(), width=90, force_terminal=True, color_system="standard")
    rows = {"Adaptive": summarise([0.03] * 10, 1), "round robin": summarise([0.02] * 11, 0)}
    console.print(screen.closing(rows, 400.0))
    out = console.file.getvalue()  # type: ignore[attr-defined]
    best = "\x1b[1;32m"
    adaptive = next(line for line in out.splitlines() if "Adaptive" in line)
    other = next(line for line in out.splitlines() if "round robin" in line)
    assert best not in adaptive
    assert other.count(best) == 4  # all columns but the number of requests, which is the same


def test_the_warning_says_how_early_or_that_there_was_none() -> None:
    seen = " ".join(screen.warning_lines(1, 24.0, 16.0, Warned(9.25, "slow", 0.5, 4.0), 0.6, ""))
    assert "B leaked for 16 s and crashed at 24 s" in seen
    assert "9.2 s before the crash (slow)" in seen and "50% of the time" in seen
    assert "reached 0.6, where it acts, 4.0 s before" in seen
    none = " ".join(screen.warning_lines(1, 24.0, 16.0, Warned(None, "", 0.0, None), 0.6, "unsure"))
    assert "had not moved it before the crash" in none and "not trusted before the crash (unsure)" in none
    silent = " ".join(screen.warning_lines(1, 24.0, 16.0, Warned(None, "", 0.0, None), 0.6, ""))
    assert "did not reach 0.6" in silent
