"""What the station tells of the Envoys, as metric families; each Envoy is a `node`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adaptive.telemetry.families import Families

NODES = 256  # that are shown each by its name


def add(out: Families, report: Mapping[str, Any]) -> None:
    """All that a report holds."""
    nodes = report.get("nodes", [])
    out.gauge("envoy_nodes", "Envoys that are connected.", len(nodes))
    # Of one name one is shown: the latest, where an Envoy is back before its old stream was seen to be dead.
    for node in list({node["node"]: node for node in nodes}.values())[:NODES]:
        who = {"node": str(node["node"])}
        out.gauge("envoy_connected", "1 for each Envoy that is connected.", 1, **who)
        out.gauge("envoy_behind", "1 while an Envoy lacks something that it is to have.", bool(node["behind"]), **who)
        out.gauge("envoy_refused", "Types of which an Envoy refuses the last version.", len(node["refused"]), **who)
        out.counter("envoy_acks", "Responses that an Envoy took.", node["acks"], **who)
        out.counter("envoy_nacks", "Responses that an Envoy refused.", node["nacks"], **who)
        text = "Entries of its access log that an Envoy elsewhere has dropped: outcomes that are missing."
        out.counter("envoy_entries_dropped", text, node["dropped"], **who)
    for key, text in (
        ("entries", "Attempts told of in access logs of Envoys."),
        ("entries_twice", "Attempts told of more than once."),
        ("entries_broken", "Lines of an Envoy that could not be read: outcomes that are missing."),
        ("entries_early", "Attempts whose Envoy's clock is ahead of ours."),
    ):
        out.counter(f"envoy_{key}", text, report.get(key, 0))
    unknown = sum(report.get("entries_unknown", {}).values())
    out.counter("envoy_entries_unknown", "Entries of clusters or endpoints that we do not have.", unknown)
    strangers = sum(report.get("strangers", {}).values())
    out.counter("envoy_strangers", "Streams refused because their node is not known here.", strangers)
    if "deaths" in report:
        out.counter("envoy_deaths", "Times that the Envoy started here has died.", report["deaths"])
    if ack := report.get("ack"):
        text = "Seconds from a decision of the brain to an Envoy's acknowledgement."
        out.histogram("envoy_ack_duration_seconds", text, ack["bounds"], ack["counts"], ack["sum_seconds"])
