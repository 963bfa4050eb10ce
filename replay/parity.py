"""Parity: an event log told again to a fresh Controller must give the same commands, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from adaptive.controller import Controller, Settings
from adaptive.telemetry import events
from adaptive.telemetry.events import EventLogError, Log
from models.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event from which other commands follow than were logged."""

    number: int  # of the event, from 1
    kind: str
    at: float
    where: str  # the place in the commands
    logged: str
    now: str

    def __str__(self) -> str:
        return f"event {self.number} ({self.kind} at {self.at:.6f}): {self.where}: logged {self.logged}, now {self.now}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a log has shown. `difference` None: all commands were the same."""

    events: int
    commands: int
    seconds: float  # from the first event to the last
    difference: Difference | None
    partial: str


def replay(log: Log, predictor: Predictor | None = None) -> Verdict:
    """Tells a fresh Controller all that the log holds, until the first difference. Raises EventLogError."""
    begun = log.begun
    try:
        settings = msgspec.convert(dict(begun.settings), Settings)
    except msgspec.ValidationError as error:
        raise EventLogError(f"{log.path}: the settings of its Controller: {error}") from None
    controller = Controller(begun.topology, settings, predictor)
    if begun.resumed is not None:
        controller.resume(begun.resumed)
    count = given = 0
    first = last = 0.0
    for entry in log.entries():
        count += 1
        last = entry.event.at
        first = last if count == 1 else first
        found = controller.handle(entry.event)
        given += len(found)
        encoded = events.commands(found)
        if encoded != entry.commands:
            there, here = msgspec.msgpack.decode(entry.commands), msgspec.msgpack.decode(encoded)
            where, logged, now = next(differences(there, here), ("commands", "other bytes", "the same values"))
            kind = type(entry.event).__name__
            return Verdict(count, given, last - first, Difference(count, kind, last, where, logged, now), log.partial)
    return Verdict(count, given, last - first, None, log.partial)


def differences(logged: Any, now: Any, where: str = "commands") -> Iterator[tuple[str, str, str]]:
    """Places at which two nested values differ, with what stands there, NaN equal to NaN."""
    if isinstance(logged, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*logged, *now)):
            yield from differences(logged.get(key), now.get(key), f"{where}.{key}")
    elif isinstance(logged, list) and isinstance(now, list):
        if len(logged) != len(now):
            yield where, f"{len(logged)} of them", f"{len(now)}"
        for i, (a, b) in enumerate(zip(logged, now, strict=False)):
            yield from differences(a, b, f"{where}[{i}]")
    elif msgspec.msgpack.encode(logged) != msgspec.msgpack.encode(now):
        yield where, shown(logged), shown(now)


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + "..."
