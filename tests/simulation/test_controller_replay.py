"""The same events give the same commands: in a fresh Controller, in another process, and whatever the future holds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from adaptive.controller import Controller
from adaptive.types import Command, OutcomesSeen, Publish
from tests.simulation.toy import Behaviour, Fleet

ROOT = Path(__file__).resolve().parents[2]


def faulty(t: float, s: int) -> Behaviour:
    if s == 0:
        return Behaviour(latency=0.04 * (1 + t / 10), refused=25 < t < 32)
    return Behaviour(errors=0.5 if s == 1 and 12 < t < 20 else 0.0)


def story() -> Fleet:
    return Fleet(6, faulty, rate=lambda t: 400).run(45, log=True)


def text(commands: list[Command]) -> str:
    return "\n".join(map(repr, commands))


def digest() -> str:
    return hashlib.sha256(text([c for _, c in story().commands]).encode()).hexdigest()


def test_a_log_fed_to_a_fresh_controller_gives_identical_commands() -> None:
    fleet = story()
    again = Controller(fleet.topology, fleet.settings)
    assert text([c for e in fleet.events for c in again.handle(e)]) == text([c for _, c in fleet.commands])


def test_the_seed_of_the_hash_changes_nothing() -> None:
    """Two processes, of some two seconds each."""
    code = "from tests.simulation.test_controller_replay import digest; print(digest())"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=50,
        ).stdout
        for seed in ("1", "20")
    }  # fmt: skip
    assert len(found) == 1


def test_no_command_depends_on_what_comes_after_it() -> None:
    """Poisons every outcome after 20 s: nothing commanded until then may differ, though labels then wait for them."""
    fleet = story()
    poisoned = Controller(fleet.topology, fleet.settings)
    commands: list[Command] = []
    for event in fleet.events:
        if event.at > fleet.start + 20.0 and isinstance(event, OutcomesSeen):
            event.rows["status"], event.rows["first_byte"] = 500, np.nan
        commands += poisoned.handle(event)

    def until(found: list[Command]) -> list[Command]:
        return [c for c in found if (c.snapshot.at if isinstance(c, Publish) else c.at) <= fleet.start + 20.0]

    before = [c for _, c in fleet.commands]
    assert len(until(before)) > 20
    assert text(until(commands)) == text(until(before))
    assert text(commands) != text(before)
