"""What one cell gives: a row of plain values. A cell that fails is a row too, with its reason."""

from __future__ import annotations

from typing import Any

from adaptive.types import Moved
from replay.evaluation.figures import figures
from replay.simulator.run import Run
from replay.simulator.simulation import simulate
from replay.sweep.cells import Cell

Row = dict[str, Any]
KEY = ("scenario", "policy", "n", "load", "seed", "stock")
FIGURES = ("requests", "failed", "p50", "p90", "p95", "p99", "p999", "mean", "attempts", "hedges", "shed", "moves")
COLUMNS = (*KEY, *FIGURES, "digest", "error")


def row(run: Run) -> Row:
    """The figures of one run: of its judged requests, seconds; a failed one counts as the clients' time-out.

    `attempts`, `hedges` and `shed` are shares of the requests; `moves` counts the Controllers' moves of an instance.
    """
    judged = run.requests.due >= run.warm
    count = int(judged.sum())
    if not count:
        raise ValueError(f"{run.scenario}: no request was judged")
    every = len(judged)
    return {
        "requests": count,
        **figures(run.seen(), run.requests.failed[judged]),
        "attempts": float(run.requests.attempts[judged].sum()) / count,
        "hedges": run.counts.get("hedges", 0) / every,
        "shed": run.counts.get("shed", 0) / every,
        "moves": sum(isinstance(move, Moved) for _, move in run.moves),
        "digest": run.digest()[:16],
    }


def measure(cell: Cell) -> Row:
    """Runs a cell."""
    made: Row = dict(zip(KEY, cell.key(), strict=True))
    try:
        scenario = cell.made()
        made |= row(simulate(scenario, cell.policy, cell.drawn(scenario), views=False, compiled=True))
        made["error"] = ""
    except Exception as error:  # whatever it was: the other cells go on
        made["error"] = f"{type(error).__name__}: {error}"
    return made
