"""A report as CSV: one line a policy and scenario, each figure with its interval; what was refused has its reason."""

from __future__ import annotations

import csv
import io
from typing import Any

from replay.report.document import FIGURES, Document

COLUMNS = (
    "scenario",
    "policy",
    "requests",
    *(name + end for name in FIGURES for end in ("", "_low", "_high")),
    "attempts_per_request",
    "ess",
    "note",
    "refused",
)


def table(made: Document) -> str:
    """Seconds and shares, with all digits; an unknown figure is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in made["rows"]:
        line: dict[str, Any] = {name: row.get(name) for name in COLUMNS if name in row}
        for name, (low, high) in row["intervals"].items():
            if name in FIGURES:
                line[name + "_low"], line[name + "_high"] = low, high
        writer.writerow({key: _plain(value) for key, value in line.items()})
    for gone in made["refused"]:
        line = {"scenario": gone.get("scenario", ""), "policy": gone["policy"], "refused": gone["reason"]}
        writer.writerow({key: _plain(value) for key, value in line.items()})
    return out.getvalue()


def _plain(value: Any) -> Any:
    """What no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
