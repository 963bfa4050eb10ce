"""Adaptive beside nginx in an arena: a folder with `arena.py`, which puts a gateway in front of a fleet with faults.

The two run side by side, on fleets of their own with the same faults and the same arrivals, so that a noisy machine is
noisy for both. The arena's rows are taken as they come, one JSON object a line. `python -m adaptive.bench.arena` is the
command that it starts for Adaptive: it writes the smallest configuration and becomes the gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adaptive.bench.running import NotStarted, free_port

OFFSET = 400  # between the ports of the two fleets
ALLOWANCE = 0.03  # of p50 and p99 in calm, and of p99.9 elsewhere nothing


@dataclass(frozen=True, slots=True)
class Row:
    """One gateway in one scenario. Times are milliseconds; a failed request counts with the scenario's time-out."""

    scenario: str
    requests: int
    failed: int
    p50: float
    p99: float
    p999: float

    @classmethod
    def of(cls, line: str) -> Row:
        """A row of the arena."""
        told: dict[str, Any] = json.loads(line)
        return cls(told["scenario"], told["n"], told["failed"], told["p50_ms"], told["p99_ms"], told["p999_ms"])


async def compare(
    folder: Path,
    scenarios: Sequence[str],
    say: Callable[[str], None],
    data_plane: str = "embedded",
    peer: str = "nginx",
) -> list[tuple[Row, Row]]:
    """Runs the scenarios one by one; (ours, the peer's) of each. Raises NotStarted where the arena cannot be run."""
    if not (folder / "arena.py").is_file():
        raise NotStarted(f"{folder} holds no arena.py")
    names = list(scenarios) or sorted(path.stem for path in (folder / "scenarios").glob("*.json"))
    found = []
    with TemporaryDirectory(prefix="adaptive-arena-") as scratch:
        for name in names:
            files = [Path(scratch) / f"{name}-{who}.jsonl" for who in ("ours", peer)]
            command = f"{sys.executable} -m adaptive.bench.arena {{port}} {{base}} {{n}} {{tmp}} {data_plane}"
            ours = ("--name", "adaptive", "--offset", str(OFFSET), "--cmd", command)
            await asyncio.gather(
                _arena(folder, name, files[0], *ours),
                _arena(folder, name, files[1], "--peer", peer),
            )
            rows = tuple(Row.of(file.read_text(encoding="utf-8").splitlines()[-1]) for file in files)
            found.append((rows[0], rows[1]))
            say(line_of("adaptive", rows[0]))
            say(line_of(peer, rows[1]))
    return found


async def _arena(folder: Path, scenario: str, out: Path, *more: str) -> None:
    from adaptive.envoy import binary

    words = [str(folder / "arena.py"), "--scenarios", scenario, "--out", str(out), "--port", str(free_port()), *more]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment["ENVOY"] = binary.find() or "envoy"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode or not out.is_file():
        raise NotStarted(
            f"the arena failed in {scenario}: {(complaint or said).decode(errors='replace').strip()[-500:]}"
        )


def line_of(name: str, row: Row) -> str:
    """A row for the terminal."""
    return (
        f"{row.scenario:12} {name:9} {row.failed:6} of {row.requests} failed, "
        f"p50 {row.p50:6.1f}  p99 {row.p99:7.1f}  p99.9 {row.p999:7.1f} ms"
    )


def worse(ours: Row, theirs: Row, peer: str = "nginx") -> list[str]:
    """In what ours is worse: in failures and p99.9; in calm in p50 and p99 beyond what noise explains."""
    found = []
    if ours.failed > theirs.failed:
        found.append(f"{ours.scenario}: {ours.failed} failed, {peer} {theirs.failed}")
    if ours.scenario == "calm":
        pairs = (("p50", ours.p50, theirs.p50), ("p99", ours.p99, theirs.p99))
        found += [f"calm: {name} {a:.1f}, {peer} {b:.1f}" for name, a, b in pairs if a > b * (1 + ALLOWANCE)]
    elif ours.p999 > theirs.p999:
        found.append(f"{ours.scenario}: p99.9 {ours.p999:.1f}, {peer} {theirs.p999:.1f}")
    return found


def main(port: str, base: str, count: str, folder: str, data_plane: str = "embedded") -> None:
    """Becomes a gateway with the smallest configuration there is."""
    first = int(base)
    config = {
        "listen": f"127.0.0.1:{int(port)}",
        "recorder": {"directory": folder},
        "clusters": {
            "fleet": {
                "endpoints": [f"127.0.0.1:{first + i}" for i in range(int(count))],
                "health_check": {"path": "/health", "interval": "500ms", "timeout": "300ms"},
            }
        },
        "routes": [{"prefix": "/", "cluster": "fleet", "timeout": "2s"}],
    }
    path = Path(folder) / "gateway.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    os.execv(
        sys.executable, [sys.executable, "-m", "adaptive.cli", "serve", "-c", str(path), "--data-plane", data_plane]
    )


if __name__ == "__main__":
    main(*sys.argv[1:6])
