"""Whether rows of a file are still what the simulator gives: one cell of each policy is run again.

A simulator that only became faster gives them to the last bit. Where it, a scenario or a policy changed, rows of
before and after must not stand in one table.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from replay.sweep.cells import Cell
from replay.sweep.measure import FIGURES, Row
from replay.sweep.rows import key


def sample(cells: Sequence[Cell], done: Iterable[Row]) -> list[tuple[Cell, Row]]:
    """Of each policy one cell that has a row, of the smallest fleet; which scenario, its name decides."""
    by_key = {cell.key(): cell for cell in cells}
    found: dict[str, list[tuple[Cell, Row]]] = defaultdict(list)
    for row in done:
        if not row["error"] and (cell := by_key.get(key(row))) is not None:
            found[cell.policy].append((cell, row))
    chosen = []
    for policy, pairs in found.items():
        least = min(cell.n for cell, _ in pairs)
        small = [pair for pair in pairs if pair[0].n == least]
        chosen.append(small[zlib.crc32(policy.encode()) % len(small)])
    return chosen


def changed(pairs: Sequence[tuple[Cell, Row]], run: Callable[[Sequence[Cell]], Iterable[Row]]) -> list[str]:
    """Of those whose figures are others now, what is different, a line each."""
    lines = []
    for (_, before), now in zip(pairs, run([cell for cell, _ in pairs]), strict=True):
        name = " ".join(key(before)[:-1])
        if now["error"]:
            lines.append(f"{name}: fails now: {now['error']}")
        elif other := next((figure for figure in FIGURES if now[figure] != before[figure]), ""):
            lines.append(f"{name}: {other} is {now[other]!r} now, and was {before[other]!r}")
    return lines
