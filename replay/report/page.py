"""A report as one HTML file: it opens offline, fetches nothing, runs no script, and carries its own document.

The document stands in the page as JSON, where `document.read` finds it: a page can be rendered again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from replay.report import words
from replay.report.document import CLOSES, LATENCIES, OPENS, Document

SHOWN = ("p50", "p90", "p95", "p99", "p999", "mean")
PICTURES = 12  # of weights and states: each has its policy and scenario; beyond these a page is no longer looked at
MOVES = 60


class Picture(NamedTuple):
    """One picture with its words. `legend`: (classes of its mark, name)."""

    title: str
    note: str
    svg: str
    legend: list[tuple[str, str]]


def page(made: Document) -> str:
    """The page. Everything in it that came from a document is escaped."""
    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.globals["words"] = words
    template = env.from_string(resources.files("replay.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        made=made,
        several=words.several(made),
        latencies=SHOWN,
        best=_best(made),
        pictures=list(_pictures(made)),
        moves=made["moves"][:MOVES],
        data=_data(made),
        opens=OPENS,
        closes=CLOSES,
    )


def _data(made: Document) -> str:
    """JSON that cannot end the element that it stands in, nor begin a comment."""
    text = json.dumps(made, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _best(made: Document) -> dict[tuple[str, str], float]:
    """By scenario and figure the lowest value, to be set in bold where there is something to compare."""
    out: dict[tuple[str, str], float] = {}
    for scenario in {r["scenario"] for r in made["rows"]}:
        rows = [r for r in made["rows"] if r["scenario"] == scenario]
        for name in (*LATENCIES, "failed"):
            values = [float(v) for r in rows if (v := r.get(name)) is not None]  # type: ignore[arg-type]
            if len(values) > 1 and min(values) < max(values):
                out[scenario, name] = min(values)
    return out


def _pictures(made: Document) -> Iterator[Picture]:
    if not any(made["series"].get(key) for key in ("latency", "errors", "weights", "states")):
        return
    from replay.report import pictures

    series = made["series"]
    groups = _groups(made)
    for number, (scenario, keys) in enumerate(groups.items()):
        ending = f" in {scenario}" if scenario else ""
        lines = {key: index for index, key in enumerate(keys)}
        legend = [(pictures.key(i), _short(scenario, key)) for key, i in lines.items()]
        curves = {key: series["latency"][key] for key in keys if key in series.get("latency", {})}
        if any(one["q"] for one in curves.values()):
            svg = pictures.latency(f"latency{number}", curves, lines)
            yield Picture(f"Latency{ending}", "by percentile; failed requests at the time-out", svg, legend)
        counts = {key: series["errors"][key] for key in keys if key in series.get("errors", {})}
        if any(sum(one["failed"]) for one in counts.values()):
            svg = pictures.errors(f"errors{number}", counts, lines)
            yield Picture(f"Errors over time{ending}", "by when the requests were due", svg, legend)
    left = PICTURES
    for number, key in enumerate(dict.fromkeys([*series.get("weights", {}), *series.get("states", {})])):
        shares, steps = series.get("weights", {}).get(key), series.get("states", {}).get(key)
        if shares and shares["share"] and left:
            left -= 1
            legend = [(pictures.key(i), name) for i, name in enumerate(pictures.movers(shares))]
            note = "" if len(shares["share"]) <= pictures.LINES else "; the endpoints that changed the most in colours"
            title = f"{'Weights' if shares['of'] == 'weight' else 'Traffic'} over time: {key}"
            yield Picture(title, f"each endpoint's share{note}", pictures.weights(f"weights{number}", shares), legend)
        if steps and left and any(len(one) > 1 for one in steps.values()):
            left -= 1
            until = series.get("until") or max(one[-1][0] for one in steps.values())
            legend = [(name.lower(), name.lower()) for name in pictures.STATES]
            svg = pictures.states(f"states{number}", steps, until)
            yield Picture(f"States over time: {key}", "as the first gateway published them", svg, legend)


def _groups(made: Document) -> dict[str, list[str]]:
    """The names of series by scenario, "" where the report has one alone."""
    names = dict.fromkeys([*made["series"].get("latency", {}), *made["series"].get("errors", {})])
    if not words.several(made):
        return {"": list(names)}
    scenarios = dict.fromkeys(r["scenario"] for r in made["rows"])
    out: dict[str, list[str]] = {}
    for name in names:
        owner = next((s for s in scenarios if name.startswith(f"{s}: ")), "")
        out.setdefault(owner, []).append(name)
    return out


def _short(scenario: str, key: str) -> str:
    return key.removeprefix(f"{scenario}: ") if scenario else key
