"""Service times: the quantile function of a `Service` applied to standard normals, all at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from replay.scenario import Service

Floats = np.ndarray[Any, np.dtype[np.float64]]


def times(service: Service, normal: Floats, work: Floats) -> list[float]:
    """Seconds for each request, without faults, as plain floats."""
    made: list[float] = draw(service, normal, work).tolist()
    return made


def once(service: Service, normal: float, work: float) -> float:
    """The same of one request."""
    if service.kind == "lognormal":
        mu = math.log(service.mean) - service.spread**2 / 2
        return float(np.exp(mu + service.spread * normal)) * work
    return times(service, np.array([normal]), np.array([work]))[0]


def draw(service: Service, normal: Floats, work: Floats) -> Floats:
    """The same as an array. `normal` and `work` have shape (n,)."""
    if service.kind == "lognormal":
        mu = math.log(service.mean) - service.spread**2 / 2
        found = np.exp(mu + service.spread * normal)
    elif service.kind == "constant":
        found = np.full(len(normal), service.mean)
    elif service.kind == "normal":
        found = np.maximum(0.0, service.mean * (1.0 + service.spread * normal))
    else:
        from scipy.special import ndtr

        below = ndtr(normal)
        if service.kind == "exponential":
            found = -service.mean * np.log1p(-np.minimum(below, 1.0 - 1e-16))
        else:
            table = np.asarray(service.table, dtype=np.float64)
            found = np.interp(below, np.linspace(0.0, 1.0, len(table)), table)
    made: Floats = found * work
    return made


def mean(service: Service) -> float:
    """The expected service time, seconds."""
    if service.kind != "quantiles":
        return service.mean
    table = np.asarray(service.table, dtype=np.float64)
    return float((table[1:] + table[:-1]).mean() / 2)
