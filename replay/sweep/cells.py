"""A cell of a sweep: one policy in one scenario with one seed; and the grid of cells that was asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from replay import library
from replay.policies import named
from replay.scenario import Scenario, ScenarioError
from replay.scenario_file import load, of, to_json
from replay.shapes import Shape, shaped

ARENA = "arena_"  # how the names of the arena's own scenarios begin
SUFFIXES = (".json", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Stock:
    """How standard scenarios are made; of no meaning for a file or for the arena's own."""

    held_out: bool = False
    seconds: float = 60.0
    mean: float = 0.04  # seconds of service
    burst: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One run. `n` and `load` are 0 where the scenario has its own; `document` is the scenario of a file, as JSON: a
    cell carries all that it needs, whichever machine it goes to.
    """

    scenario: str
    policy: str
    seed: int
    n: int = 0
    load: float = 0.0
    stock: Stock = Stock()
    document: str = ""

    def key(self) -> tuple[str, ...]:
        """What tells it from every other cell, as text: as it stands in the first columns of its row."""
        own = () if not self.document else (hashlib.sha256(self.document.encode()).hexdigest()[:12],)
        s = self.stock
        made = "" if not self.n else f"{s.seconds:g} s, {s.mean:g} s{', held out' * s.held_out}{', bursts' * s.burst}"
        return (self.scenario, self.policy, str(self.n), f"{self.load:g}", str(self.seed), *(own or (made,)))

    def drawn(self, scenario: Scenario) -> int:
        """The seed of its run: a file's own one is its first; what is held out has other seeds too."""
        return scenario.seed + self.seed if self.document else scenario.seed

    def made(self) -> Scenario:
        """Its scenario. Raises ScenarioError, ValueError or KeyError where there is none."""
        if self.document:
            return of(json.loads(self.document), self.scenario)
        if not self.n:
            return library.arena(self.seed)[self.scenario.removeprefix(ARENA)]
        s = self.stock
        return library.one(self.scenario, self.n, self.load, self.seed, s.held_out, s.seconds, s.mean, s.burst)


def arriving(cell: Cell, shape: Shape, exact: bool = False) -> Cell:
    """The same cell with its requests arriving as a shape says, as `replay.shapes.shaped`. Raises ScenarioError."""
    scenario = cell.made()
    scenario = replace(shaped(scenario, shape, exact), seed=cell.drawn(scenario) - cell.seed)
    document = json.dumps(to_json(scenario), sort_keys=True)
    return Cell(cell.scenario, cell.policy, cell.seed, stock=cell.stock, document=document)


def is_file(text: str) -> bool:
    """Whether this names a file, and no standard scenario."""
    return text.endswith(SUFFIXES) or "/" in text


def known() -> list[str]:
    """Names of every standard scenario."""
    return [*library.makers(), *(ARENA + name for name in library.arena(0))]


def grid(
    scenarios: Sequence[str],
    policies: Sequence[str],
    fleets: Sequence[int] = (8,),
    loads: Sequence[float] = (0.7,),
    seeds: Sequence[int] = (0,),
    stock: Stock = Stock(),
) -> list[Cell]:
    """Every cell, those of one seed, fleet and load together: what is stopped half-way is whole for what it has.

    `scenarios` are names or files. Raises ScenarioError for what is neither, ValueError for a policy that does not
    exist or a fleet that cannot be.
    """
    for policy in policies:
        named(policy)
    files = {name: _document(name) for name in scenarios if is_file(name)}
    for name in scenarios:
        if name not in files and name not in known():
            what = f"its name does not end in {', '.join(SUFFIXES)}" if Path(name).exists() else "it is no file"
            raise ScenarioError(f"there is no scenario {name!r}, and {what}; `adaptive scenarios` lists them")
    return list(_cells(scenarios, policies, fleets, loads, seeds, stock, files))


def _cells(
    scenarios: Sequence[str],
    policies: Sequence[str],
    fleets: Sequence[int],
    loads: Sequence[float],
    seeds: Sequence[int],
    stock: Stock,
    files: dict[str, tuple[str, str]],
) -> Iterator[Cell]:
    for seed in seeds:
        for name, policy in product(scenarios, policies):
            if name in files:
                yield Cell(files[name][0], policy, seed, stock=stock, document=files[name][1])
            elif name.startswith(ARENA):
                yield Cell(name, policy, seed, stock=stock)
        for n, load_, name in product(fleets, loads, scenarios):
            if name not in files and not name.startswith(ARENA):
                for policy in policies:
                    yield Cell(name, policy, seed, n, load_, stock)


def _document(path: str) -> tuple[str, str]:
    """Name and canonical text of a scenario's file."""
    scenario = load(Path(path))
    return scenario.name, json.dumps(to_json(scenario), sort_keys=True)


def hashed(cells: Sequence[Cell]) -> dict[str, str]:
    """By scenario: SHA-256 of what it is, over all its fleets, loads and seeds."""
    found: dict[str, Any] = {}
    for cell in cells:
        digest = found.setdefault(cell.scenario, hashlib.sha256())
        digest.update(json.dumps(asdict(replace(cell, policy="")), sort_keys=True).encode())
    return {name: digest.hexdigest() for name, digest in found.items()}
