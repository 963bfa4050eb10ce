"""Watches the model store: what its aliases come to stand for becomes events, and what was decided live is noted there.

Everything here touches the disk, and runs in a thread of its own. A version that cannot be trusted is refused by its
hash, and the last good one serves; where there is none, the default model.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from adaptive import clock
from adaptive.model_events import ModelChanged, ModelMoved
from models import contest
from models.saved import Saved, StoreError
from models.store import Store

log = logging.getLogger(__name__)

EVERY = 1.0  # seconds between two looks, which are two calls of stat
_NOTHING = np.zeros(0, dtype=np.uint8)


class ModelWatch:
    """The store as the brain sees it."""

    def __init__(self, directory: Path | str) -> None:
        self.store = Store(directory)
        self.refused = 0
        self._stamp: tuple[int, ...] = ()
        self._told = {"champion": "", "challenger": ""}

    def poll(self) -> list[ModelChanged]:
        """What has changed since the last look."""
        stamp = self.store.stamp()
        if stamp == self._stamp:
            return []
        self._stamp = stamp
        found = []
        for role in ("champion", "challenger"):
            event = self._champion() if role == "champion" else self._challenger()
            if event is not None and event.version != self._told[role]:
                self._told[role] = event.version
                found.append(event)
        return found

    def carry_out(self, moved: ModelMoved) -> None:
        """Notes in the store what the Controller decided."""
        try:
            if moved.deed == "promoted":
                self._told = {"champion": moved.version, "challenger": ""}
                self.store.promote(moved.version, "champion", moved.reason, clock.wall())
            elif moved.deed == "dismissed":
                self._told["challenger"] = ""
                self.store.dismiss(moved.reason)
            elif moved.deed == "rolled back":
                self._told["champion"] = ""
                named = self.store.named("champion")
                if named is not None and named.version == moved.version:
                    self.store.rollback(moved.reason, clock.wall())
        except (StoreError, OSError) as error:
            log.error("model store: not noted that %s was %s: %s", moved.version, moved.deed, error)

    def _champion(self) -> ModelChanged | None:
        try:
            named = self.store.named("champion")
            found = self.store.serving(contest.usable, self._refuse) if named is not None else None
        except StoreError as error:
            self._refuse(str(error))
            return None
        if found is None:
            why = "no version of the store can be used" if named is not None else "the store names no champion"
            return _event("champion", None, why)
        last = named is not None and found.id != named.version
        why = "the last good one" if last or named is None else named.reason
        return _event("champion", found, why)

    def _challenger(self) -> ModelChanged | None:
        try:
            named = self.store.named("challenger")
            if named is None:
                return _event("challenger", None, "the store names no challenger")
            found = self.store.load(named.version)
            contest.usable(found)
        except StoreError as error:
            self._refuse(str(error))
            return None
        return _event("challenger", found, named.reason)

    def _refuse(self, why: str) -> None:
        self.refused += 1
        log.error("model store: %s", why)


def _event(role: str, found: Saved | None, why: str) -> ModelChanged:
    now = clock.monotonic()
    if found is None:
        return ModelChanged(now, role, "", "{}", _NOTHING, why)
    return ModelChanged(now, role, found.id, json.dumps(dict(found.manifest.meta)), contest.packed(found), why)
