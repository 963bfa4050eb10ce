"""The pictures of a report, as SVG to stand in a page: drawn by matplotlib, coloured by the page.

Why matplotlib: charts are not what this project is for, and the page must open offline, be the same bytes for the same
document, print, and need no script. A chart library in the browser would have to be fetched while the wheel is built,
and a source tree would be without pictures. Its colours are placeholders here, replaced by the page's CSS variables,
so that one picture is readable in the light and in the dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from replay.report.document import Counts, Curve, Shares

WIDTH, HEIGHT = 6.4, 3.3  # inches of 72 points: two stand side by side on a wide screen, one fills a telephone's
COLOURS = 10  # of lines; the page defines as many, told apart also by those who see no red or no green
# After the last colour they begin again in the next style, dashes of so many points and gaps; the legend has them too.
STYLES: Sequence[Any] = ("solid", (0, (4.0, 1.5)), (0, (1.2, 1.2)))
INK, FAINT, GRID = "#010203", "#010204", "#010205"
STATES = {"HEALTHY": "#010206", "DEGRADED": "#010207", "CANARY": "#010208", "EJECTED": "#010209", "DRAINING": "#01020a"}
LINES = 5  # endpoints that are drawn in colours, as many as an eye can follow; the others stay grey
ROWS = 30  # endpoints whose states are drawn

_VARIABLES = {INK: "ink", FAINT: "faint", GRID: "grid", **{value: name.lower() for name, value in STATES.items()}}
_QUANTILES = (0.5, 0.9, 0.99, 0.999, 0.9999)
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are names
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "font.size": 10.0,
    "lines.linewidth": 1.8,
    "path.simplify": True,
}


def line(index: int) -> Mapping[str, Any]:
    """How a line looks. Its colour is a placeholder, which the page calls --line0 and so on."""
    return {"color": f"#0a0b{index % COLOURS:02x}", "linestyle": STYLES[index // COLOURS % len(STYLES)]}


def key(index: int) -> str:
    """The classes of the same line in a legend."""
    return f"line{index % COLOURS} style{index // COLOURS % len(STYLES)}"


@contextmanager
def _drawing(name: str, height: float = HEIGHT) -> Iterator[tuple[Figure, Any, list[str]]]:
    """A figure, its axes, and a list to which its SVG is added at the end; `name` keeps its ids apart from others'."""
    with mpl.rc_context({**_LOOK, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes: Any = figure.subplots()
        made: list[str] = []
        yield figure, axes, made
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        made.append(_themed(out.getvalue(), name))


def _themed(text: str, name: str) -> str:
    """The <svg> element alone, with ids of its own and the page's colours."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"#0a0b([0-9a-f]{2})", lambda found: f"var(--line{int(found[1], 16)})", text)
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, f"var(--{variable})")
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img" aria-hidden="true">', text, count=1
    )


def latency(name: str, curves: Mapping[str, Curve], lines: Mapping[str, int]) -> str:
    """Latency by percentile, both axes by logarithms: to the right the tail, one step a nine."""
    with _drawing(name) as (_, axes, made):
        deepest = 1.0
        for key, one in curves.items():
            q, y = np.array(one["q"], dtype=float), np.array(one["seconds"], dtype=float)
            good = (q < 1.0) & (y > 0.0)
            if not good.any():
                continue
            x = 1.0 / (1.0 - q[good])
            deepest = max(deepest, float(x[-1]))
            axes.plot(x, y[good], drawstyle="steps-post", **line(lines[key]))
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = [q for q in _QUANTILES if 1.0 / (1.0 - q) <= 1.2 * deepest]
        axes.set_xticks([1.0 / (1.0 - q) for q in ticks], [f"{100 * q:g}%" for q in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("share of requests that were faster")
    return made[0]


def _tick(value: float) -> str:
    return f"{value:g} s" if value >= 1.0 else f"{1e3 * value:g} ms" if value >= 1e-3 else f"{1e6 * value:g} us"


def errors(name: str, counts: Mapping[str, Counts], lines: Mapping[str, int]) -> str:
    """Failed requests a second, by when they were due."""
    with _drawing(name) as (_, axes, made):
        for key, one in counts.items():
            t = np.array(one["t"], dtype=float)
            width = float(t[1] - t[0]) if len(t) > 1 else 1.0
            failed = np.array(one["failed"]) / width
            axes.plot(t, failed, drawstyle="steps-post", linewidth=1.4, **line(lines[key]))
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(left=0.0)
        axes.set_xlabel("seconds")
        axes.set_ylabel("failed requests a second")
    return made[0]


def movers(one: Shares) -> list[str]:
    """The endpoints whose share changed the most: those that are drawn in colours, in the order of their names."""
    spread = {key: float(np.std(values)) for key, values in one["share"].items() if values}
    return sorted(sorted(spread, key=lambda key: (-spread[key], key))[:LINES])


def weights(name: str, one: Shares) -> str:
    """Each endpoint's share over time."""
    coloured = movers(one)
    with _drawing(name) as (_, axes, made):
        for key in one["share"]:
            if key not in coloured:
                axes.plot(one["t"], 100 * np.array(one["share"][key]), color=FAINT, linewidth=0.7, alpha=0.5)
        for index, key in enumerate(coloured):
            values = 100 * np.array(one["share"][key])
            axes.plot(one["t"], values, drawstyle="steps-post", linewidth=1.3, **line(index))
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(left=0.0)
        axes.set_xlabel("seconds")
        axes.set_ylabel(f"% of the {one['of']}")
    return made[0]


def states(name: str, by: Mapping[str, Sequence[Sequence[Any]]], until: float) -> str:
    """Each endpoint's state over time, a bar each; of many endpoints those that changed."""
    shown = list(by) if len(by) <= ROWS else [key for key in by if len(by[key]) > 1][:ROWS]
    with _drawing(name, max(1.2, 0.75 + 0.2 * len(shown))) as (_, axes, made):
        for index, key in enumerate(shown):
            steps = by[key]
            ends = [step[0] for step in steps[1:]] + [max(until, steps[-1][0])]
            for (start, state), end in zip(steps, ends, strict=True):
                fill = STATES.get(state, FAINT)
                axes.broken_barh([(start, end - start)], (index - 0.38, 0.76), color=fill, linewidth=0)
        axes.set_yticks(range(len(shown)), [key[:28] for key in shown])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0.0, until)
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("seconds")
    return made[0]
