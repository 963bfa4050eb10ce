"""What the brain costs: CPU time of Controller.handle per outcome, per tick, and when idle.

    PYTHONPATH=. python tests/simulation/bench_controller.py

Each line feeds 20 s of virtual time in ticks of 100 ms, with the model, and takes the median over three runs; the
garbage collector stays on. "worst" is the longest single tick after the first two seconds.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from adaptive.controller import Controller
from adaptive.types import InFlightSeen, OutcomesSeen, Tick
from tests.simulation.toy import TICK, rows, topology


def measure(endpoints: int, rate: int, seconds: float = 20.0, ill: float = 0.0) -> tuple[float, float, float]:
    """Median CPU microseconds of a tick with its rows, the worst tick, and microseconds per outcome (0 when idle).
    `ill` is the share of endpoints that fail half their attempts.
    """
    rng = np.random.default_rng(0)
    controller = Controller(topology(endpoints))
    spent = []
    per_tick = round(rate * TICK)
    for i in range(round(seconds / TICK)):
        at = 1000.0 + i * TICK
        made = rows(per_tick)
        made["sent_at"] = at - TICK + np.sort(rng.random(per_tick)) * TICK
        made["slot"] = rng.integers(0, endpoints, per_tick)
        made["first_byte"] = made["done"] = made["sent_at"] + rng.lognormal(-3.4, 0.6, per_tick) * 0.1
        bad = (made["slot"] < ill * endpoints) & (rng.random(per_tick) < 0.5)
        made["status"][bad] = 500
        in_flight = rng.integers(0, 5, endpoints) if rate else np.zeros(endpoints, dtype=np.int64)
        oldest = np.full(endpoints, at - 0.05 if rate else np.nan)
        started = time.process_time()
        controller.handle(OutcomesSeen(at, made))
        controller.handle(InFlightSeen(at, in_flight, oldest))
        controller.handle(Tick(at))
        spent.append(time.process_time() - started)
    usual = spent[20:]
    mean = sum(usual) / len(usual)
    return statistics.median(usual) * 1e6, max(usual) * 1e6, mean / per_tick * 1e6 if per_tick else 0.0


def main() -> None:
    """Prints the table."""
    print(f"{'endpoints':>9} {'rate/s':>7} {'ill':>5} {'tick us':>9} {'worst us':>9} {'us/outcome':>11}")
    for endpoints, rate, ill in (
        (10, 0, 0.0), (10, 1000, 0.0), (10, 5000, 0.0), (50, 5000, 0.0), (50, 5000, 0.2), (1000, 5000, 0.0),
        (1000, 5000, 0.2), (1000, 20000, 1.0),
    ):  # fmt: skip
        runs = [measure(endpoints, rate, ill=ill) for _ in range(3)]
        tick, worst, each = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{endpoints:>9} {rate:>7} {ill:>5.0%} {tick:>9.0f} {worst:>9.0f} {each:>11.2f}")


if __name__ == "__main__":
    main()
