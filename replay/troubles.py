"""Faults made in code: every parameter of their kind, those not given at their default."""

from __future__ import annotations

from replay.scenario import FAULTS, Fault, ScenarioError


def fault(kind: str, start: float, end: float, **values: float) -> Fault:
    """One fault from `start` until `end`. ScenarioError for a kind or parameter that does not exist or lacks."""
    if kind not in FAULTS:
        raise ScenarioError(f"there is no fault {kind!r}; known are {', '.join(FAULTS)}")
    required, optional = FAULTS[kind]
    wrong = (required - values.keys()) | (values.keys() - required - optional.keys())
    if wrong:
        raise ScenarioError(f"{kind}: parameters are {', '.join((*sorted(required), *optional))}, not {sorted(values)}")
    return Fault(kind, start, end, {key: float(value) for key, value in ({**optional, **values}).items()})
