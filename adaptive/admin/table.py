"""The state of the clusters as text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("endpoint", "health", "weight", "failure", "in flight", "p50", "p99", "failed", "why")


def clusters(report: Mapping[str, Any]) -> str:
    """A table for each cluster of a report."""
    parts = [str(report["detail"])] if report.get("detail") else []
    for cluster in report.get("clusters", []):
        about = [f"policy {cluster.get('policy')}"]
        if cluster.get("mode"):
            about.append("decided by the model" if cluster["mode"] == "model" else "decided by the model-free policy")
        if cluster.get("panic"):
            about.append("PANIC: health is ignored")
        if cluster.get("guard"):
            about.append(f"guard: {cluster['guard']}")
        rows = [_row(endpoint) for endpoint in cluster.get("endpoints", [])]
        parts.append(f"{cluster['name']} ({'; '.join(about)})\n{_aligned([COLUMNS, *rows])}")
    return "\n\n".join(parts) + "\n"


def _row(endpoint: Mapping[str, Any]) -> Sequence[str]:
    window = endpoint.get("windows", {}).get("5s", {})
    return (
        str(endpoint.get("address")),
        str(endpoint.get("health") or "-"),
        _shown(endpoint.get("weight"), "{:.0f}"),
        _shown(endpoint.get("probability"), "{:.0%}"),
        _shown(endpoint.get("in_flight"), "{:.0f}"),
        _seconds(window.get("p50_seconds")),
        _seconds(window.get("p99_seconds")),
        _shown(window.get("failure_share"), "{:.1%}"),
        _why(endpoint),
    )


def _why(endpoint: Mapping[str, Any]) -> str:
    if unresolved := endpoint.get("unresolved"):
        return f"its name cannot be resolved: {unresolved}"
    return str(endpoint.get("reason") or "")


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join("  " + line.rstrip() for line in lines)
