"""What must hold of every run, whatever its faults, seen in what was recorded of it: rows of attempts and of requests.

Each function takes columns and returns what is broken. Attempts are rows of OUTCOME_DTYPE. The attempts of one request
share `worker` and `request` and count from 1; nothing here is hedged, so that they follow one another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adaptive.classify import MEANING, Retry
from adaptive.types import Cause, Mark
from replay.scenario import Scenario
from replay.simulator.run import Run
from replay.watching import Violation

Rows = np.ndarray[Any, Any]
TOLERANCE = 1e-6  # seconds: sums of floats
# Causes after which any request may go again, for none of it can have been acted on.
_UNTOUCHED = np.array([MEANING[cause].retry == Retry.ALWAYS for cause in Cause])
# Retries that the budget does not pay for: nobody failed.
_FREE = (Cause.OVERFLOW, Cause.RESET_IDLE)


def of_run(run: Run, scenario: Scenario) -> list[Violation]:
    """Everything that is broken, in no order."""
    rows = run.outcomes
    found = requests(run)
    if rows is None:
        return found
    rows = in_turn(rows)
    return found + attempts(rows, run.counts.get("attempts", len(rows)), scenario) + budgets(rows, scenario)


def in_turn(rows: Rows) -> Rows:
    """Rows in the order of worker, request and attempt."""
    return rows[np.lexsort((rows["attempt"], rows["request"], rows["worker"]))]


def requests(run: Run) -> list[Violation]:
    """Every request is answered once, within the clients' patience."""
    r = run.requests
    found = []
    late = np.flatnonzero(~((r.latency >= 0.0) & (r.latency <= run.timeout + TOLERANCE)))
    for i in late[:3].tolist():
        found.append(Violation("every request is answered", float(r.due[i]), f"after {r.latency[i]} s"))
    lengths = {len(c) for c in (r.due, r.latency, r.failed, r.post, r.status, r.attempts, r.gateway)}
    if len(lengths) != 1:
        found.append(Violation("every request is answered", 0.0, f"columns of {sorted(lengths)} rows"))
    backward = np.flatnonzero(np.diff(r.due) < 0.0)
    if len(backward):
        found.append(Violation("times", float(r.due[backward[0]]), "requests are not in the order in which they came"))
    return found


def attempts(rows: Rows, made: int, scenario: Scenario) -> list[Violation]:
    """One outcome for each attempt, in order, each within its bounds, and none that must not have been made."""
    found: list[Violation] = []

    def report(where: Any, invariant: str, text: str) -> None:
        for i in np.flatnonzero(where)[:3].tolist():
            row = rows[i]
            place = f"request {row['request']} of worker {row['worker']}, attempt {row['attempt']}, slot {row['slot']}"
            found.append(Violation(invariant, float(row["sent_at"]), f"{place}: {text}"))

    if made != len(rows):
        found.append(Violation("one outcome an attempt", 0.0, f"{len(rows)} outcomes of {made} attempts"))
    report(~((rows["propensity"] > 0.0) & (rows["propensity"] <= 1.0)), "propensities", "not in (0, 1]")
    report(~(rows["done"] >= rows["sent_at"] - TOLERANCE), "times", "done before it was sent")
    first = rows["first_byte"]
    outside = (first < rows["sent_at"] - TOLERANCE) | (first > rows["done"] + TOLERANCE)
    report(outside, "times", "its first byte came before it was sent, or after it was done")
    repeatable = (rows["marks"] & Mark.REPEATABLE) != 0
    report(((rows["marks"] & Mark.EXPLORED) != 0) & ~repeatable, "exploring", "it must not be sent twice")
    report(rows["slot"] >= len(scenario.instances), "times", "there is no such slot")
    if not len(rows):
        return found
    same = np.zeros(len(rows), dtype=bool)
    same[1:] = (rows["request"][1:] == rows["request"][:-1]) & (rows["worker"][1:] == rows["worker"][:-1])
    before = np.roll(rows, 1)
    number = rows["attempt"].astype(np.int64)
    report(same & (number == before["attempt"]), "one outcome an attempt", "a second outcome")
    report(np.where(same, number > before["attempt"].astype(np.int64) + 1, number != 1), "one outcome an attempt",
           "the attempt before it has no outcome")  # fmt: skip
    free = stale_before(rows, same)
    report(number > 1 + scenario.rules.retries + free, "bounded retries", f"of {scenario.rules.retries}")
    report((rows["cause"] == Cause.RESET_IDLE) & (free > 0), "bounded retries", "a second connection that was stale")
    acted_on = ~_UNTOUCHED[before["cause"]]
    report(same & ~repeatable & acted_on, "nothing twice that must not", f"sent again after {_names(before, same)}")
    good = (before["cause"] == Cause.RESPONSE) & (before["status"] < 500)
    final = (before["marks"] & Mark.FINAL) != 0
    report(same & (good | final), "nothing after the answer", "the request had been answered")
    report(same & (rows["sent_at"] < before["done"] - TOLERANCE), "one at a time", "the one before it was under way")
    return found


def stale_before(rows: Rows, same: Any) -> Any:
    """Of each attempt: how many earlier ones of its request met a kept connection that had been closed, shape (n,).

    No retries of the route pay for these. `same` (n,): whether the row before is of the same request.
    """
    stale = (rows["cause"] == Cause.RESET_IDLE).astype(np.int64)
    before = np.cumsum(stale) - stale
    begin = np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))
    return before - before[begin]


def _names(before: Rows, same: Any) -> str:
    """Causes that some request was sent again after."""
    return ", ".join(Cause(int(c)).name for c in np.unique(before["cause"][same]).tolist())


def budgets(rows: Rows, scenario: Scenario) -> list[Violation]:
    """Of each worker: retries at any moment ≤ ratio × requests + minimum × seconds + the first second's minimum."""
    ratio, minimum, _ = scenario.rules.budget
    found = []
    previous = np.roll(rows["cause"], 1)
    paid = (rows["attempt"] > 1) & ~np.isin(previous, _FREE)
    for worker in np.unique(rows["worker"]).tolist():
        of = rows["worker"] == worker
        own, retry = rows[of], paid[of]
        order = np.lexsort((own["attempt"], own["sent_at"]))
        at = own["sent_at"][order]
        retries, began = np.cumsum(retry[order]), np.cumsum((own["attempt"] == 1)[order])
        allowed = ratio * began + minimum * (at + 1.0)
        over = np.flatnonzero(retries > allowed + TOLERANCE)
        if len(over):
            i = int(over[0])
            text = f"worker {worker}: {retries[i]} retries of {began[i]} requests, and {allowed[i]:.1f} are allowed"
            found.append(Violation("budgets", float(at[i]), text))
    return found
