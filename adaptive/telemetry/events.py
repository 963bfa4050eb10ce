"""The format of event logs: what a Controller was told and what followed, so that it can be told again.

A file is a line of JSON, the header, and then blocks: a u32 with the length of what follows, its CRC-32 as a u32, and
that many bytes of zlib, in which there is a MessagePack array of records, each a pair (kind, value). The first record
is `Begun`; after it come events, and after an event that had any, the `commands` that followed. A file whose end is
torn off holds whatever whole blocks it holds; a log that was stopped is the beginning of one that was not.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, get_args, get_type_hints

import msgspec
import numpy as np

from adaptive.telemetry.columns import OUTCOME_DTYPE
from adaptive.types import OUTCOME_FIELDS, Command, Event, Snapshot, Topology
from adaptive.version import __version__

FORMAT, VERSION = "adaptive-events", 1
SUFFIX = ".events"
MOST_HEADER = 1 << 20  # bytes; a longer first line is no header
MOST_BLOCK = 1 << 28  # bytes, compressed; one is a second of events

_ARRAY = 1  # code of the MessagePack extension that holds an array
_BLOCK = struct.Struct("<II")
_MANY = struct.Struct(">BI")  # head of an array of up to 2**32 - 1
_OUTCOMES = "outcomes"


class EventLogError(ValueError):
    """A file cannot be read as an event log; the message names it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A Controller was made: of this topology, with these settings, going on from this snapshot."""

    topology: Topology
    settings: Mapping[str, Any]
    resumed: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, and the commands that followed as they are written."""

    event: Event
    commands: bytes


@dataclass(slots=True)
class Log:
    """One file. `partial` says why its end is missing, "" where it is not; it is known when the entries were read."""

    header: Mapping[str, Any]
    begun: Begun
    path: Path
    _rest: Iterator[Any] = field(repr=False)
    _state: list[str] = field(repr=False)

    @property
    def partial(self) -> str:
        """Why the end of the file is missing."""
        return self._state[0]

    def entries(self) -> Iterator[Entry]:
        """Every event, in order; once. Raises EventLogError."""
        event: Event | None = None
        for kind, value in self._rest:
            if kind == "commands":
                if event is not None:
                    yield Entry(event, msgspec.msgpack.encode(value))
                event = None
                continue
            if event is not None:
                yield Entry(event, NOTHING)
            try:
                event = made(kind, value)
            except EventLogError as error:
                raise EventLogError(f"{self.path}: {error}") from None
        if event is not None:
            yield Entry(event, NOTHING)


def _kinds() -> dict[str, type]:
    return {kind.__name__: kind for kind in (Begun, *get_args(Event), *get_args(Command))}


KINDS = _kinds()


def header(about: Mapping[str, Any]) -> bytes:
    """The first line; `about` is kept in it as it is."""
    columns = [name for name, _, _ in OUTCOME_FIELDS]
    told = {"format": FORMAT, "version": VERSION, "adaptive": __version__, "columns": columns, **about}
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def record(what: Begun | Event) -> bytes:
    """An event, or the beginning, as it is written."""
    return _encoder.encode((type(what).__name__, what))


def commands(found: Sequence[Command]) -> bytes:
    """What followed, as it is compared: equal bytes are equal commands, where NaN equals NaN."""
    return _encoder.encode([(type(one).__name__, one) for one in found])


NOTHING = msgspec.msgpack.encode([])
_COMMANDS = msgspec.msgpack.encode("commands")


def followed(encoded: bytes) -> bytes:
    """Encoded `commands` as a record: a pair of the kind and them."""
    return b"\x92" + _COMMANDS + encoded


def many(count: int) -> bytes:
    """The head of an array of so many records."""
    return _MANY.pack(0xDD, count)


def block(records: bytes) -> bytes:
    """An array of records as one block."""
    packed = zlib.compress(records, 1)
    return _BLOCK.pack(len(packed), zlib.crc32(packed)) + packed


def plain(settings: Any) -> dict[str, Any]:
    """Settings, a dataclass or a part of the configuration, as the values that a Controller reads: a duration is the
    seconds that it is inside, not the text that the configuration would write.
    """
    names = getattr(type(settings), "model_fields", None) or [f.name for f in fields(settings)]
    return {name: getattr(settings, name) for name in names}


def read(path: Path, source: BinaryIO) -> Log:
    """A log, of which the header and the beginning are read. `path` names it in messages. Raises EventLogError."""
    first = source.readline(MOST_HEADER)
    try:
        told = json.loads(first)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise EventLogError(f"{path}: no event log: its first line is no header of one")
    if not isinstance(told.get("version"), int) or told["version"] > VERSION:
        raise EventLogError(f"{path}: version {told.get('version')} of the format; this Adaptive reads up to {VERSION}")
    if told.get("columns") != [name for name, _, _ in OUTCOME_FIELDS]:
        raise EventLogError(f"{path}: outcomes have other columns than in this Adaptive ({told.get('adaptive')})")
    state = [""]
    rest = _records(path, source, state)
    kind, value = next(rest, ("", None))
    if kind != Begun.__name__:
        raise EventLogError(f"{path}: the log is empty: {state[0] or 'nothing was logged'}")
    begun = made(kind, value)
    assert isinstance(begun, Begun)
    return Log(told, begun, path, rest, state)


def _records(path: Path, source: BinaryIO, state: list[str]) -> Iterator[Any]:
    number = 0
    while head := source.read(_BLOCK.size):
        number += 1
        length, crc = _BLOCK.unpack(head) if len(head) == _BLOCK.size else (0, -1)
        packed = source.read(length) if length <= MOST_BLOCK else b""
        if len(packed) != length or zlib.crc32(packed) != crc:
            state[0] = f"block {number} is torn or damaged, and what follows is lost"
            return
        try:
            found = _decoder.decode(zlib.decompress(packed))
            assert isinstance(found, list)
        except (msgspec.DecodeError, zlib.error, AssertionError) as error:
            raise EventLogError(f"{path}: block {number} holds no records: {error}") from None
        yield from found


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, localns={"np": np})


def made(kind: str, value: Any) -> Any:
    """The event, command or beginning of which this was written. Raises EventLogError."""
    known = KINDS.get(kind)
    if known is None or not isinstance(value, dict):
        raise EventLogError(f"a record of kind {kind!r}, which this Adaptive does not know")
    hints = _hints(known)
    try:
        return known(**{n: v if isinstance(v, np.ndarray) else msgspec.convert(v, hints[n]) for n, v in value.items()})
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise EventLogError(f"a record of kind {kind}: {error}") from None


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        name = _OUTCOMES if value.dtype == OUTCOME_DTYPE else value.dtype.str
        return msgspec.msgpack.Ext(_ARRAY, name.encode() + b"\n" + value.tobytes())
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be logged")


def _decode(code: int, data: memoryview) -> Any:
    name, _, body = bytes(data).partition(b"\n")
    dtype = OUTCOME_DTYPE if name.decode() == _OUTCOMES else np.dtype(name.decode())
    return np.frombuffer(body, dtype).copy()


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode)
_decoder = msgspec.msgpack.Decoder(ext_hook=_decode)
