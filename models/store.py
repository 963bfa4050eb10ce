"""The store: a directory of write-once versions, and the names by which two of them are known.

    versions/<id>/         see `models.saved`
    aliases/champion       the version that serves, those that served before it, why and since when
    aliases/challenger     the version that predicts in shadow

An alias is replaced by one rename, so that a reader sees the old or the new one. What cannot be trusted is refused by
its hash, and the last good champion serves.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from models import saved
from models.saved import Arrays, Manifest, Saved, StoreError

Alias = Literal["champion", "challenger"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger")
REMEMBERED = 16  # champions before the present one, to which a rollback can lead


@dataclass(frozen=True, slots=True)
class Named:
    """What an alias stands for."""

    version: str
    reason: str
    at: float  # wall-clock seconds, given by who changed it
    before: tuple[str, ...] = ()  # the latest last


class Store:
    """A model store in `directory`, which is made when something is first saved."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self._versions = self.directory / "versions"
        self._aliases = self.directory / "aliases"

    def save(self, manifest: Manifest, arrays: Arrays, files: dict[str, bytes] | None = None) -> str:
        """A new version; its id. Raises StoreError where the disk refuses."""
        return saved.write(self._versions, manifest, arrays, files)

    def ids(self) -> list[str]:
        """Every version, without looking into it."""
        return sorted(p.name for p in self._versions.glob("*") if p.is_dir() and not p.name.startswith("."))

    def list(self) -> list[tuple[str, Manifest | StoreError]]:
        """Every version with its manifest, or why it cannot be trusted; the oldest first."""
        found: list[tuple[str, Manifest | StoreError]] = []
        for name in self.ids():
            try:
                found.append((name, saved.read_manifest(self._versions / name)))
            except StoreError as error:
                found.append((name, error))
        return sorted(found, key=lambda pair: (pair[1].created_at if isinstance(pair[1], Manifest) else 0.0, pair[0]))

    def resolve(self, name: str) -> str:
        """The id meant by an id, by its unambiguous beginning, or by an alias. Raises StoreError."""
        if name in ALIASES:
            named = self.named(name)
            if named is None:
                raise StoreError(f"{self.directory}: has no {name}")
            return named.version
        fits = [each for each in self.ids() if each.startswith(name)] if name else []
        if len(fits) != 1:
            what = f"{len(fits)} versions that begin with" if fits else "no version"
            raise StoreError(f"{self.directory}: has {what} {name!r}")
        return fits[0]

    def load(self, name: str) -> Saved:
        """A version, verified. Raises StoreError."""
        return saved.read(self._versions / self.resolve(name))

    def named(self, alias: Alias) -> Named | None:
        """What an alias stands for; None where it was never given. Raises StoreError where its file is damaged."""
        path = self._aliases / alias
        try:
            told = json.loads(path.read_bytes())
            return Named(str(told["version"]), str(told["reason"]), float(told["at"]), tuple(told["before"]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path}: damaged: {error}") from None

    def serving(self, usable: Callable[[Saved], None], say: Callable[[str], None]) -> Saved | None:
        """The champion, or the latest champion before it that can be trusted; None where there is none.

        `usable` raises StoreError for a version that this program cannot use; `say` is told of each refusal.
        """
        named = self.named("champion")
        if named is None:
            return None
        for name in (named.version, *reversed(named.before)):
            try:
                found = saved.read(self._versions / name)
                usable(found)
                return found
            except StoreError as error:
                say(f"model {name} refused: {error}")
        return None

    def promote(self, name: str, alias: Alias, reason: str, at: float) -> Named:
        """Gives a version an alias, once its hashes hold. A challenger that becomes champion is challenger no more."""
        found = self.load(name).id
        with self._locked():
            old = self.named(alias)
            if old is not None and old.version == found:
                return old
            before = (*old.before, old.version)[-REMEMBERED:] if old is not None else ()
            named = self._name(alias, Named(found, reason, at, before))
            if alias == "champion" and (other := self.named("challenger")) is not None and other.version == found:
                (self._aliases / "challenger").unlink()
        return named

    def rollback(self, reason: str, at: float) -> Named | None:
        """Makes the champion before the present one champion again; None where that was the default model, which
        serves wherever no champion is named. Raises StoreError where there is no champion.
        """
        with self._locked():
            now = self.named("champion")
            if now is None:
                raise StoreError(f"{self.directory}: has no champion to roll back")
            if not now.before:
                (self._aliases / "champion").unlink()
                return None
            return self._name("champion", Named(now.before[-1], reason, at, now.before[:-1]))

    def dismiss(self, reason: str) -> None:
        """Takes the name of challenger away; the version stays. `reason` is kept beside, for who asks later."""
        with self._locked():
            path = self._aliases / "challenger"
            if path.exists():
                told = json.dumps({"was": json.loads(path.read_bytes()), "reason": reason})
                _replace(self._aliases / "dismissed", told.encode())
                path.unlink()

    def stamp(self) -> tuple[int, ...]:
        """Changes whenever an alias does: two calls of stat, cheap enough for every second."""
        found: list[int] = []
        for alias in ALIASES:
            try:
                stat = (self._aliases / alias).stat()
                found += [stat.st_ino, stat.st_mtime_ns]
            except OSError:
                found += [0, 0]
        return tuple(found)

    def _name(self, alias: Alias, named: Named) -> Named:
        _replace(self._aliases / alias, json.dumps(asdict(named), sort_keys=True).encode())
        return named

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer of aliases at a time, among all processes. Raises StoreError where the disk refuses."""
        try:
            self._aliases.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            where = error.filename or self.directory
            raise StoreError(f"{where}: not changed: {error.strerror or error}") from error


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        saved.put(beside, data)
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
