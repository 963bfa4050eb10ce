"""Thresholds, as in k6: promises on figures of the report, `p99<200ms`, `failed<0.1%`, `adaptive:p50<=20ms`.

    [POLICY:]FIGURE OP VALUE             FIGURE: p50 p90 p95 p99 p999 mean failed; OP: < <= > >=
    adaptive/least_request:p99<90%       the quotient of two policies' figures, a share or a plain number

Without a policy it is asked of every policy. Latencies take units (ms, s, us), `failed` a share with % or a number of
requests without. A threshold is judged on the figure itself, as an operator would read it off the table; beside it
stands whether the whole 95 % interval agrees. To ask it of the interval would break every promise whose trace is short,
and the way out would be to promise less: the figure and the doubt are told apart. A figure that is not there (the
policy was refused, nothing was answered) breaks its threshold: what is not known is not kept.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from adaptive.config.suggest import suggestion
from adaptive.config.units import read_duration
from replay.report.document import LATENCIES, Compared, Document, Interval, Judged, Row

_OPS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FORM = re.compile(r"(?:(?P<policy>.+):)?\s*(?P<figure>[a-z_0-9]+)\s*(?P<op>[<>]=?)\s*(?P<value>[^<>=]+)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
EXAMPLE = "'p99<200ms', 'failed<0.1%', 'adaptive:p50<=20ms' or 'adaptive/least_request:p99<90%'"


class ThresholdError(ValueError):
    """A threshold cannot be read; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One promise. `policy` "" is every policy; with `to`, the quotient of the two is meant."""

    text: str
    policy: str
    to: str
    figure: str  # a row's: failed is split into failed and failed_share
    op: str
    value: float

    def kept(self, value: float) -> bool:
        """Whether this value keeps it."""
        return _OPS[self.op](value, self.value)


def parse(text: str, policies: Iterable[str]) -> Threshold:
    """Raises ThresholdError for what cannot be read and for policies that are not among these."""
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ThresholdError(f"{text!r} is no threshold: write {EXAMPLE}")
    known = list(policies)
    policy = found["policy"] or ""
    first, slash, to = policy.partition("/") if policy not in known else (policy, "", "")
    for name in [first] * bool(policy) + [to] * bool(slash):
        if name not in known:
            raise ThresholdError(
                f"{text!r}: there is no policy {name!r} here{suggestion(name, known) or _among(known)}"
            )
    figure = found["figure"]
    if figure not in (*LATENCIES, "failed"):
        among = suggestion(figure, [*LATENCIES, "failed"]) or f": {', '.join(LATENCIES)}, failed"
        raise ThresholdError(f"{text!r}: there is no figure {figure!r}{among}")
    value, share = _value(text, found["value"].strip(), figure, bool(slash))
    name = "failed_share" if figure == "failed" and share and not slash else figure
    return Threshold(text.strip(), first, to, name, found["op"], value)


def _among(known: Sequence[str]) -> str:
    return f": {', '.join(known)}"


def _value(text: str, written: str, figure: str, quotient: bool) -> tuple[float, bool]:
    """The value, and whether it was a share."""
    share = written.endswith("%")
    number = written.removesuffix("%").strip()
    if quotient or figure == "failed":
        if not _NUMBER.fullmatch(number):
            kind = "a share such as 90%" if quotient else "a share such as 0.1% or a number of requests"
            raise ThresholdError(f"{text!r}: {written!r} is not {kind}")
        return float(number) / (100.0 if share else 1.0), share
    try:
        return read_duration("0s" if written == "0" else written), False
    except ValueError as error:
        raise ThresholdError(f"{text!r}: {error}") from None


def judge(thresholds: Iterable[Threshold], made: Document) -> list[Judged]:
    """Each threshold on each row that it asks of, in order."""
    out: list[Judged] = []
    for each in thresholds:
        rows = [r for r in made["rows"] if each.policy in ("", r["policy"])]
        out += [_judge(each, made, one) for one in rows]
        for gone in made["refused"]:
            if each.policy in ("", gone["policy"]):
                where = gone.get("scenario", "")
                out.append(_verdict(each, where, gone["policy"], None, [None, None], f"refused: {gone['reason']}"))
        if not any(j["text"] == each.text for j in out):
            out.append(_verdict(each, "", each.policy, None, [None, None], "the report has no such row"))
    return out


def _judge(each: Threshold, made: Document, one: Row) -> Judged:
    if not each.to:
        span = one["intervals"].get(each.figure, [None, None])
        value: float | None = one.get(each.figure)  # type: ignore[assignment]
        reason = "" if value is not None else "there is no such figure"
        return _verdict(each, one["scenario"], one["policy"], value, span, reason)
    name = f"{one['policy']}/{each.to}"
    other = next((r for r in made["rows"] if r["policy"] == each.to and r["scenario"] == one["scenario"]), None)
    if other is None:
        return _verdict(each, one["scenario"], name, None, [None, None], f"{each.to} has no row here")
    above, below = one.get(each.figure), other.get(each.figure)
    if not isinstance(above, (int, float)) or not isinstance(below, (int, float)) or below == 0.0:
        return _verdict(each, one["scenario"], name, None, [None, None], f"{each.figure} of {each.to} is 0 or unknown")
    span = _quotient_interval(each, one, float(below), made["compared"])
    return _verdict(each, one["scenario"], name, above / below, span, "")


def _quotient_interval(each: Threshold, one: Row, below: float, compared: Iterable[Compared]) -> Interval:
    """From the paired difference, where the two were compared: what they share cancels there."""
    for found in compared:
        if found["figure"] != each.figure or found["scenario"] != one["scenario"]:
            continue
        low, high = found["interval"]
        if low is None or high is None:
            continue
        if (found["policy"], found["to"]) == (one["policy"], each.to):
            return [1.0 + low / below, 1.0 + high / below]
        if (found["policy"], found["to"]) == (each.to, one["policy"]):
            return [1.0 - high / below, 1.0 - low / below]
    return [None, None]


def _verdict(
    each: Threshold, scenario: str, policy: str, value: float | None, interval: Interval, reason: str
) -> Judged:
    ends = [end for end in interval if end is not None]
    sides = {each.kept(end) for end in ends} if len(ends) == 2 else set()
    return {
        "text": each.text,
        "scenario": scenario,
        "policy": policy,
        "figure": each.figure,
        "value": value,
        "interval": list(interval),
        "ok": value is not None and each.kept(value),
        "supported": sides.pop() if len(sides) == 1 else None,
        "reason": reason,
    }
