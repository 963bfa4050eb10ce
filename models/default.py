"""The model that ships with the package, so that the gateway foresees something in its first second.

It is one version of the store's form in `shipped/`, trained on simulated fleets alone, by the command that its manifest
holds, at the commit that it names. Where it cannot be used (corrupted, or made for other features) an untaught one
takes its place, which the rule outvotes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from models.combined import from_arrays
from models.online import OnlinePredictor
from models.predictor import Pair, paired
from models.saved import Saved, StoreError, read

SHIPPED = Path(__file__).parent / "shipped"
KIND = "pair"  # in manifests: arrays for `models.combined.from_arrays`


@cache
def _saved(folder: Path) -> Saved:
    found = [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []
    if len(found) != 1:
        raise StoreError(f"{folder}: holds {len(found)} models, not one")
    return read(found[0])


def shipped(seed: int = 0, folder: Path = SHIPPED) -> Pair:
    """A pair of its own for each caller. Raises StoreError or ValueError where it cannot be used."""
    saved = _saved(folder)
    return from_arrays(saved.arrays, dict(saved.manifest.meta), seed)


def pair(seed: int = 0, folder: Path = SHIPPED) -> Pair:
    """The shipped pair, or an untaught one."""
    try:
        return shipped(seed, folder)
    except (StoreError, ValueError):
        return paired(OnlinePredictor(seed=seed))
