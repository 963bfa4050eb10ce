from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptive.telemetry import columns, recording
from adaptive.telemetry.recorder import Limits, Recorder, open_file
from adaptive.telemetry.recording import Header, RecordingError, read_header, read_recording
from adaptive.types import OUTCOME_FIELDS, Cluster, Endpoint, Member, Topology

HEADER = Header(
    config_hash="c0ffee",
    seeds={"picks": 7},
    wall_offset=1.7e9,
    workers=2,
    routes=("front", "api"),
    rules={"api": {"retries": 1}},
)


def topology(generation: int = 1, first_port: int = 9000, count: int = 3) -> Topology:
    members = tuple(Member(Endpoint("api", "127.0.0.1", first_port + slot), slot) for slot in range(count))
    return Topology(generation, (Cluster("api", 0, members),), count)


def rows(start: int, count: int) -> columns.Rows:
    out = columns.empty(count)
    n = np.arange(start, start + count)
    for name, code, _ in OUTCOME_FIELDS:
        out[name] = n % 100 if code in "HB" else n
    out["slot"] = n % 4  # slot 3 has no endpoint
    out["route"] = n % 3  # route 2 has no name
    out["load_cpu"] = np.nan
    return out


def numbers(source: Path) -> list[int]:
    return list(read_recording(source)["request"].to_pylist())


def test_what_was_recorded_is_what_is_read(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, HEADER)
    recorder.write(rows(0, 10), topology())
    recorder.tick(1.0)
    recorder.write(rows(10, 5), topology())
    recorder.close()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("outcomes-20231114T221321-")
    assert path.suffix == ".parquet"
    table = read_recording(path)
    sent = rows(0, 15)
    for name, column in recording.COLUMNS.items():
        np.testing.assert_array_equal(table[column].to_numpy(), sent[name], err_msg=name)
    assert table["endpoint"].to_pylist()[:5] == [
        "127.0.0.1:9000",
        "127.0.0.1:9001",
        "127.0.0.1:9002",
        None,
        "127.0.0.1:9000",
    ]
    assert table["cluster_name"].to_pylist()[:4] == ["api", "api", "api", None]
    assert table["route_name"].to_pylist()[:4] == ["front", "api", None, "front"]
    assert (recorder.rows, recorder.dropped_rows, recorder.failures) == (15, 0, 0)


def test_times_and_sizes_carry_their_unit_in_the_name() -> None:
    for name, _, meaning in OUTCOME_FIELDS:
        column = recording.COLUMNS[name]
        assert column.endswith("_seconds") == meaning.startswith("seconds"), column
        assert column.endswith("_bytes") == ("bytes" in name), column


def test_the_header_tells_where_the_rows_come_from(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, HEADER)
    recorder.write(rows(0, 1), topology())
    recorder.close()
    header = read_header(next(tmp_path.iterdir()))
    assert header == {
        "format": 2,
        "source": "adaptive serve",
        "lacks": [],
        "partial": "",
        "adaptive": recording.__version__,
        "config_hash": "c0ffee",
        "seeds": {"picks": 7},
        "wall_offset": 1.7e9,
        "workers": 2,
        "nodes": [],
        "routes": ["front", "api"],
        "clusters": ["api"],
        "rules": {"api": {"retries": 1}},
        "endpoints": {"0": ["api", "127.0.0.1:9000"], "1": ["api", "127.0.0.1:9001"], "2": ["api", "127.0.0.1:9002"]},
    }


def test_the_open_segment_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, HEADER)
    recorder.write(rows(0, 10), topology())
    recorder.tick(1.0)
    recorder.write(rows(10, 10), topology())
    recorder.tick(1.5)  # not due yet
    assert numbers(tmp_path) == list(range(10))
    assert read_recording(tmp_path)["endpoint"].to_pylist()[0] == "127.0.0.1:9000"
    recorder.tick(2.0)
    assert numbers(tmp_path) == list(range(20))
    recorder.close()
    assert numbers(tmp_path) == list(range(20))


def settle(recorder: Recorder) -> None:
    assert recorder._thread is not None
    recorder._thread.join(10)
    assert not recorder._thread.is_alive()


def test_segments_are_rotated_by_size_and_by_age(tmp_path: Path) -> None:
    by_size = Recorder(tmp_path / "size", HEADER, Limits(segment_bytes=10_000, flush_seconds=0))
    for n in range(10):
        by_size.write(rows(n * 50, 50), topology())
        by_size.tick(float(n))
    by_size.close()
    files = list((tmp_path / "size").iterdir())
    assert len(files) > 2
    assert {f.suffix for f in files} == {".parquet"}
    assert numbers(tmp_path / "size") == list(range(500))
    by_age = Recorder(tmp_path / "age", HEADER, Limits(segment_seconds=10))
    for n in range(25):
        by_age.write(rows(n, 1), topology())
        by_age.tick(float(n))
    by_age.close()
    assert len(list((tmp_path / "age").iterdir())) == 3
    assert numbers(tmp_path / "age") == list(range(25))


def test_a_new_configuration_and_a_new_topology_begin_a_new_file_with_its_own_names(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, HEADER)
    recorder.write(rows(0, 3), topology())
    recorder.configure(Header(config_hash="beef", routes=("other",), wall_offset=1.7e9))
    recorder.write(rows(3, 2), topology(2, first_port=7000, count=1))
    recorder.close()
    first, second = sorted(tmp_path.iterdir())
    assert [read_header(p)["config_hash"] for p in (first, second)] == ["c0ffee", "beef"]
    assert read_recording(first)["endpoint"].to_pylist() == [f"127.0.0.1:{9000 + n}" for n in range(3)]
    table = read_recording(second)
    assert table["endpoint"].to_pylist() == [None, "127.0.0.1:7000"]
    assert table["route_name"].to_pylist() == ["other", None]
    assert read_recording(tmp_path)["endpoint"].to_pylist()[:3] == [f"127.0.0.1:{9000 + n}" for n in range(3)]


def test_envoys_have_their_names_from_when_they_are_known(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, HEADER)
    recorder.name(("edge-0",))
    recorder.write(rows(0, 1), topology())
    recorder.tick(10.0)  # writes it
    recorder.write(rows(1, 1), topology())
    recorder.name(("edge-0", "edge-1"))
    recorder.tick(11.0)
    recorder.configure(HEADER)
    recorder.write(rows(0, 3), topology())
    recorder.close()
    told = [read_recording(path)["node"].to_pylist() for path in sorted(tmp_path.iterdir())]
    assert told == [["edge-0"], ["edge-1"], ["edge-0", "edge-1", None]]
    assert [read_header(path)["nodes"] for path in sorted(tmp_path.iterdir())][-1] == ["edge-0", "edge-1"]


def test_an_endpoint_that_left_keeps_its_name_for_late_outcomes(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, HEADER)
    recorder.write(rows(0, 3), topology(count=3))
    recorder.configure(HEADER)
    recorder.write(rows(0, 3), topology(2, count=1))
    recorder.close()
    assert read_recording(sorted(tmp_path.iterdir())[1])["endpoint"].to_pylist()[2] == "127.0.0.1:9002"


def together(folder: Path) -> int:
    """Bytes of all files, while another thread deletes some."""
    sizes = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            sizes += path.stat().st_size
    return sizes


def test_all_files_together_stay_within_their_bound_and_the_oldest_go(tmp_path: Path) -> None:
    limits = Limits(max_bytes=120_000, flush_seconds=0)
    recorder = Recorder(tmp_path, HEADER, limits)
    peak = 0
    for n in range(60):
        recorder.write(rows(n * 100, 100), topology())
        recorder.tick(float(n))
        peak = max(peak, together(tmp_path))
        if n % 3 == 0:
            settle(recorder)
    recorder.close()
    assert peak <= limits.max_bytes
    assert recorder.deleted_files > 0
    kept = numbers(tmp_path)
    assert kept == list(range(kept[0], 6000))
    assert kept[0] > 0


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, HEADER, Limits(files=5, flush_seconds=0))
    for n in range(20):
        recorder.write(rows(n, 1), topology())
        recorder.tick(float(n))
        recorder.configure(HEADER)
    recorder.tick(99.0)
    recorder.close()
    assert len(list(tmp_path.iterdir())) <= 5
    assert numbers(tmp_path)[-1] == 19


def test_the_bound_of_one_recorder_does_not_take_what_another_writes(tmp_path: Path) -> None:
    one, other = Recorder(tmp_path, HEADER), Recorder(tmp_path, HEADER, Limits(max_bytes=60_000, flush_seconds=0))
    one.write(rows(0, 2000), topology())
    one.tick(0.0)
    for n in range(20, 30):
        other.write(rows(n * 100, 100), topology())
        other.tick(float(n))
        settle(other)
    assert other.deleted_files > 0
    one.write(rows(2000, 10), topology())
    one.close()
    assert [n for n in numbers(tmp_path) if n < 2010] == list(range(2010))


def test_nobody_sees_a_segment_that_is_not_locked_yet(tmp_path: Path) -> None:
    other = Recorder(tmp_path, HEADER)

    def opener(path: Path) -> io.FileIO:
        file = open_file(path)
        other._leftovers = True
        other.tick(0.0)
        settle(other)
        return file

    recorder = Recorder(tmp_path, HEADER, opener=opener)
    recorder.write(rows(0, 10), topology())
    recorder.tick(0.0)
    assert read_recording(tmp_path).num_rows == 10


class FullDisk:
    """A disk that can be full: files opened on it then take only a few bytes more."""

    def __init__(self) -> None:
        self.full = False

    def open(self, path: Path) -> io.FileIO:
        disk = self

        class File(io.FileIO):
            def write(self, data: bytes) -> int:  # type: ignore[override]
                if disk.full:
                    super().write(bytes(data)[:37])
                    raise OSError(errno.ENOSPC, "No space left on device")
                return super().write(data)

        return File(path, "wb")


def test_a_full_disk_stops_recording_and_room_resumes_it(tmp_path: Path) -> None:
    disk = FullDisk()
    recorder = Recorder(tmp_path, HEADER, Limits(retry_seconds=30), disk.open)
    recorder.write(rows(0, 10), topology())
    recorder.tick(1.0)
    disk.full = True
    recorder.write(rows(10, 10), topology())
    recorder.tick(2.0)
    assert not recorder.recording
    assert recorder.report()["reason"] == "No space left on device"
    assert (recorder.failures, recorder.dropped_rows) == (1, 10)
    recorder.write(rows(20, 10), topology())
    recorder.tick(31.0)  # too early to try again
    assert (recorder.failures, recorder.dropped_rows) == (1, 20)
    recorder.tick(32.0)  # tries, in vain
    assert not recorder.recording
    settle(recorder)
    disk.full = False
    recorder.tick(62.0)
    assert recorder.recording
    recorder.write(rows(30, 10), topology())
    recorder.tick(63.0)
    recorder.close()
    assert numbers(tmp_path) == [*range(10), *range(30, 40)]
    assert {p.suffix for p in tmp_path.iterdir()} == {".parquet"}
    assert (recorder.rows, recorder.dropped_rows) == (20, 20)


def test_a_conversion_that_finds_the_disk_full_keeps_the_segment_for_later(tmp_path: Path) -> None:
    disk = FullDisk()
    recorder = Recorder(tmp_path, HEADER, opener=disk.open)
    recorder.write(rows(0, 10), topology())
    recorder.tick(1.0)
    settle(recorder)
    disk.full = True
    recorder.close()
    assert [p.suffix for p in tmp_path.iterdir()] == [".arrows"]
    assert recorder.failures == 1
    heir = Recorder(tmp_path, HEADER)
    heir.tick(1.0)
    settle(heir)
    assert [p.suffix for p in tmp_path.iterdir()] == [".parquet"]
    assert numbers(tmp_path) == list(range(10))


def test_a_directory_that_cannot_be_made_stops_recording_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(tmp_path / "file" / "recordings", HEADER)
    recorder.write(rows(0, 10), topology())
    recorder.tick(1.0)
    assert recorder.report()["reason"] == "Not a directory"
    assert recorder.dropped_rows == 10
    recorder.tick(100.0)
    recorder.close()


def test_rows_that_nobody_flushes_are_bounded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, HEADER, Limits(pending_rows=25))
    for n in range(5):
        recorder.write(rows(n * 10, 10), topology())
    assert recorder.dropped_rows == 30
    recorder.tick(1.0)
    recorder.close()
    assert numbers(tmp_path) == list(range(20))


RECORDING = """
import sys, time
from pathlib import Path
from test_recorder_of_parent import HEADER, rows, topology
from adaptive.telemetry.recorder import Limits, Recorder
recorder = Recorder(Path(sys.argv[1]), HEADER, Limits(flush_seconds=0.05))
top, n = topology(), 0
while True:
    now = time.monotonic()
    batch = rows(n, 20)
    batch["done"] = now
    recorder.write(batch, top)
    recorder.tick(now)
    n += 20
    time.sleep(0.005)
"""


# Takes up to 2 s: a real process loads pyarrow, records and is killed.
def test_a_killed_process_loses_at_most_its_last_second(tmp_path: Path) -> None:
    load = f"import importlib.util as u, sys; s = u.spec_from_file_location('test_recorder_of_parent', {__file__!r}); "
    load += "m = u.module_from_spec(s); sys.modules['test_recorder_of_parent'] = m; s.loader.exec_module(m)\n"
    child = subprocess.Popen([sys.executable, "-c", load + RECORDING, str(tmp_path)])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not any(p.stat().st_size > 50_000 for p in tmp_path.glob("*.arrows")):
        time.sleep(0.01)
    # A live process's segment is left alone.
    other = Recorder(tmp_path, HEADER)
    other.tick(1.0)
    settle(other)
    assert [p.suffix for p in tmp_path.iterdir()] == [".arrows"]
    killed_at = time.monotonic()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    heir = Recorder(tmp_path, HEADER)
    heir.tick(1.0)
    settle(heir)
    assert [p.suffix for p in tmp_path.iterdir()] == [".parquet"]
    table = read_recording(tmp_path)
    assert table["request"].to_pylist() == list(range(table.num_rows))
    assert table["done_seconds"].to_pylist()[-1] > killed_at - 1.0


@pytest.mark.parametrize("cut", [1, 100, 1000])
def test_a_torn_end_costs_only_the_batch_it_tore(tmp_path: Path, cut: int) -> None:
    recorder = Recorder(tmp_path, HEADER)
    for n in range(3):
        recorder.write(rows(n * 10, 10), topology())
        recorder.tick(float(n))
    (path,) = tmp_path.glob("*.arrows")
    settle(recorder)  # or its thread, which a process that dies takes with it, could convert what is given up here
    recorder._segment = None  # gone without a word
    os.truncate(path, path.stat().st_size - cut)
    assert numbers(path) == list(range(20))
    Recorder(tmp_path, HEADER)._convert(path)
    assert numbers(tmp_path) == list(range(20))


def test_a_leftover_without_rows_goes_and_one_without_sense_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "outcomes-1.arrows").write_bytes(b"")
    (tmp_path / "outcomes-2.arrows").write_bytes(b"nonsense" * 100)
    recorder = Recorder(tmp_path, HEADER)
    recorder.tick(1.0)
    settle(recorder)
    assert [p.name for p in tmp_path.iterdir()] == ["outcomes-2.damaged"]


def finished(folder: Path) -> Path:
    recorder = Recorder(folder, HEADER)
    recorder.write(rows(0, 100), topology())
    recorder.close()
    return next(folder.glob("*.parquet"))


@pytest.mark.parametrize("keep", [0, 3, 500, -1])
def test_a_truncated_recording_is_named_in_the_error(tmp_path: Path, keep: int) -> None:
    path = finished(tmp_path)
    os.truncate(path, keep if keep >= 0 else path.stat().st_size + keep)
    with pytest.raises(RecordingError, match=f"^{path}: truncated or damaged"):
        read_recording(tmp_path)


def test_a_recording_of_a_newer_format_is_refused_by_its_version(tmp_path: Path) -> None:
    path = finished(tmp_path)
    table = pq.read_table(path)
    header = json.dumps({**read_header(path), "format": 3, "adaptive": "9.9"})
    pq.write_table(table.replace_schema_metadata({"adaptive": header}), path)
    with pytest.raises(RecordingError, match=rf"^{path}: its format version 3 is newer .* \(2\); .* Adaptive 9\.9"):
        read_recording(path)


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(RecordingError, match=f"^{path}: no recording of Adaptive"):
        read_recording(path)
    with pytest.raises(RecordingError, match=r"gone\.parquet: no such file"):
        read_recording(tmp_path / "gone.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="empty: no recordings"):
        read_recording([tmp_path / "empty"])
    with pytest.raises(RecordingError, match="nothing given"):
        read_recording([])


def test_recording_does_not_load_pandas(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from adaptive.telemetry.recorder import Recorder, Header\n"
        "from adaptive.telemetry import columns; from adaptive.types import Topology\n"
        "r = Recorder(Path(sys.argv[1]), Header())\n"
        "r.write(columns.empty(3), Topology(1, (), 0)); r.tick(1.0); r.close()\n"
        "sys.exit('pandas' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert numbers(tmp_path) == [0, 0, 0]


def test_files_are_opened_unbuffered(tmp_path: Path) -> None:
    with open_file(tmp_path / "x") as file:
        file.write(b"abc")
        assert (tmp_path / "x").read_bytes() == b"abc"
