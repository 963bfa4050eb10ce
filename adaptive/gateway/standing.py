"""The state of every endpoint from the board alone, for when the brain is not there to tell."""

from __future__ import annotations

import math
from typing import Any

from adaptive.telemetry.board import Board
from adaptive.types import Health, Topology


def standing(topology: Topology, board: Board, now: float) -> dict[str, Any]:
    """The last snapshot and the live counts, in the form of the brain's own report as far as they go."""
    snapshot = board.read()
    rows = [board.live_row(worker) for worker in range(board.workers)]
    current = snapshot if snapshot is not None and snapshot.generation == topology.generation else None
    clusters = []
    for cluster in topology.clusters:
        endpoints: list[dict[str, Any]] = []
        for member in cluster.members:
            entry: dict[str, Any] = {
                "address": member.endpoint.address,
                "slot": member.slot,
                "in_flight": sum(row[member.slot] for row in rows),
                "health": None,
                "weight": None,
                "probability": None,
            }
            if current is not None:
                line = current.entry(member.slot)
                entry["health"] = Health(line.health).name
                entry["weight"] = line.weight
                entry["probability"] = None if math.isnan(line.probability) else line.probability
            endpoints.append(entry)
        found: dict[str, Any] = {"name": cluster.name, "policy": cluster.policy, "endpoints": endpoints}
        if current is not None:
            line_of = current.clusters[cluster.index]
            found["panic"] = line_of.panic
            found["mode"] = "fallback" if line_of.fallback else "model"
            found["typical_seconds"] = line_of.typical
        clusters.append(found)
    return {
        "at": now,
        "source": "board",
        "detail": "the brain does not answer; this is the last snapshot, which stays in force, and the live counts",
        "snapshot_age_seconds": None if snapshot is None else now - snapshot.at,
        "clusters": clusters,
    }
