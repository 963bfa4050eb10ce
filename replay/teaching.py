"""Trains the pair that serves on simulated fleets, and keeps it as a version of the store's form."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.combined import to_arrays
from models.default import KIND
from models.features import SCHEMA
from models.fitting import fit
from models.predictor import AHEAD, Pair, Silent
from models.saved import Manifest, write
from replay import episodes
from replay.asking import SOON
from replay.episodes import ABRUPT, CALM, FORECASTABLE, Episode
from replay.sweep.spread import spread

# Fleets of each kind. Forecastable ones teach most; abrupt ones need few, for their signs are plain. There are so many
# because rows of one fleet say much the same: of fleets that it was not fitted to a model said more with each doubling,
# from 40 to 164 of them.
FLEETS = {FORECASTABLE: 20, ABRUPT: 7, CALM: 7}


def gather(fleets: int, seed: int, say: Callable[[str], None], jobs: int = 1) -> list[Episode]:
    """Tuning episodes of every kind; `fleets` of each forecastable one, of the others in proportion. `jobs`: processes,
    -1 one a core; the same comes out.
    """
    work: list[tuple[str, int, str]] = []
    for kinds, usual in FLEETS.items():
        count = max(2, round(fleets * usual / FLEETS[FORECASTABLE]))
        work += [(kind, seed + k, "adaptive" if k % 2 else "least_request") for kind in kinds for k in range(count)]
    found: list[Episode] = []
    for (kind, _, _), following, episode in zip(work, [*work[1:], None], spread(_one, work, jobs), strict=True):
        found.append(episode)
        if following is None or following[0] != kind:
            say(f"{kind}: {sum(len(e.asked.at) for e in found)} rows in all")
    return found


def _one(what: tuple[str, int, str]) -> Episode:
    kind, seed, policy = what
    return episodes.run(kind, seed, policy=policy, predictor=Silent(SCHEMA))


def teach(found: Sequence[Episode], seed: int = 0) -> Pair:
    """Fits both horizons. Raises models.fitting.NotFitted."""
    soon = fit(episodes.rows(found, "soon"), SOON, seed)
    return Pair(soon, fit(episodes.rows(found, "ahead"), AHEAD, seed + 1))


def keep(
    pair: Pair, found: Sequence[Episode], folder: Path, seed: int, command: str, at: float, commit: str = ""
) -> str:
    """Writes the pair into `folder`; its id. `at` is wall-clock time, `commit` that of the code. Raises StoreError."""
    arrays, meta = to_arrays(pair)
    meta["commit"] = commit
    data = hashlib.sha256()
    for episode in found:
        for column in (episode.asked.features, episode.asked.soon, episode.asked.ahead):
            data.update(np.ascontiguousarray(column).tobytes())
    scores: dict[str, Any] = {}
    for name, predictor in zip(("soon", "ahead"), pair, strict=True):
        standing = getattr(predictor, "standing", np.zeros((2, 3)))
        loss = standing.sum(axis=0)
        scores[name] = {"log_loss": float(loss[1] / loss[0]), "rule_log_loss": float(loss[2] / loss[0])}
    manifest = Manifest(KIND, SCHEMA, at, seed, data.hexdigest(), (), scores, meta, command)
    return write(folder, manifest, arrays)
