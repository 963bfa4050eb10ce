"""Calls between pods with a list of faults: what `train` and `models score` do with such a day."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from adaptive.commands.reporting import command
from adaptive.failure import Failure

if TYPE_CHECKING:
    from models.calls import Calls, PodBins
    from models.edges import Fault
    from models.judging import Judgement
    from models.pods import PodModel
    from models.saved import Saved
    from models.store import Store

Say = Callable[[str], None]


def is_calls(path: Path) -> bool:
    """Whether a file, or what a directory holds, is a table of calls; everything else is a trace."""
    return any(path.glob("*_edges.csv*")) if path.is_dir() else path.name.endswith((".csv", ".csv.gz"))


def read(path: Path, faults: Path | None) -> tuple[PodBins, list[Fault], str]:
    """Rows of a day, its faults, and the hash of the calls. Raises Failure."""
    from models.calls import pod_bins
    from models.edges import EdgesError, read_calls, read_faults

    try:
        if faults is None and not path.is_dir():
            raise EdgesError(f"{path}: what was at fault, and when? Name the list with --faults FILE")
        calls, digest = read_calls(path) if is_calls(path) else _of_a_trace(path)
        known = read_faults(faults if faults is not None else path)
    except EdgesError as error:
        raise Failure(str(error)) from None
    return pod_bins(calls), known, digest


def _of_a_trace(path: Path) -> tuple[Calls, str]:
    """A recording, or an imported log, as calls of one caller: each endpoint is a pod."""
    import hashlib

    import numpy as np

    from models.calls import Calls
    from replay.trace import TraceError
    from replay.trace import read as read_trace

    try:
        trace = read_trace([path])
    except TraceError as error:
        raise Failure(str(error)) from None
    rows = trace.rows
    known = np.isfinite(rows["done"]) & np.isfinite(rows["sent_at"])
    rows = rows[known]
    order = np.argsort(rows["done"], kind="stable")
    rows = rows[order]
    names = {int(slot): str(pair[1]) for slot, pair in trace.header.endpoints.items()}
    slots = sorted(set(rows["slot"].tolist()))
    place = {slot: index + 1 for index, slot in enumerate(slots)}
    worked = trace.extra.get("server_seconds")
    own = np.full(len(rows), np.nan) if worked is None else np.asarray(worked, dtype=np.float64)[known][order]
    calls = Calls(
        ("gateway", *(names.get(slot, str(slot)) for slot in slots)),
        rows["done"] + trace.header.wall_offset,
        np.zeros(len(rows), dtype=np.int64),
        np.array([place[slot] for slot in rows["slot"].tolist()], dtype=np.int64),
        rows["route"].astype(np.int64),
        rows["done"] - rows["sent_at"],
        own,
    )
    return calls, hashlib.sha256(rows.tobytes()).hexdigest()


def train(path: Path, faults: Path | None, part: float, seed: int, store: Store, at: float, say: Say) -> str:
    """Fits the model to the first part of a day, scores it on the rest, saves it; its id. Raises Failure."""
    from models.calls import NAMES, SCHEMA
    from models.card import card
    from models.edges import shown, truth
    from models.pods import KIND, fit
    from models.saved import Manifest, StoreError

    rows, known, digest = read(path, faults)
    early, late = split(rows, part)
    try:
        model = fit(early, truth(early, known)[0], shown(early, known))
    except ValueError as error:
        raise Failure(f"{path}: the first {part:.0%} of it: {error}") from None
    judged = judgement(model, late, known, seed, f"{path}: what follows the first {part:.0%} of it")
    say(f"trained on {len(early.at)} rows of {path}, scored on the {len(late.at)} that came later:")
    lines = judged.lines()
    arrays, meta = model.to_arrays()
    scores = judged.document()
    made = Manifest(KIND, SCHEMA, at, seed, digest, (), {**scores, "part": part}, meta, command())
    weights = {"(intercept)": model.intercept, **dict(zip(NAMES, model.weights, strict=True))}
    try:
        name = store.save(made, arrays, {"card.md": card(made, lines, weights)})
    except StoreError as error:
        raise Failure(str(error)) from None
    for line in lines:
        say(line)
    return name


def split(rows: PodBins, part: float) -> tuple[PodBins, PodBins]:
    """What came first and what came later: cut between two blocks of time, so that no fault is on both sides."""
    import numpy as np

    from models.scoring import blocks

    block = blocks(rows.at)
    wanted = np.searchsorted(np.sort(block), block.max() + 1) * part
    ends = np.cumsum(np.bincount(block))
    last = int(np.argmin(np.abs(ends - wanted)))
    last = min(max(last, 0), int(block.max()) - 1) if block.max() > 0 else 0
    return rows.take(block <= last), rows.take(block > last)


def judgement(model: PodModel, rows: PodBins, faults: list[Fault], seed: int, where: str) -> Judgement:
    """Raises Failure where the rows are of one class."""
    import numpy as np

    from models.judging import judge

    try:
        return judge(model, rows, faults, np.random.default_rng([seed, 0x5C0]))
    except ValueError as error:
        raise Failure(f"{where}: {error}") from None


def model_of(saved: Saved | None, say: Say) -> PodModel:
    """The model of pods in a version; the shipped weights where it is none. Raises Failure."""
    from models.pods import KIND, PodModel

    if saved is None:
        return PodModel()
    if saved.manifest.kind != KIND:
        say(
            f"{saved.id} is a model of a gateway's endpoints ({saved.manifest.kind}), which sees other things than "
            "calls between pods: the shipped weights for pods are scored"
        )
        return PodModel()
    try:
        return PodModel.from_arrays(saved.arrays, dict(saved.manifest.meta))
    except (ValueError, KeyError) as error:
        raise Failure(f"{saved.id}: {error}") from None


def predictions(model: PodModel, rows: PodBins, faults: list[Fault]) -> str:
    """CSV: a row a pod and bin."""
    from models.edges import truth

    sink = io.StringIO()
    out = csv.writer(sink, lineterminator="\n")
    out.writerow(["pod", "at_seconds", "calls", "probability", "fault_within_30s"])
    said, coming = model.predict(rows).tolist(), truth(rows, faults)[0].tolist()
    for pod, at, calls, p, label in zip(
        rows.pod.tolist(), rows.at.tolist(), rows.calls.tolist(), said, coming, strict=True
    ):
        out.writerow([rows.pods[pod], f"{at:.0f}", calls, f"{p:.6f}", int(label)])
    return sink.getvalue()
