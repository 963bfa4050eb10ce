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


def sample(cells: Iterable[Cell], done: Iterable[Row], each: int = 1) -> list[tuple[Cell, Row]]:
    """Of each policy so many cells that have a row, of the smallest fleet; which scenarios, its name decides."""
    by_key = {cell.key(): cell for cell in cells}
    found: dict[str, list[tuple[Cell, Row]]] = defaultdict(list)
    for row in done:
        if not row["error"] and (cell := by_key.get(key(row))) is not None:
            found[cell.policy].append((cell, row))
    chosen = []
    for policy, pairs in found.items():
        least = min(cell.n for cell, _ in pairs)
        small = [pair for pair in pairs if pair[0].n == least]
        first = zlib.crc32(policy.encode())
        chosen += [small[(first + i * len(small) // each) % len(small)] for i in range(min(each, len(small)))]
    return chosen


def changed(pairs: Sequence[tuple[Cell, Row]], run: Callable[[Sequence[Cell]], Iterable[Row]]) -> dict[str, str]:
    """What is different, a line for each policy of whose figures one is another now."""
    lines: dict[str, str] = {}
    for (cell, before), now in zip(pairs, run([cell for cell, _ in pairs]), strict=True):
        name = " ".join(key(before)[:-1])
        if now["error"]:
            lines[cell.policy] = f"{name}: fails now: {now['error']}"
        elif other := next((figure for figure in FIGURES if figure in before and now[figure] != before[figure]), ""):
            lines[cell.policy] = f"{name}: {other} is {now[other]!r} now, and was {before[other]!r}"
    return lines
