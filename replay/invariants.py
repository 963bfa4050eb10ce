"""What must hold of every run, whatever its faults, seen in what was recorded of it: rows of attempts and of requests.

Each function takes columns and returns what is broken. Attempts are rows of OUTCOME_DTYPE. The attempts of one request
share `worker` and `request` and count from 1. They follow one another; only a hedge goes out beside the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from adaptive.classify import MEANING, Retry
from adaptive.types import Cause, Mark
from replay.scenario import Scenario
from replay.simulator.gateway import HEDGES
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
    for where, invariant, text in _in_sequence(rows, scenario.rules.retries):
        report(where, invariant, text)
    return found


def _in_sequence(rows: Rows, retries: int) -> Iterator[tuple[Any, str, str]]:
    """What is broken between the attempts of one request: where, which promise, and what to say."""
    same, last = followed(rows)
    before, ended = np.roll(rows, 1), rows[last]
    number = rows["attempt"].astype(np.int64)
    repeatable, hedge = ((rows["marks"] & mark) != 0 for mark in (Mark.REPEATABLE, Mark.HEDGE))
    final = (rows["marks"] & Mark.FINAL) != 0
    yield same & (number == before["attempt"]), "one outcome an attempt", "a second outcome"
    lacks = np.where(same, number > before["attempt"].astype(np.int64) + 1, number != 1)
    yield lacks, "one outcome an attempt", "the attempt before it has no outcome"
    stale = rows["cause"] == Cause.RESET_IDLE
    free, copies = earlier(stale, same), earlier(hedge, same)
    yield number > 1 + retries + free + copies + hedge, "bounded retries", f"of {retries}"
    yield stale & (free > copies + hedge), "bounded retries", "a second connection that was stale"
    acted_on = ~_UNTOUCHED[ended["cause"]]
    yield same & ~repeatable & acted_on, "nothing twice that must not", f"sent again after {_names(ended, same)}"
    yield hedge & ~repeatable, "nothing twice that must not", "a second copy of it"
    good = ((rows["cause"] == Cause.RESPONSE) & (rows["status"] < 500)) | final
    told = earlier(good, same) > 0
    yield ~hedge & told, "nothing after the answer", "the request had been answered"
    yield final & told, "nothing after the answer", "the request was answered twice"
    yield same & ~hedge & (rows["sent_at"] < ended["done"] - TOLERANCE), "one at a time", "another was under way"
    alone = ~same | (rows["sent_at"] > before["done"] + TOLERANCE)
    yield hedge & alone, "one at a time", "a second copy of what was not under way"


def followed(rows: Rows) -> tuple[Any, Any]:
    """Whether the row before is of the same request, and which attempt ended last of those before: both (n,).

    That is the row before; or the one before that, where the row before was its hedge and ended first.
    """
    same = np.zeros(len(rows), dtype=bool)
    same[1:] = (rows["request"][1:] == rows["request"][:-1]) & (rows["worker"][1:] == rows["worker"][:-1])
    place = np.arange(len(rows))
    hedged = same & np.roll(same, 1) & ((np.roll(rows["marks"], 1) & Mark.HEDGE) != 0)
    return same, np.where(hedged & (np.roll(rows["done"], 2) > np.roll(rows["done"], 1)), place - 2, place - 1)


def earlier(what: Any, same: Any) -> Any:
    """Of each attempt: how many earlier ones of its request are so, (n,). `same`: as `followed` gives it."""
    count = what.astype(np.int64)
    before = np.cumsum(count) - count
    begin = np.maximum.accumulate(np.where(same, 0, np.arange(len(count))))
    return before - before[begin]


def _names(before: Rows, same: Any) -> str:
    """Causes that some request was sent again after."""
    return ", ".join(Cause(int(c)).name for c in np.unique(before["cause"][same]).tolist())


def budgets(rows: Rows, scenario: Scenario) -> list[Violation]:
    """Of each worker, of retries and of hedges, at any moment: at most ratio × requests + minimum × seconds + the first
    second's minimum.
    """
    hedge = (rows["marks"] & Mark.HEDGE) != 0
    paid = (rows["attempt"] > 1) & ~hedge & ~np.isin(rows["cause"][followed(rows)[1]], _FREE)
    found = []
    for worker in np.unique(rows["worker"]).tolist():
        of = rows["worker"] == worker
        own = rows[of]
        order = np.lexsort((own["attempt"], own["sent_at"]))
        at, began = own["sent_at"][order], np.cumsum((own["attempt"] == 1)[order])
        for name, which, (ratio, minimum, _) in (("retries", paid, scenario.rules.budget), ("hedges", hedge, HEDGES)):
            spent = np.cumsum(which[of][order])
            allowed = ratio * began + minimum * (at + 1.0)
            over = np.flatnonzero(spent > allowed + TOLERANCE)
            if len(over):
                i = int(over[0])
                text = f"worker {worker}: {spent[i]} {name} of {began[i]} requests, and {allowed[i]:.1f} are allowed"
                found.append(Violation("budgets", float(at[i]), text))
    return found
