"""`adaptive demo` as a user runs it, and as a user ends it.

Each of these takes seconds because the demo starts sixteen processes and its faults need real time to happen.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptive import clock

ROOT = Path(__file__).resolve().parents[2]
STARTED = 30.0  # seconds, on a machine that has other things to do
GONE = 10.0


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo puts its temporary directory, so that the test sees what is left there."""
    made = tmp_path / "tmp"
    made.mkdir()
    return made


@pytest.fixture
def running(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo whose load has begun."""
    process = start(temporary, "--seconds", "30", "--plain")
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "failed so far" in line:
                break
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def start(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "adaptive.cli", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def parents() -> dict[int, int]:
    """The parent of every process of this machine."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name, in parentheses, may hold anything; the state and the parent follow the last one.
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    known, found, pending = parents(), set[int](), [pid]
    while pending:
        parent = pending.pop()
        children = [child for child, of in known.items() if of == parent]
        found.update(children)
        pending += children
    return found


def left_of(pids: set[int], seconds: float = GONE) -> set[int]:
    """Which of these processes still live after at most so many seconds."""
    deadline = clock.monotonic() + seconds
    left = set()
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            # A descriptor of a process can be read once that has ended.
            if not select.select([fd], [], [], max(0.0, deadline - clock.monotonic()))[0]:
                left.add(pid)
        finally:
            os.close(fd)
    return left


@pytest.mark.timeout(90)
def test_a_short_demo_ends_with_the_comparison(temporary: Path) -> None:
    """Takes some 13 s: 8 s of load, and the start of sixteen processes."""
    process = start(temporary, "--seconds", "8", "--seed", "3", "--plain")
    out, progress = process.communicate(timeout=80)
    assert process.returncode == 0, progress
    assert "seed 3" in progress
    rows = {}
    for name in ("Adaptive", "round robin", "least request"):
        cells = re.search(rf"│ {name} +│ +([\d,]+) +│ +([\d,]+) +│ +([\d.]+) +│ +([\d.]+) +│ +([\d.]+)", out)
        assert cells, out
        rows[name] = [float(cell.replace(",", "")) for cell in cells.groups()]
    # The same arrivals: every policy got each of them, and each of them was answered or counted as failed.
    assert len({row[0] for row in rows.values()}) == 1
    assert rows["Adaptive"][0] > 8 * 300
    for _, failed, p50, p99, p999 in rows.values():
        assert failed >= 0
        assert 5 < p50 <= p99 <= p999
    assert re.search(r"^B leaked for 2 s and crashed at 3 s", out, re.MULTILINE)
    assert "Seed 3; all figures are of this run." in out
    assert "\x1b" not in out
    assert list(temporary.iterdir()) == []


@pytest.mark.timeout(90)
def test_ctrl_c_ends_everything_and_says_so(running: subprocess.Popen[str], temporary: Path) -> None:
    """Takes some 8 s, most of it to start sixteen processes."""
    started = descendants(running.pid)
    assert len(started) >= 12  # three each of fleets, loads and gateways, with their workers and brains
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=GONE)
    assert running.returncode == 130
    assert told.rstrip().endswith("adaptive demo: interrupted; everything it started has ended")
    assert "Traceback" not in told
    assert left_of(started, 0.0) == set()
    assert list(temporary.iterdir()) == []


@pytest.mark.timeout(90)
def test_a_killed_demo_leaves_no_process_behind(running: subprocess.Popen[str]) -> None:
    """Takes some 8 s, most of it to start sixteen processes."""
    started = descendants(running.pid)
    assert len(started) >= 12
    running.kill()
    running.wait()
    assert left_of(started) == set()


@pytest.mark.parametrize("wrong", [["--seconds", "1"], ["--seconds", "nan"], ["--seed", "-1"], ["--fast"]])
def test_wrong_options_are_a_usage_error(temporary: Path, wrong: list[str]) -> None:
    process = start(temporary, *wrong)
    out, told = process.communicate(timeout=STARTED)
    assert process.returncode == 2
    assert "Traceback" not in told
    assert wrong[0] in told
    assert out == ""
