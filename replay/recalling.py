"""What a recording teaches: a Controller that moves nobody sees its outcomes again, is asked as live, and gets answers.

A recording is taken in pieces, one a file, so that any number of them fits in memory and each can go to another
process. The end of the file before warms a piece up, the beginning of the file after answers its last questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adaptive.controller import Settings
from adaptive.telemetry.columns import Rows, empty
from adaptive.types import Cluster, Endpoint, InFlightSeen, Member, OutcomesSeen, Tick, Topology
from models.columns import Bools, Floats
from models.features import SCHEMA
from models.predictor import AHEAD, Silent
from replay.asking import EVERY, SOON, Asked, Table, Watching, joined
from replay.trace import read
from replay.tracing.files import TraceError, files_of

TICK = 0.1  # seconds, as live
WARM = 60.0  # seconds before a piece: the longest window and the span of the trends are filled twice
AFTER = AHEAD + SOON + EVERY  # seconds after it, until the last answer has come
GAP = 60.0  # seconds without an outcome that part two stretches: what was before says nothing any more
LONGEST = 60.0  # seconds of an attempt: one that takes longer is a stream, and is not counted in flight
KEPT_FROM = 0.2  # of the attempts that its peers get: an endpoint below is kept from traffic


class Piece(NamedTuple):
    """A stretch of outcomes, by `done`, in wall-clock seconds. Questions from `start` to `end` are kept."""

    rows: Rows
    endpoints: Mapping[int, tuple[str, str]]  # slot → cluster, address
    start: float
    end: float
    tick: float = TICK


class Files(NamedTuple):
    """One file of a recording with its neighbours in time, where it has any."""

    before: Path | None
    file: Path
    after: Path | None


def pieces(paths: Sequence[Path]) -> list[Files]:
    """One for each file of these files and directories. Raises TraceError where there is none."""
    files = list(dict.fromkeys(file for path in paths for file in files_of(path)))
    if not files:
        raise TraceError("no file is given")
    around = [None, *files, None]
    return [Files(around[i], file, around[i + 2]) for i, file in enumerate(files)]


def load(files: Files) -> Piece:
    """Reads a piece. Raises TraceError where its own file cannot be used."""
    own = read([files.file])
    if own.arrivals_only:
        raise TraceError(f"{files.file}: a trace of arrivals alone: how attempts ended is not known")
    if not len(own.rows):
        return Piece(own.rows, {}, 0.0, 0.0)
    offset = own.header.wall_offset
    start, end = (float(edge(own.rows["done"])) + offset for edge in (np.min, np.max))
    try:
        whole = read([path for path in files if path is not None])
    except TraceError:  # a wreck beside it: the wreck's own piece says so
        whole = own
    rows = whole.rows.copy()
    for name in ("sent_at", "first_byte", "done"):
        rows[name] += whole.header.wall_offset
    rows = rows[(rows["done"] >= start - WARM) & (rows["done"] <= end + AFTER)]
    rows = rows[np.argsort(rows["done"], kind="stable")]
    endpoints = {int(slot): (str(pair[0]), str(pair[1])) for slot, pair in whole.header.endpoints.items()}
    return Piece(rows, endpoints, start, end)


def recall(piece: Piece) -> Table:
    """The questions of a piece and their answers; `slot` are those of the piece, `at` is wall-clock time."""
    known = {slot: pair for slot, pair in piece.endpoints.items() if (piece.rows["slot"] == slot).any()}
    layout = topology(known)
    tables = [_stretch(piece, layout, rows) for rows in _stretches(piece.rows)]
    if not tables:
        tables = [Asked(layout.slots, 0.0).table()]
    whole = joined(tables)
    return whole.take((whole.at >= piece.start) & (whole.at <= piece.end))


def topology(endpoints: Mapping[int, tuple[str, str]]) -> Topology:
    """The endpoints as clusters with the default objectives, each in its slot."""
    clusters = []
    for index, name in enumerate(sorted({cluster for cluster, _ in endpoints.values()})):
        members = []
        for slot, (cluster, address) in sorted(endpoints.items()):
            if cluster == name:
                host, _, port = address.rpartition(":")
                number = int(port) if port.isdecimal() else 0
                members.append(Member(Endpoint(name, host or address, number), slot))
        clusters.append(Cluster(name, index, tuple(members)))
    return Topology(1, tuple(clusters), max(endpoints, default=-1) + 1)


def _stretches(rows: Rows) -> Iterator[Rows]:
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(rows["done"]) > GAP) + 1)


def _stretch(piece: Piece, layout: Topology, rows: Rows) -> Table:
    done, sent = rows["done"], rows["sent_at"]
    longest = min(float((done - sent).max()), LONGEST)
    controller = Watching(layout, Settings(), Silent(SCHEMA))
    asked = Asked(layout.slots, min(piece.end, float(done[-1])))
    first = np.floor(float(done[0]) / piece.tick) * piece.tick
    count = int(np.ceil((float(done[-1]) - first) / piece.tick))
    # Beyond the last outcome nothing is known: a gateway that stopped is no endpoint that fell silent.
    times = first + piece.tick * np.arange(1, count + 1)
    closed = np.searchsorted(done, times, side="right")
    open_to = np.searchsorted(done, times + longest, side="right")
    every = max(1, round(EVERY / piece.tick))
    begin = 0
    for i, at in enumerate(times.tolist()):
        controller.handle(OutcomesSeen(at, rows[begin : closed[i]] if closed[i] > begin else empty()))
        begin = int(closed[i])
        in_flight, oldest = _open(rows[begin : open_to[i]], at, layout.slots)
        controller.handle(InFlightSeen(at, in_flight, oldest))
        controller.handle(Tick(at))
        if i % every == 0:
            asked.look(controller, at, _kept_from(controller))
    return asked.table()


def _open(rows: Rows, at: float, slots: int) -> tuple[Floats, Floats]:
    """Attempts that were in flight: how many at each endpoint, and when the oldest was sent (NaN: none)."""
    oldest = np.full(slots, np.nan)
    sent = rows["sent_at"]
    there = sent <= at
    slot = rows["slot"][there]
    np.fmin.at(oldest, slot, sent[there])
    return np.bincount(slot, minlength=slots).astype(np.float64), oldest


def _kept_from(controller: Watching) -> Bools:
    """Endpoints that whoever balanced kept from traffic, by what they got over 5 s."""
    attempts = controller.stats.observed(controller.stats.now).attempts[1].astype(np.float64)
    found: Bools = attempts < KEPT_FROM * np.nan_to_num(controller.peers.others(attempts))
    return found
