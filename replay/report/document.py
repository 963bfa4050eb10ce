"""The document of a report: plain dicts and lists, as in JSON; whoever makes one, all writers can write it.

Times are float seconds. A figure that cannot be had is None, never NaN: JSON knows none. An interval is [low, high] of
95 %. `row` and `document` start one with all that a writer needs; `check` says what is wrong with one that was read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from adaptive.version import __version__

# The figures of a row, in the order in which they are shown. Latencies are of judged requests, from when each was due;
# a failed request counts as the clients' time-out.
LATENCIES = ("p50", "p90", "p95", "p99", "p999", "mean")
FIGURES = (*LATENCIES, "failed", "failed_share")

Interval = list[float | None]


# The form of a document. A new one takes keys away or gives them another meaning; keys that join leave it as it is.
FORMAT = 1


class Row(TypedDict):
    """One policy in one scenario (one seed's, or the mean of several)."""

    scenario: str
    policy: str
    requests: int
    failed: float  # number of requests: a mean over seeds need not be whole
    failed_share: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    mean: float | None
    intervals: dict[str, Interval]  # by figure
    attempts_per_request: float | None
    note: NotRequired[str]  # what sets this row apart, such as "recorded"
    estimators: NotRequired[dict[str, Any]]  # off-policy estimators beside the simulation: [value, low, high] each
    ess: NotRequired[float | None]  # their effective sample size


class Refused(TypedDict):
    """What could not be answered, and why."""

    policy: str
    reason: str
    scenario: NotRequired[str]


class Compared(TypedDict):
    """One figure of a policy against another's, paired on the same arrivals."""

    scenario: str
    policy: str
    to: str
    figure: str
    difference: float | None  # policy - to; negative is better
    interval: Interval
    better: bool | None  # None: the interval holds zero


class Curve(TypedDict):
    """A distribution: the quantiles `q` and the latency at each."""

    q: list[float]
    seconds: list[float]


class Counts(TypedDict):
    """Requests by when they were due: `t` are the bins' beginnings."""

    t: list[float]
    requests: list[int]
    failed: list[int]


class Shares(TypedDict):
    """Of all attempts, or of all weight, what each endpoint had: `share[endpoint]` has one value for each of `t`."""

    t: list[float]
    of: Literal["attempts", "weight"]
    share: dict[str, list[float]]


class Series(TypedDict, total=False):
    """What is drawn, by series' name: the policy, with "scenario: " before it where there are several scenarios."""

    latency: dict[str, Curve]
    errors: dict[str, Counts]
    weights: dict[str, Shares]
    states: dict[str, dict[str, list[list[Any]]]]  # by endpoint: [since, state's name], in order of time
    until: float  # the end of the states


class Move(TypedDict):
    """A change of an endpoint's state, with the sentence that explains it."""

    at: float
    policy: str
    endpoint: str
    before: str
    after: str
    reason: str
    scenario: NotRequired[str]


class Judged(TypedDict):
    """A threshold on one row. `supported`: whether the interval agrees; None where it holds both answers."""

    text: str
    scenario: str
    policy: str
    figure: str
    value: float | None
    interval: Interval
    ok: bool
    supported: bool | None
    reason: str  # why there is no value; "" where there is one


class Document(TypedDict):
    """The whole. `facts` are shown as lines; keys that a command adds of its own stay in the JSON."""

    format: int
    kind: str  # evaluate, simulate, sweep, arena, replay
    title: str
    command: str  # that makes it again
    adaptive: str  # the version
    partial: str  # what is missing; "" where nothing is
    seeds: list[int]
    hashes: dict[str, str]  # trace, scenario, model, config
    warnings: list[str]
    refused: list[Refused]
    rows: list[Row]
    compared: list[Compared]
    series: Series
    moves: list[Move]
    thresholds: list[Judged]
    facts: NotRequired[list[str]]


class DocumentError(Exception):
    """Not a report's document; the message names the key."""


def document(kind: str, title: str, command: str, seeds: Iterable[int] = (), partial: str = "") -> Document:
    """One that says nothing yet."""
    return {
        "format": FORMAT,
        "kind": kind,
        "title": title,
        "command": command,
        "adaptive": __version__,
        "partial": partial,
        "seeds": list(seeds),
        "hashes": {},
        "warnings": [],
        "refused": [],
        "rows": [],
        "compared": [],
        "series": {},
        "moves": [],
        "thresholds": [],
        "facts": [],
    }


def row(
    scenario: str,
    policy: str,
    requests: int,
    values: Mapping[str, float],
    intervals: Mapping[str, Iterable[float]],
    attempts_per_request: float | None = None,
) -> Row:
    """A row from figures by name. `failed` is a number of requests; the share and its interval follow from it."""
    made: dict[str, Any] = {"scenario": scenario, "policy": policy, "requests": int(requests)}
    made |= {name: values.get(name) for name in LATENCIES}
    failed = float(values.get("failed", 0.0))
    made["failed"], made["failed_share"] = failed, failed / requests if requests else None
    spans = {name: list(span) for name, span in intervals.items()}
    if "failed" in spans and requests:
        spans["failed_share"] = [end / requests for end in spans["failed"]]
    made["intervals"], made["attempts_per_request"] = spans, attempts_per_request
    return made  # type: ignore[return-value]


def clean(value: Any) -> Any:
    """The same with None for every number that JSON cannot say, and plain numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(key): clean(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(each) for each in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


# Where the document stands in a page. Nothing in it can end the element: every "<" is written as an escape.
OPENS, CLOSES = '<script type="application/json" id="document">', "</script>"


def within(text: str) -> str:
    """The JSON in a page; any other text as it is."""
    start = text.find(OPENS)
    return text[start + len(OPENS) : text.find(CLOSES, start)] if start >= 0 else text


_WORDS = ("warnings", "facts")
_TEXTS = ("kind", "title", "command", "adaptive", "partial")
_LISTS = ("seeds", "warnings", "refused", "rows", "compared", "moves", "thresholds")
_FIGURE = (int, float, type(None))
_ITEMS: Mapping[str, Mapping[str, Any]] = {
    "rows": {
        "scenario": str, "policy": str, "requests": int, "intervals": dict, "failed": (int, float),
        "attempts_per_request": _FIGURE,
    },
    "refused": {"policy": str, "reason": str},
    "compared": {
        "scenario": str, "policy": str, "to": str, "figure": str, "interval": list, "difference": _FIGURE,
        "better": (bool, type(None)),
    },
    "moves": {"at": (int, float), "policy": str, "endpoint": str, "before": str, "after": str, "reason": str},
    "thresholds": {
        "text": str, "scenario": str, "policy": str, "figure": str, "ok": bool, "value": _FIGURE, "interval": list,
        "reason": str,
    },
}  # fmt: skip
_SERIES = {"latency": ("q", "seconds"), "errors": ("t", "requests", "failed"), "weights": ("t", "share")}


def check(made: Any) -> Document:
    """The same, once it holds what the writers need. Raises DocumentError, which names the key."""
    if not isinstance(made, dict):
        raise DocumentError("a report is a JSON object")
    if not isinstance(form := made.get("format", FORMAT), int) or form < 1:
        raise DocumentError("format: must be a whole number from 1 up")
    if form > FORMAT:
        raise DocumentError(f"format: {form} is newer than this Adaptive reads ({FORMAT}): a newer one is needed")
    for keys, kind, name in (
        (_TEXTS, str, "a text"),
        (_LISTS, list, "a list"),
        (("hashes", "series"), dict, "an object"),
    ):
        for key in keys:
            if not isinstance(made.get(key), kind):
                raise DocumentError(f"{key}: {'is missing' if key not in made else f'must be {name}'}")
    for key in _WORDS:
        if not isinstance(each := made.get(key, []), list) or not all(isinstance(one, str) for one in each):
            raise DocumentError(f"{key}: must be a list of texts")
    for key, wanted in _ITEMS.items():
        for number, item in enumerate(made[key]):
            for part, kind in wanted.items():
                if not isinstance(item, dict) or not isinstance(item.get(part, Ellipsis), kind):
                    raise DocumentError(f"{key}[{number}].{part}: is missing or of another kind")
            if "interval" in wanted:
                _check_span(item["interval"], f"{key}[{number}].interval")
    for number, each in enumerate(made["rows"]):
        for name in FIGURES:
            if not _is_figure(each.get(name, "")):
                raise DocumentError(f"rows[{number}].{name}: must be a number")
        for name, span in each["intervals"].items():
            _check_span(span, f"rows[{number}].intervals.{name}")
    for key, parts in _SERIES.items():
        group = made["series"].get(key, {})
        if not isinstance(group, dict):
            raise DocumentError(f"series.{key}: must be an object")
        for name, one in group.items():
            _check_series(one, parts, f"series.{key}.{name}")
    return made  # type: ignore[return-value]


def _is_figure(value: Any) -> bool:
    return isinstance(value, _FIGURE) and not isinstance(value, bool)


def _check_span(span: Any, path: str) -> None:
    if not isinstance(span, list) or len(span) != 2 or not all(map(_is_figure, span)):
        raise DocumentError(f"{path}: must be a pair of numbers")


def _check_series(one: Any, parts: Iterable[str], path: str) -> None:
    lengths = set()
    for part in parts:
        column = one.get(part) if isinstance(one, dict) else None
        for values in column.values() if isinstance(column, dict) else [column]:
            if not isinstance(values, list) or not all(isinstance(v, (int, float)) or v is None for v in values):
                raise DocumentError(f"{path}.{part}: must be a list of numbers")
            lengths.add(len(values))
    if len(lengths) > 1:
        raise DocumentError(f"{path}: its columns have {sorted(lengths)} values")


def read(path: Path) -> Document:
    """A document that was written as JSON or as a page. Raises DocumentError, which names the file and the key."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return check(json.loads(within(text)))
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{path}: not JSON: {error}") from None
    except DocumentError as error:
        raise DocumentError(f"{path}: {error}") from None
