"""The recorder, in the brain: outcomes to rotated files that `adaptive.telemetry.recording` describes.

Rows are gathered in memory and appended, each second, to an open segment; so a killed process loses at most the last
second (a machine that loses power may lose what its disk had not written). A full segment is converted to Parquet in a
thread, so that the brain never waits for compression; whatever segments a dead process left are converted on the next
start. A live process holds a lock on its segment, so several may share a directory.

Whatever goes wrong with the disk stops recording, with a reason, and never the brain: rows are counted as dropped until
the next try succeeds.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from adaptive.telemetry import columns, recording
from adaptive.telemetry.holding import held, hold, size
from adaptive.telemetry.recording import DAMAGED, DONE, OPEN, PART, Header, RecordingError
from adaptive.types import Topology

log = logging.getLogger("adaptive.recorder")

Opener = Callable[[Path], io.FileIO]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds, in bytes, seconds and rows."""

    max_bytes: int = 1 << 30  # of all recordings together; the oldest go
    segment_bytes: int = 64 << 20  # of one open segment: 700,000 rows, 13 MiB when converted
    segment_seconds: float = 600.0
    flush_seconds: float = 1.0  # what a kill may cost
    retry_seconds: float = 30.0  # a full disk is looked at again as often as an operator would notice
    pending_rows: int = 1 << 18  # in memory: 10 s at 26,000 a second
    files: int = 4096  # many reloads make many small files


def open_file(path: Path) -> io.FileIO:
    """A new file, unbuffered: what is written survives the process."""
    return io.FileIO(path, "wb")


class Recorder:
    """Writes outcomes to `directory`. No method raises for what the disk does; see `reason`."""

    def __init__(
        self, directory: Path, header: Header, limits: Limits | None = None, opener: Opener = open_file
    ) -> None:
        self.directory = directory
        self.rows = 0  # written
        self.dropped_rows = 0
        self.failures = 0
        self.deleted_files = 0
        self.reason: str | None = None  # why recording is stopped; None while it goes on
        limits = limits or Limits()
        # Beside what is kept, there may be an open segment, one being converted, and the result of that.
        self.limits = replace(limits, segment_bytes=max(1, min(limits.segment_bytes, limits.max_bytes // 6)))
        self._keep = limits.max_bytes - 3 * self.limits.segment_bytes
        self._header = header
        self._topology: Topology | None = None
        self._pending: list[columns.Rows] = []
        self._pending_rows = 0
        self._segment: _Segment | None = None
        self._now: float | None = None
        self._flushed_at = self._retry_at = float("-inf")
        self._number = 0
        self._opener = opener
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._leftovers = True  # segments may wait for conversion

    # What the brain calls.

    def configure(self, header: Header) -> None:
        """Another configuration is in force: what follows goes to a new file, under this header."""
        self._flush()
        self._rotate()
        endpoints = {**self._header.endpoints, **header.endpoints}
        self._header = replace(header, endpoints=endpoints, nodes=self._header.nodes)
        self._topology = None

    def name(self, nodes: tuple[str, ...]) -> None:
        """Envoys by their number: names are added, none is taken away. What is not written yet goes under them too."""
        self._header = replace(self._header, nodes=nodes)

    def write(self, rows: columns.Rows, topology: Topology) -> None:
        """Take rows of OUTCOME_DTYPE to be written at the next flush. They must not change any more."""
        if not len(rows):
            return
        if topology is not self._topology and topology != self._topology:
            self._enter(topology)
        if not self.recording or self._pending_rows + len(rows) > self.limits.pending_rows:
            self.dropped_rows += len(rows)
            return
        self._pending.append(rows)
        self._pending_rows += len(rows)

    def tick(self, now: float) -> None:
        """Do what is due at `now`, monotonic seconds: flush, rotate, try again, convert."""
        self._now = now
        if self.reason is not None and now >= self._retry_at:
            self._try_again(now)
        if now - self._flushed_at >= self.limits.flush_seconds:
            self._flush()
            self._flushed_at = now
        if self._segment is not None and now - self._segment.since >= self.limits.segment_seconds:
            self._rotate()
        self._start_converting()

    def close(self, seconds: float = 5.0) -> None:
        """Flush, and convert what is open, for `seconds` at most: the next start does the rest."""
        self._flush()
        self._rotate()
        self._join(seconds)
        self._start_converting()
        self._join(seconds)
        self._stopping.set()
        self._join(1.0)  # it looks between two row groups, some 50 ms each

    @property
    def recording(self) -> bool:
        """Whether rows are taken."""
        return self.reason is None

    def report(self) -> dict[str, Any]:
        """What the metrics show."""
        return {
            "recording": self.recording,
            "reason": self.reason,
            "rows": self.rows,
            "dropped_rows": self.dropped_rows,
            "failures": self.failures,
            "deleted_files": self.deleted_files,
        }

    # The open segment.

    def _enter(self, topology: Topology) -> None:
        self._flush()
        self._rotate()
        names = tuple(cluster.name for cluster in topology.clusters)
        self._header = replace(self._header, endpoints=self._header.of(topology), clusters=names)
        self._topology = topology

    def _flush(self) -> None:
        if not self._pending:
            return
        rows, self._pending, self._pending_rows = columns.join(self._pending), [], 0
        try:
            if self._segment is not None and self._segment.nodes != self._header.nodes:
                self._rotate()
            if self._segment is None:
                self._segment = self._open()
            self._segment.append(rows)
            self.rows += len(rows)
        except (OSError, pa.ArrowException) as error:
            self.dropped_rows += len(rows)
            self._stop(error)
            return
        if self._segment.size >= self.limits.segment_bytes:
            self._rotate()

    def _open(self) -> _Segment:
        self.directory.mkdir(parents=True, exist_ok=True)
        now = self._now or 0.0
        start = datetime.fromtimestamp(now + self._header.wall_offset, UTC)
        self._number += 1
        name = f"outcomes-{start:%Y%m%dT%H%M%S}-{os.getpid()}-{self._number:06d}{OPEN}"
        return _Segment(self.directory / name, self._opener, self._header, now)

    def _rotate(self) -> None:
        if self._segment is None:
            return
        segment, self._segment = self._segment, None
        segment.close()
        self._leftovers = True

    def _stop(self, error: Exception) -> None:
        """Give up until `retry_seconds` from now. The segment keeps what it got; its end may be torn."""
        self.failures += 1
        if self.reason is None:
            log.warning("recording to %s stops: %s", self.directory, _said(error))
        self.reason = _said(error)
        self._retry_at = (self._now or 0.0) + self.limits.retry_seconds
        self._rotate()

    def _try_again(self, now: float) -> None:
        try:
            self._segment = self._open()
        except (OSError, pa.ArrowException) as error:
            self._stop(error)
            return
        self.reason = None
        self._leftovers = True
        log.warning("recording to %s goes on; %d rows were dropped", self.directory, self.dropped_rows)

    # Finished segments; in a thread of its own.

    def _start_converting(self) -> None:
        if self._leftovers and (self._thread is None or not self._thread.is_alive()):
            self._leftovers = False
            self._thread = threading.Thread(target=self._convert_all, name="adaptive-recorder", daemon=True)
            self._thread.start()

    def _join(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    def _convert_all(self) -> None:
        if not self.directory.exists():
            return
        try:
            for path in sorted(self.directory.glob(f"*{OPEN}")):
                self._enforce()
                if self._stopping.is_set():
                    return
                self._convert(path)
            self._enforce()
        except OSError as error:  # the directory itself; a segment that could not be converted waits for the next time
            log.warning("recordings in %s were not converted: %s", self.directory, _said(error))
            self.failures += 1

    def _convert(self, path: Path) -> None:
        done, part = path.with_suffix(DONE), path.with_suffix(PART)
        try:
            source = path.open("rb")
        except FileNotFoundError:
            return
        with source:
            if not hold(source.fileno()):
                return  # a live process writes it, or converts it
            try:
                with io.BufferedWriter(self._opener(part), 1 << 20) as sink:
                    rows = recording.convert(source, path, sink, lambda: not self._stopping.is_set())
                if rows:
                    part.replace(done)
                    path.unlink(missing_ok=True)
            except RecordingError as error:
                if not size(path):  # killed before it wrote anything
                    path.unlink(missing_ok=True)
                else:
                    log.warning("%s", error)
                    path.replace(path.with_suffix(DAMAGED))
            except InterruptedError:
                return
            else:
                if not rows:
                    path.unlink(missing_ok=True)
            finally:
                part.unlink(missing_ok=True)

    def _enforce(self) -> None:
        """Delete the oldest files until the rest are within their bounds; never what a live process writes."""
        segment = self._segment
        files = sorted(p for p in self.directory.iterdir() if p.suffix in {OPEN, DONE, DAMAGED})
        sizes = {path: size(path) for path in files if segment is None or path != segment.path}
        total, left = sum(sizes.values()), len(sizes)
        for path, its in sizes.items():
            if total <= self._keep and left <= self.limits.files:
                break
            if path.suffix == OPEN and held(path):
                continue
            path.unlink(missing_ok=True)
            total, left = total - its, left - 1
            self.deleted_files += 1


class _Segment:
    """One open segment. It gets its name once it is locked: nobody sees it as one that was left."""

    def __init__(self, path: Path, opener: Opener, header: Header, since: float) -> None:
        self.path = path
        self.nodes = header.nodes
        self.since = since
        self.size = 0
        new = path.with_suffix(PART)
        self._file = opener(new)
        try:
            hold(self._file.fileno())
            self._schema = recording.schema(header)
            self._write(self._schema.serialize())
            new.replace(path)
        except BaseException:
            self.close()
            new.unlink(missing_ok=True)  # without its schema it holds nothing
            raise

    def append(self, rows: columns.Rows) -> None:
        """Write rows; they are in the system's hands when this returns. Raises OSError."""
        self._write(recording.batch(rows, self._schema).serialize())

    def _write(self, message: pa.Buffer) -> None:
        data = memoryview(message)
        while data:
            written = self._file.write(data) or 0
            self.size += written
            data = data[written:]

    def close(self) -> None:
        """Let go of the file; the stream needs no end."""
        try:
            self._file.close()
        except OSError:
            pass


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
