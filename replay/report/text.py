"""A report for a terminal: thresholds first, as k6 has it, then the figures with their intervals, then what to mind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from replay.report import words
from replay.report.document import Document, Row

SHOWN = ("p50", "p90", "p99", "p999")  # the other figures stand in the JSON, the CSV and the page
MOVES = 8  # changes of state that are told; more of them fill the screen
REASON = 240  # characters of a sentence


def text(made: Document) -> str:
    """The whole, ending in a new line."""
    return "\n".join(_lines(made)).rstrip("\n") + "\n"


def _lines(made: Document) -> Iterator[str]:
    yield printable(made["title"])
    if made["partial"]:
        yield f"PARTIAL: {printable(made['partial'])}"
    yield ""
    if made["thresholds"]:
        yield from _thresholds(made)
        yield ""
    for scenario in dict.fromkeys(r["scenario"] for r in made["rows"]):
        rows = [r for r in made["rows"] if r["scenario"] == scenario]
        if scenario:
            yield f"{printable(scenario)}, latencies in ms, [95 % intervals]"
        yield from _aligned(_figures(rows))
        yield ""
    if made["compared"]:
        yield words.comparison(made)
        yield from _compared(made)
        yield ""
    for gone in made["refused"]:
        name = words.where(gone.get("scenario", ""), gone["policy"], made)
        yield printable(f"refused: {name}: {gone['reason']}")
    if made["moves"]:
        yield from _moves(made)
        yield ""
    for fact in made.get("facts", []):
        yield printable(fact)
    for warning in made["warnings"]:
        yield f"note: {printable(warning)}"
    if made["seeds"]:
        yield f"seeds: {' '.join(map(str, made['seeds'][:20]))}{' ...' if len(made['seeds']) > 20 else ''}"
    for name, digest in made["hashes"].items():
        yield f"{printable(name)}: {printable(str(digest))[:64]}"
    yield f"again: {printable(made['command'])}"


def _thresholds(made: Document) -> Iterator[str]:
    lines = []
    for one in made["thresholds"]:
        name = words.where(one["scenario"], one["policy"], made)
        lines.append((f"  {'✓' if one['ok'] else '✗'} {one['text']}", name, words.promise(one)))
    yield from _aligned(lines)


def _figures(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    heads: list[str] = []
    for name in SHOWN:
        heads += [words.HEADS.get(name, name), ""]
    yield ("  policy", "requests", *heads, "failed", "", "attempts")
    for row in rows:
        cells: list[str] = []
        for name in SHOWN:
            cells += [words.milliseconds(row[name]), words.bare(name, row["intervals"].get(name, [None, None]))]  # type: ignore[literal-required]
        note = f" ({row['note']})" if row.get("note") else ""
        attempts = row["attempts_per_request"]
        yield (
            f"  {row['policy']}{note}",
            words.count(row["requests"]),
            *cells,
            words.failed(row),
            words.bare("failed", row["intervals"].get("failed", [None, None])),
            words.NONE if attempts is None else f"{attempts:.3f}",
        )


def _compared(made: Document) -> Iterator[str]:
    lines = []
    for one in made["compared"]:
        name = words.where(one["scenario"], one["policy"], made)
        value = words.figure(one["figure"], one["difference"])
        sign = "+" if (one["difference"] or 0.0) > 0.0 else ""
        span = words.interval(one["figure"], one["interval"])
        verdict = words.better(one["difference"], one["interval"], one["better"])
        lines.append(
            (f"  {name}", f"to {one['to']}", one["figure"], sign + value, f"[{span}]" if span else "", verdict)
        )
    yield from _aligned(lines)


def _moves(made: Document) -> Iterator[str]:
    shown = made["moves"][:MOVES]
    more = f", the first {len(shown)} of {len(made['moves'])}" if len(made["moves"]) > len(shown) else ""
    yield f"changes of state{more}"
    for one in shown:
        name = words.where(one.get("scenario", ""), one["policy"], made)
        change = f"{one['before'].lower()} -> {one['after'].lower()}"
        yield printable(f"  {one['at']:8.1f} s  {name}  {one['endpoint']}  {change}: {one['reason'][:REASON]}")


def _aligned(lines: Iterable[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be; numbers to the right, texts to the left."""
    made = [[printable(cell) for cell in line] for line in lines]
    if not made:
        return
    widths = [max(len(line[i]) for line in made) for i in range(len(made[0]))]
    right = [all(line[i][:1].isdigit() or line[i] in ("", words.NONE) for line in made[1:]) for i in range(len(widths))]
    for line in made:
        cells = [
            cell.rjust(width) if to_right and len(made) > 1 else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
            if width
        ]
        yield "  ".join(cells).rstrip()


def printable(value: str) -> str:
    """A text that cannot move a terminal's cursor: names come from traces and files of others."""
    return "".join(c if c.isprintable() else "?" for c in value)
