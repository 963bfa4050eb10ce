"""One version of a model on disk: a folder with plain arrays and a manifest that proves them.

    manifest.json    what it is, what it was made for and from, its scores, the SHA-256 of every other file
    arrays.npz       numpy arrays of numbers; read with allow_pickle=False
    anything else    a card for people, a full estimator (see `models.estimators`)

The folder's name is the start of the manifest's own SHA-256, so that a changed byte anywhere shows. A version is
written beside its place and renamed into it: it is there as a whole, or not at all. Nothing in it runs on loading.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adaptive.version import __version__

FORMAT = 1
MANIFEST, ARRAYS = "manifest.json", "arrays.npz"
ID = 16  # hex digits of the manifest's hash: 64 bits, so that two versions never share a name by chance
LARGEST = 256 * 2**20  # bytes of one file; a model that serves is a thousandth of it

Arrays = Mapping[str, npt.NDArray[Any]]


class StoreError(Exception):
    """A model cannot be saved, found or trusted; the message names the file and why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a version. `kind` says which class reads the arrays, `schema` which features it was made for.

    `created_at` is wall-clock time in seconds, given by who saves. `meta` is what the class needs beside the arrays.
    """

    kind: str
    schema: str
    created_at: float
    seed: int = 0
    data: str = ""  # SHA-256 of what it was trained on
    parents: tuple[str, ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    adaptive: str = __version__
    format: int = FORMAT
    files: Mapping[str, str] = field(default_factory=dict)  # name → SHA-256


@dataclass(frozen=True, slots=True)
class Saved:
    """A version that was read and whose hashes held."""

    id: str
    manifest: Manifest
    arrays: dict[str, npt.NDArray[Any]]
    files: dict[str, bytes]  # all but the arrays


def write(parent: Path, manifest: Manifest, arrays: Arrays, files: Mapping[str, bytes] | None = None) -> str:
    """Puts a version into the folder `parent`; its id. Saving the same again changes nothing.

    Raises StoreError where the disk refuses; then nothing of it is left.
    """
    contents = {ARRAYS: packed(arrays), **(files or {})}
    for name in contents:
        if Path(name).name != name or name == MANIFEST or name.startswith("."):
            raise ValueError(f"{name!r} cannot be the name of a file in a version")
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    text = json.dumps(_plain(asdict(replace(manifest, files=hashes))), sort_keys=True, indent=1, allow_nan=False)
    contents[MANIFEST] = text.encode()
    name = hashlib.sha256(contents[MANIFEST]).hexdigest()[:ID]
    place, beside = parent / name, parent / f".{name}.{os.getpid()}"
    if place.exists():
        return name
    try:
        beside.mkdir(parents=True, exist_ok=True)
        for each, data in contents.items():
            put(beside / each, data)
        _settle(beside)
        os.rename(beside, place)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return name  # somebody else saved the same at the same time
        raise StoreError(f"{place}: not saved: {error.strerror or error}; nothing was changed") from error
    return name


def read(folder: Path) -> Saved:
    """The version in this folder. Raises StoreError where it is absent, too new, or not what was saved."""
    manifest = read_manifest(folder)
    contents = {name: _read(folder / name) for name in manifest.files}
    for name, known in manifest.files.items():
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != known:
            raise StoreError(
                f"{folder / name}: corrupted: its SHA-256 is {found[:12]}…, and the manifest says {known[:12]}…"
            )
    if ARRAYS not in contents:
        raise StoreError(f"{folder / MANIFEST}: names no {ARRAYS}")
    arrays = unpacked(contents.pop(ARRAYS), folder / ARRAYS)
    return Saved(folder.name, manifest, arrays, contents)


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, itself verified. Raises StoreError."""
    path = folder / MANIFEST
    data = _read(path)
    found = hashlib.sha256(data).hexdigest()[:ID]
    if found != folder.name:
        raise StoreError(f"{path}: corrupted: its SHA-256 begins with {found}, and its folder is named {folder.name}")
    try:
        told = json.loads(data)
        if int(told["format"]) > FORMAT:
            raise StoreError(
                f"{path}: its format {told['format']} is newer than this Adaptive reads ({FORMAT}); "
                f"it was saved by Adaptive {told.get('adaptive', 'of an unknown version')}"
            )
        known = {f.name: told[f.name] for f in fields(Manifest) if f.name in told}
        return Manifest(**{**known, "parents": tuple(told.get("parents", ()))})
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: no manifest of a model: {error}") from None


def put(path: Path, data: bytes) -> None:
    """Writes a file to the disk itself, not only to its cache."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _settle(folder: Path) -> None:
    """Makes the names in this folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise StoreError(f"{path}: larger than {LARGEST} bytes: no model of Adaptive")
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error


def packed(arrays: Arrays) -> bytes:
    """The same arrays give the same bytes."""
    for name, array in arrays.items():
        if np.asarray(array).dtype.kind not in "biufUS":
            raise ValueError(f"array {name!r} holds {np.asarray(array).dtype}, not numbers or text")
    sink = io.BytesIO()
    np.savez_compressed(sink, allow_pickle=False, **{name: np.asarray(arrays[name]) for name in sorted(arrays)})
    return sink.getvalue()


def unpacked(data: bytes, path: Path | str) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except Exception as error:  # a zip or an array of another make fails in many ways
        raise StoreError(f"{path}: not readable as plain arrays: {error}") from error


def _plain(value: Any) -> Any:
    """As JSON knows it: numpy's numbers as Python's, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
