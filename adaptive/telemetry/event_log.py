"""The event log, in the brain: all that its Controller is told and commands, to files that `events` describes.

One file a Controller, from its beginning on: only from there can it be told again. Records are encoded where they are
made, and compressed and written in a thread, each second. What goes wrong with the disk, the bound of a file, or a
thread that cannot follow ends the file where it is, with a reason, and never the brain: what was written stays a log,
of a shorter time.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptive.telemetry import events
from adaptive.telemetry.holding import held, hold, size
from adaptive.types import Command, Event, Snapshot, Topology

log = logging.getLogger("adaptive.event_log")

FLUSH = 1.0  # seconds of events in a block: what a kill may cost
WAITING = 8  # blocks that may wait for the disk
PENDING = 32 << 20  # bytes of records in memory until the next flush, which a busy second does not reach

Opener = Callable[[Path], io.FileIO]


def open_file(path: Path) -> io.FileIO:
    """A new file, unbuffered: what is written survives the process."""
    return io.FileIO(path, "xb")


class EventLog:
    """Writes to `directory`, where logs take `size` bytes at most. No method raises for what the disk does.

    `patience`: seconds that it waits for the disk where that cannot follow: a brain has none, a simulation has time.
    """

    def __init__(
        self,
        directory: Path,
        size: int,
        about: Mapping[str, Any],
        wall_offset: float = 0.0,
        opener: Opener = open_file,
        patience: float = 0.0,
    ) -> None:
        self.patience = patience
        self.directory, self.size, self.about, self.wall_offset = directory, size, about, wall_offset
        self.events = 0  # taken
        self.dropped_events = 0
        self.failures = 0
        self.deleted_files = 0
        self.bytes = 0  # of the present file
        self.reason: str | None = "nothing has begun"  # why nothing is logged; None while it is
        self._records: list[bytes] = []
        self._held = 0
        self._flushed = float("-inf")
        self._opener = opener
        self._blocks: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._number = 0

    # What the brain and the simulator call.

    def begin(self, at: float, topology: Topology, settings: Any, resumed: Snapshot | None) -> None:
        """A Controller was made at `at`, monotonic seconds: what follows is its log."""
        self._end()
        self.reason = None
        self.bytes = 0
        self._blocks = queue.Queue(WAITING)
        self._number += 1
        start = datetime.fromtimestamp(at + self.wall_offset, UTC)
        path = self.directory / f"{start:%Y%m%dT%H%M%S}-{os.getpid()}-{self._number:04d}{events.SUFFIX}"
        head = events.header({**self.about, "wall_offset": self.wall_offset})
        self._thread = threading.Thread(
            target=self._write, args=(path, head, self._blocks), name="adaptive-event-log", daemon=True
        )
        self._thread.start()
        self._flushed = at
        self._add(events.record(events.Begun(topology, events.plain(settings), resumed)))

    def event(self, event: Event) -> None:
        """What the Controller is about to be told."""
        if self.reason is not None:
            self.dropped_events += 1
            return
        self.events += 1
        self._add(events.record(event))
        if event.at - self._flushed >= FLUSH:
            self._flushed = event.at
            self._flush()

    def commands(self, commands: list[Command]) -> None:
        """What followed from it."""
        if commands and self.reason is None:
            self._add(events.followed(events.commands(commands)))

    def close(self, seconds: float = 2.0) -> None:
        """Writes what is left, for so long at most."""
        self._end(seconds)
        self.reason = self.reason or "closed"

    def report(self) -> dict[str, Any]:
        """What the metrics show."""
        return {
            "logging": self.reason is None,
            "reason": self.reason,
            "events": self.events,
            "dropped_events": self.dropped_events,
            "failures": self.failures,
            "deleted_files": self.deleted_files,
            "bytes": self.bytes,
        }

    # Blocks.

    def _add(self, record: bytes) -> None:
        self._records.append(record)
        self._held += len(record)
        if self._held > PENDING:
            self._stop(f"more than {PENDING} bytes came in a second")

    def _flush(self) -> None:
        records, self._records, self._held = self._records, [], 0
        if self.reason is None and records:
            try:
                array = b"".join((events.many(len(records)), *records))
                self._blocks.put(array, block=self.patience > 0.0, timeout=self.patience)
            except queue.Full:
                self._stop("the disk cannot follow")

    def _stop(self, reason: str) -> None:
        if self.reason is None:
            log.warning("the event log in %s ends: %s", self.directory, reason)
            self.reason = reason
        self._records, self._held = [], 0

    def _end(self, seconds: float = 2.0) -> None:
        """Closes the file there is."""
        self._flush()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._blocks.put(None, timeout=seconds)
        except queue.Full:
            return  # it hangs in the disk; as a daemon it does not outlive the process
        thread.join(seconds)

    # In the thread.

    def _write(self, path: Path, head: bytes, blocks: queue.Queue[bytes | None]) -> None:
        file: io.FileIO | None = None
        try:
            self._make_room()
            self.directory.mkdir(parents=True, exist_ok=True)
            file = self._opener(path)
            hold(file.fileno())
            self._put(file, head)
            while (records := blocks.get()) is not None:
                packed = events.block(records)
                if self.bytes + len(packed) > self.size // 2:
                    self._stop(f"it has reached its bound of {self.size // 2} bytes")
                    return
                self._put(file, packed)
        except OSError as error:
            self.failures += 1
            self._stop(error.strerror or str(error))
        finally:
            if file is not None:
                file.close()

    def _put(self, file: io.FileIO, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = file.write(rest) or 0
            self.bytes += written
            rest = rest[written:]

    def _make_room(self) -> None:
        """Deletes the oldest logs until half of the bound is free for another; never what a live process writes."""
        if not self.directory.is_dir():
            return
        files = sorted(self.directory.glob(f"*{events.SUFFIX}"))
        sizes = {file: size(file) for file in files}
        total = sum(sizes.values())
        for file, its in sizes.items():
            if total <= self.size // 2:
                break
            if held(file):
                continue
            file.unlink(missing_ok=True)
            self.deleted_files += 1
            total -= its
