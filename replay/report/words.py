"""Figures as people read them: units by figure, and as many digits as the interval leaves meaning to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from replay.report.document import Document, Interval, Judged, Row

NONE = "-"
HEADS = {"failed": "failed", "failed_share": "failed", "p999": "p99.9"}


def seconds(value: float | None) -> str:
    """A latency: `12.3 ms`, `1.24 s`."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) >= 1.0 or value == 0.0:
        return f"{value:.3g} s" if abs(value) < 1000 else f"{value:.0f} s"
    return f"{milliseconds(value)} ms" if abs(value) >= 1e-5 else f"{1e6 * value:.3g} us"


def milliseconds(value: float | None) -> str:
    """The number alone, three digits: `0.482`, `12.3`, `1240`."""
    if value is None or not math.isfinite(value):
        return NONE
    value *= 1e3
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(3, max(0, digits))}f}"


def share(value: float | None) -> str:
    """A share: `0.12%`."""
    if value is None or not math.isfinite(value):
        return NONE
    return "0%" if value == 0.0 else f"{100 * value:.2g}%" if value < 0.1 else f"{100 * value:.1f}%"


def count(value: float | None) -> str:
    """A number of things: whole where it is, with commas between thousands."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.3g}"


def figure(name: str, value: float | None) -> str:
    """A figure of a row with its unit."""
    return {"failed": count, "failed_share": share}.get(name, seconds)(value)


def interval(name: str, span: Interval | Sequence[float | None]) -> str:
    """`11.9 to 12.8 ms`; "" where there is none."""
    low, high = span
    if low is None or high is None:
        return ""
    if name in ("failed", "failed_share"):
        return f"{figure(name, low)} to {figure(name, high)}"
    a, b = seconds(low), seconds(high)
    same = a.partition(" ")[2] == b.partition(" ")[2]
    return f"{a.partition(' ')[0] if same else a} to {b}"


def bare(name: str, span: Interval | Sequence[float | None]) -> str:
    """The interval in the unit of a table's column: milliseconds, or requests."""
    low, high = span
    if low is None or high is None:
        return ""
    write = count if name == "failed" else milliseconds
    return f"[{write(low)} {write(high)}]"


def where(scenario: str, policy: str, made: Document) -> str:
    """A row's name: its scenario only where the report has several."""
    return f"{scenario}: {policy}" if scenario and several(made) else policy


def several(made: Document) -> bool:
    """Whether the report has more than one scenario."""
    return len({r["scenario"] for r in made["rows"]}) > 1


def promise(one: Judged) -> str:
    """What came of a threshold, behind its mark: the figure, its interval, and whether that agrees."""
    if one["value"] is None:
        return one["reason"]
    quotient = "/" in one["policy"] and "/" in one["text"]
    value = share(one["value"]) if quotient else figure(one["figure"], one["value"])
    low, high = one["interval"]
    if low is None or high is None:
        return f"{value}, without an interval"
    span = f"{share(low)} to {share(high)}" if quotient else interval(one["figure"], one["interval"])
    doubt = "" if one["supported"] is not None else ": the interval holds both answers"
    return f"{value} ({span}){doubt}"


def comparison(made: Document) -> str:
    """What stands above a report's comparisons."""
    if made["kind"] == "experiment":
        return "had all of the traffic been the one's, and not the other's"
    return "compared on the same arrivals"


def better(difference: float | None, span: Interval | Sequence[float | None], verdict: bool | None) -> str:
    """What a comparison says."""
    if difference is None or None in span:
        return "no interval, so nothing is said"
    if verdict is None:
        return "no difference that the interval would show"
    return "better" if verdict else "worse"


def failed(row: Row) -> str:
    """Failures of a row with their share."""
    return f"{count(row['failed'])} ({share(row['failed_share'])})"
