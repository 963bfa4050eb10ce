"""The live picture and the closing table, for the terminal; values in, rich's renderables out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from adaptive.demo import schedule
from adaptive.demo.figures import PATIENCE, Move, Results, Summary, Warned
from replay.scenario import Scenario

STATES = {"HEALTHY": "green", "DEGRADED": "yellow", "CANARY": "magenta", "EJECTED": "red", "DRAINING": "blue"}
TRUTHS = {
    schedule.CALM: "dim",
    schedule.LEAK: "yellow",
    schedule.DOWN: "red",
    schedule.COLD: "cyan",
    schedule.FAILING: "red",
}
WIDE = 100  # columns from which there is room for the rule's doubt and the ports
LOG_LEAST = 3  # lines of the log, however low the terminal


def letter(index: int) -> str:
    """What an instance is called."""
    return chr(ord("A") + index)


def milliseconds(seconds: float | None) -> str:
    """A latency without its unit."""
    if seconds is None or math.isnan(seconds):
        return "–"
    return f"{seconds * 1e3:.0f}" if seconds >= 0.0095 else f"{seconds * 1e3:.1f}"


@dataclass(slots=True)
class View:
    """All that the picture shows of one moment."""

    at: float  # seconds since the start of the load; negative before it
    seconds: float
    seed: int
    plan: Scenario
    ports: list[int] = field(default_factory=list)
    results: Mapping[str, Results] = field(default_factory=dict)  # by the policy's name
    cluster: Mapping[str, Any] = field(default_factory=dict)
    endpoints: Sequence[Mapping[str, Any]] = ()
    moves: Sequence[Move] = ()
    modes: Sequence[tuple[float, str, str]] = ()
    status: str = ""  # while it starts or ends


def live(view: View, width: int, height: int) -> RenderableType:
    """The whole picture."""
    parts: list[RenderableType] = [_title(view), _scores(view), _mode(view), _instances(view, width)]
    used = 1 + (2 + len(view.results)) + 2 + (2 + len(view.plan.instances)) + 2
    parts.append(_log(view, max(LOG_LEAST, height - used - 1)))
    return Group(*parts)


def _title(view: View) -> Text:
    text = Text("Adaptive demo", style="bold")
    if view.status:
        text.append(f"  {view.status}", style="dim")
        return text
    text.append(f"  {max(0.0, view.at):.0f} of {view.seconds:.0f} s", style="not bold")
    text.append(f"  seed {view.seed}; Ctrl-C ends it", style="not bold dim")
    return text


def _scores(view: View) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("same faults, same requests", min_width=26, no_wrap=True)
    for name in ("requests/s", "failed so far", "p50 now, ms", "p99 now, ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, results in view.results.items():
        rate, now = results.now()
        failed = Text(str(results.failed), style="red" if results.failed else "green")
        table.add_row(name, f"{rate:.0f}", failed, milliseconds(now.p50), milliseconds(now.p99))
    table.add_row()
    return table


def _mode(view: View) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    mode, why = view.cluster.get("mode"), view.cluster.get("reason", "")
    if mode == "model":
        text.append("Model: ", style="bold").append("trusted, it decides together with the rule", style="green")
    elif mode:
        text.append("Model: ", style="bold").append(f"learning ({why}); the rule decides alone", style="yellow")
    else:
        text.append("Model: –", style="dim")
    text.append(f"; {view.cluster.get('trained_rows', 0)} labels so far", style="dim")
    if view.cluster.get("panic"):
        text.append("  PANIC", style="bold red")
    text.append("\n")
    return text


def _instances(view: View, width: int) -> Table:
    wide = width >= WIDE
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False, expand=True)
    for name, justify in (("instance", "left"), ("state", "left"), ("weight", "right"), ("P(fail)", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    if wide:
        table.add_column("doubt", justify="right", no_wrap=True)
    for name in ("p50", "p95", "in flight", "failed/5 s"):
        table.add_column(
            name if wide else {"in flight": "flight", "failed/5 s": "failed"}.get(name, name), justify="right"
        )
    table.add_column("what is truly going on", no_wrap=True, overflow="ellipsis", ratio=1)
    for index, instance in enumerate(view.plan.instances):
        name = letter(index)
        if wide and index < len(view.ports):
            name += f"  :{view.ports[index]}"
        kind, truth = schedule.describe(instance.faults, view.at)
        endpoint = view.endpoints[index] if index < len(view.endpoints) else None
        cells = _cells(endpoint, wide) if endpoint is not None else [""] * (8 if wide else 7)
        table.add_row(name, *cells, Text(truth or "·", style=TRUTHS[kind]))
    table.add_row()
    return table


def _cells(endpoint: Mapping[str, Any], wide: bool) -> list[str | Text]:
    """One instance as the gateway sees it, from state to failures."""
    health = str(endpoint["health"])
    window = endpoint["windows"]["5s"]
    failures = int(window["failures"])
    cells: list[str | Text] = [
        Text(health.lower(), style=STATES.get(health, "")),
        str(endpoint["weight"]),
        _risk(endpoint["probability"]),
    ]
    if wide:
        cells.append(_risk(endpoint["suspicion"]))
    return [
        *cells,
        milliseconds(window["p50_seconds"]),
        milliseconds(window["p95_seconds"]),
        str(endpoint["in_flight"]),
        Text(f"{failures}/{window['attempts']}", style="red" if failures else "dim"),
    ]


def _risk(value: float | None) -> Text:
    if value is None:
        return Text("–", style="dim")
    return Text(f"{value:.2f}", style="bold red" if value >= 0.5 else "yellow" if value >= 0.2 else "")


def _log(view: View, lines: int) -> Text:
    text = Text("moves, and why\n", style="dim", no_wrap=True, overflow="ellipsis")
    for entry in log_lines(view.moves, view.modes)[-lines:]:
        text.append(entry).append("\n")
    return text


def log_lines(moves: Sequence[Move], modes: Sequence[tuple[float, str, str]]) -> list[Text]:
    """Moves of instances and of trust, in order of time; the first mode is where it began, and no move."""
    entries = [(move.at, move_line(move)) for move in moves]
    for at, mode, why in modes[1:]:
        who = "the model decides, too" if mode == "model" else "the rule decides alone"
        entries.append((at, Text(f"{at:5.1f} s  {who}: {why}", style="not dim")))
    return [text for _, text in sorted(entries, key=lambda entry: entry[0])]


def move_line(move: Move) -> Text:
    """One move as a line."""
    text = Text(f"{move.at:5.1f} s  {letter(move.instance)}  ", style="not dim")
    text.append(f"{move.after.lower():8}", style=STATES.get(move.after, ""))
    return text.append(f"  {move.reason}", style="not dim")


def closing(rows: Mapping[str, Summary], rate: float) -> Table:
    """The comparison; the best of a column stands out, if one is."""
    table = Table(title="The same faults and the same arrivals, at the same time", title_justify="left")
    for name in ("", "requests", "failed", "p50 ms", "p99 ms", "p99.9 ms"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    table.caption = (
        f"{rate:.0f} requests/s each, half of them POST. Latency counts from the moment a request was due; "
        f"a failed request counts as {PATIENCE:g} s."
    )
    table.caption_justify = "left"
    for name, row in rows.items():
        cells = [Text(name), Text(f"{row.requests:,}"), Text(f"{row.failed:,}")]
        cells += [Text(milliseconds(value)) for value in (row.p50, row.p99, row.p999)]
        for column in range(1, len(row)):
            values = [other[column] for other in rows.values()]
            if row[column] == min(values) and min(values) < max(values):
                cells[column + 1].stylize("bold green")
        table.add_row(*cells)
    return table


def warning_lines(instance: int, crash: float, leaked: float, seen: Warned, level: float, why_not: str) -> list[str]:
    """How early one crash was seen coming, in sentences. `why_not`: why the model was not trusted; empty if it was."""
    name = letter(instance)
    lines = [f"{name} leaked for {leaked:.0f} s and crashed at {crash:.0f} s."]
    if seen.lowered is None:
        lines.append("· Adaptive had not moved it before the crash.")
    else:
        lines.append(
            f"· Adaptive first lowered it {seen.lowered:.1f} s before the crash ({seen.reason}); "
            f"from then on it was out of full service for {seen.away:.0%} of the time."
        )
    if seen.predicted is not None:
        lines.append(
            f"· The model's probability reached {level:g}, where it acts, {seen.predicted:.1f} s before the crash."
        )
    elif why_not:
        lines.append(f"· The model was not trusted before the crash ({why_not}): the rule and the fast loop did this.")
    else:
        lines.append(f"· The model's probability did not reach {level:g}, where it acts, before the crash.")
    return lines
