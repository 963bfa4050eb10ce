"""What the Controller is told, and says, of the versions of the model that serve and predict in shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """Another version of the store is to serve ("champion"), or to predict in shadow ("challenger")."""

    at: float
    role: str
    version: str  # empty: the default model, or no challenger
    meta: str  # JSON, what the class needs beside the arrays
    arrays: np.ndarray[Any, Any]  # bytes of an npz, so that a log of events holds all that was decided with
    reason: str


@dataclass(frozen=True, slots=True)
class ModelMoved:
    """A version began to serve or to predict in shadow, or lost its place. What is `decided` here, by live scores, is
    still to be noted in the store.
    """

    at: float
    deed: str  # serves, challenges, promoted, rolled back, dismissed, refused
    version: str
    reason: str
    decided: bool
