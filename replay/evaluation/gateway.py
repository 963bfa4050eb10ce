"""What the recording gateway did beside picking: its time-outs, retries and checks, under which every policy is judged.

A recording's header says it, by route. Where it does not, as in other systems' logs, a time-out of attempts shows in
the attempts that ended by it, all after the same time, and in that none took longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from math import inf
from typing import Any

import numpy as np

from adaptive.types import Cause
from replay.evaluation.attempts import EvaluationError, Floats, Seen
from replay.scenario import Rules

LEAST = 3  # attempts that ended after the same time
# By how much of that time they may be apart and late, relative and in seconds: a gateway looks at clocks each 10 ms.
APART, LATE = 0.05, 0.02


def rules(header: Any, seen: Seen) -> Rules:
    """The rules of the route that most requests of the cluster took; what is not known is as by default.

    Raises EvaluationError where the header's are none.
    """
    told = header.get("rules", {}) if isinstance(header, Mapping) else getattr(header, "rules", {})
    names = header.get("routes", ()) if isinstance(header, Mapping) else getattr(header, "routes", ())
    most = int(np.argmax(np.bincount(seen.rows["route"])))
    found = told.get(names[most]) if most < len(names) else None
    if found is None:
        return replace(Rules(), attempt_timeout=_attempt_timeout(seen))
    known = {one.name: found[one.name] for one in fields(Rules) if one.name in found}
    try:
        told = replace(Rules(), **known)
        ratio, least, window = told.budget
        statuses, budget = frozenset(told.retry_statuses), (ratio, least, window)
        return replace(told, route_timeout=told.route_timeout or inf, retry_statuses=statuses, budget=budget)
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"the trace's rules of the route {names[most]} are none: {error}") from None


def _attempt_timeout(seen: Seen) -> float:
    """Seconds after which attempts were given up, as far as they show it; 0: none."""
    took: Floats = seen.rows["done"] - seen.rows["sent_at"]
    ended = took[seen.rows["cause"] == Cause.TIMEOUT_ATTEMPT]
    if len(ended) < LEAST:
        return 0.0
    usual = float(np.median(ended))
    most = usual * (1.0 + APART) + LATE
    return usual if np.quantile(ended, 0.1) >= usual * (1.0 - APART) - LATE and took.max() <= most else 0.0
