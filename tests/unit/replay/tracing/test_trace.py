"""Traces: what was written is read, older formats too, and what cannot be true is named by file, row and column."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptive.telemetry.columns import Rows, empty
from adaptive.telemetry.recorder import Recorder
from adaptive.telemetry.recording import COLUMNS, FORMAT, Header, read_header
from adaptive.types import Cluster, Endpoint, Mark, Member, Topology
from replay.trace import Trace, TraceError, read, write
from replay.tracing.files import Damaged, read_part
from replay.tracing.migrations import MIGRATIONS

HEADER = Header(
    wall_offset=1.7e9,
    routes=("front",),
    clusters=("api",),
    endpoints={"0": ("api", "10.0.0.1:80"), "1": ("api", "10.0.0.2:80")},
)


def rows(count: int = 200, start: float = 100.0) -> Rows:
    made = empty(count)
    made["sent_at"] = start + 0.01 * np.arange(count)
    made["first_byte"] = made["sent_at"] + 0.004
    made["done"] = made["sent_at"] + 0.005
    made["request"] = np.arange(1, count + 1)
    made["slot"] = np.arange(count) % 2
    made["propensity"] = 0.5
    made["load_cpu"] = made["load_app"] = np.nan
    made["status"] = 200
    made["attempt"] = 1
    made["marks"] = Mark.REPEATABLE
    return made


def written(folder: Path, made: Rows, header: Header = HEADER, name: str = "a.parquet") -> Path:
    write(Trace(header, made), folder / name)
    return folder / name


def same(one: Rows, other: Rows) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    extra = {
        "method": np.array(["GET", None] * 100, dtype=object),
        "server_seconds": np.linspace(0.0, 1.0, 200),
    }
    write(Trace(HEADER, rows(), extra=extra, partial="a minute is missing"), tmp_path / "a.parquet")
    found = read([tmp_path / "a.parquet"])
    same(found.rows, rows())
    assert found.header == replace(HEADER, partial="a minute is missing")
    assert found.partial == "a minute is missing"
    assert found.extra["method"].tolist() == extra["method"].tolist()
    np.testing.assert_array_equal(found.extra["server_seconds"], extra["server_seconds"])
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_what_the_recorder_writes_is_a_trace_while_open_and_when_finished(tmp_path: Path) -> None:
    members = tuple(Member(Endpoint("api", "10.0.0.1", 80 + n), n) for n in range(2))
    topology = Topology(1, (Cluster("api", 0, members),), 2)
    recorder = Recorder(tmp_path, Header(wall_offset=1.7e9, routes=("front",)))
    recorder.write(rows(), topology)
    recorder.tick(1.0)
    assert [p.suffix for p in tmp_path.iterdir()] == [".arrows"]
    same(read([tmp_path]).rows, rows())
    recorder.close()
    warnings: list[str] = []
    found = read([tmp_path], warnings.append)
    same(found.rows, rows())
    assert (found.partial, warnings, found.header.source) == ("", [], "adaptive serve")


def test_a_trace_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no/such/a\.parquet: cannot be written"):
        write(Trace(HEADER, rows()), tmp_path / "no" / "such" / "a.parquet")
    path = written(tmp_path, rows())
    before = path.read_bytes()
    with pytest.raises(pa.ArrowInvalid):
        write(Trace(HEADER, rows(), extra={"server_seconds": np.array(["x"] * 200, dtype=object)}), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_the_format_before_is_brought_up_to_date(tmp_path: Path) -> None:
    path = written(tmp_path, rows())
    header = {k: v for k, v in read_header(path).items() if k not in ("source", "lacks", "partial")}
    old = pq.read_table(path).replace_schema_metadata({"adaptive": json.dumps({**header, "format": 1})})
    pq.write_table(old, path)
    found = read([path])
    same(found.rows, rows())
    assert (found.header.format, found.header.lacks) == (FORMAT, ())


def test_a_planted_older_format_goes_through_every_step(tmp_path: Path) -> None:
    path = written(tmp_path, rows())
    table = pq.read_table(path).rename_columns({"sent_at_seconds": "sent_ms"})
    table = table.set_column(0, "sent_ms", pa.array(rows()["sent_at"] * 1e3))
    pq.write_table(table.replace_schema_metadata({"adaptive": json.dumps({**read_header(path), "format": 0})}), path)

    def milliseconds(header, columns):
        seconds = pa.array(columns["sent_ms"].to_numpy() / 1e3)
        return header, columns.set_column(0, "sent_at_seconds", seconds)

    with pytest.raises(TraceError, match=f"{path}: its format version 0 is none that was ever written"):
        read_part(path)
    part = read_part(path, {**MIGRATIONS, 0: milliseconds})
    np.testing.assert_allclose(part.rows["sent_at"], rows()["sent_at"])
    assert part.header.format == FORMAT


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    written(tmp_path, rows(), name="0.parquet")
    path = written(tmp_path, rows(), replace(HEADER, format=FORMAT + 1, adaptive="9.9"))
    with pytest.raises(TraceError, match=rf"^{path}: its format version {FORMAT + 1} is newer .* Adaptive 9\.9"):
        read([tmp_path])


WRONG = [
    ("sent_at", np.nan, "sent_at_seconds: nan: no moment"),
    ("done", np.nan, "done_seconds: nan: no moment"),
    ("done", 1.0, "done_seconds: 1: before the attempt was sent"),
    ("slot", 9, "slot: 9: the header names no such endpoint"),
    ("cluster", 3, "cluster: 3: the header names 1 clusters"),
    ("cause", 77, "cause: 77: causes end at 14"),
    ("attempt", 0, "attempt: 0: attempts count from 1"),
    ("status", 7, "status: 7: no status of HTTP"),
]


@pytest.mark.parametrize(("column", "value", "message"), WRONG)
def test_a_row_that_cannot_be_is_left_out_and_named(tmp_path: Path, column: str, value: float, message: str) -> None:
    bad = rows()
    bad[column][50] = value
    path = tmp_path / "a.parquet"
    write(Trace(HEADER, bad), path)
    warnings: list[str] = []
    found = read([path], warnings.append)
    at = int(np.flatnonzero(pq.read_table(path)["request"].to_numpy() == 51)[0])  # rows are written in order of done
    said = f"{path}: row {at}: {message}"
    assert any(text.startswith(said) and text.endswith("one row left out") for text in warnings)
    assert found.partial == f"{path}: 1 of 200 rows were left out"
    assert sorted(found.rows["request"].tolist()) == [n for n in range(1, 201) if n != 51]


@pytest.mark.parametrize(("column", "value", "message"), WRONG)
def test_where_too_many_rows_cannot_be_the_file_is_refused(
    tmp_path: Path, column: str, value: float, message: str
) -> None:
    bad = rows()
    bad[column][40:50] = value
    path = written(tmp_path, bad)
    with pytest.raises(TraceError, match=f"^{path}: row .*10 rows; with 10 of 200 rows wrong it is refused"):
        read([path])


@pytest.mark.parametrize(
    ("column", "value", "repaired"),
    [("propensity", 1.5, np.nan), ("propensity", 0.0, np.nan), ("first_byte", 0.0, np.nan), ("connect", -1.0, 0.0)],
)
def test_a_value_that_says_nothing_is_repaired_and_named(
    tmp_path: Path, column: str, value: float, repaired: float
) -> None:
    bad = rows()
    bad[column][7] = value
    path = written(tmp_path, bad)
    warnings: list[str] = []
    found = read([path], warnings.append)
    expected = rows()
    expected[column][7] = repaired
    same(found.rows, expected)
    assert found.partial == ""
    assert len(warnings) == 1 and warnings[0].startswith(f"{path}: row 7: {COLUMNS[column]}: {value:g}: ")


def test_what_the_header_says_is_lacking_is_no_finding(tmp_path: Path) -> None:
    made = rows()
    for name in ("done", "first_byte", "propensity"):
        made[name] = np.nan
    path = written(tmp_path, made, replace(HEADER, lacks=("done", "first_byte", "propensity")))
    warnings: list[str] = []
    found = read([path], warnings.append)
    assert found.arrivals_only and warnings == [] and len(found.rows) == 200


def test_of_a_clock_that_jumps_back_the_longest_stretch_is_kept(tmp_path: Path) -> None:
    made = rows()
    for name in ("sent_at", "first_byte", "done"):
        made[name][150:] -= 3600.0
    path = tmp_path / "a.parquet"
    table = pq.read_table(written(tmp_path, rows(), name="b.parquet"))
    for name in ("sent_at", "first_byte", "done"):
        table = table.set_column(table.column_names.index(COLUMNS[name]), COLUMNS[name], pa.array(made[name].copy()))
    pq.write_table(table, path)
    warnings: list[str] = []
    found = read([path], warnings.append)
    assert found.rows["request"].tolist() == list(range(1, 151))
    assert found.partial == f"{path}: 50 of 200 rows were left out"
    assert "row 150: done_seconds: -3498.495 is 3600.0 s before the row above it: the clock jumped back" in warnings[0]


@pytest.mark.parametrize("keep", [0, 3, 500, -1])
def test_a_parquet_file_without_its_end_cannot_be_read(tmp_path: Path, keep: int) -> None:
    path = written(tmp_path, rows())
    os.truncate(path, keep if keep >= 0 else path.stat().st_size + keep)
    with pytest.raises(Damaged, match=f"^{path}: truncated or damaged: "):
        read_part(path)
    with pytest.raises(TraceError, match=f"^{path}: truncated or damaged: "):
        read([path])


def test_beside_whole_files_a_truncated_one_makes_the_trace_partial(tmp_path: Path) -> None:
    written(tmp_path, rows(), name="a.parquet")
    wreck = written(tmp_path, rows(start=200.0), name="b.parquet")
    os.truncate(wreck, 500)
    warnings: list[str] = []
    found = read([tmp_path], warnings.append)
    same(found.rows, rows())
    assert found.partial == warnings[0] and found.partial.startswith(f"{wreck}: truncated or damaged")


def test_a_damaged_group_costs_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pq.read_table(written(tmp_path, rows(), name="b.parquet"))
    pq.write_table(table, path, row_group_size=50)
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    with path.open("r+b") as file:
        file.seek(group.dictionary_page_offset or group.data_page_offset)
        file.write(b"\xff" * group.total_compressed_size)
    found = read([path])
    assert found.rows["request"].tolist() == [*range(1, 51), *range(101, 201)]
    assert found.partial == f"{path}: damaged: rows 50 to 99 cannot be read"


@pytest.mark.parametrize("cut", [1, 300])
def test_a_torn_segment_gives_what_was_whole(tmp_path: Path, cut: int) -> None:
    members = tuple(Member(Endpoint("api", "10.0.0.1", 80 + n), n) for n in range(2))
    recorder = Recorder(tmp_path, Header(wall_offset=1.7e9, routes=("front",)))
    for n in range(3):
        recorder.write(rows(10, 100.0 + n), Topology(1, (Cluster("api", 0, members),), 2))
        recorder.tick(float(n))
    (path,) = tmp_path.glob("*.arrows")
    recorder._segment = None  # gone without a word
    os.truncate(path, path.stat().st_size - cut)
    found = read([path])
    assert len(found.rows) == 20
    assert found.partial.startswith(f"{path}: truncated after row 19: ")


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    for path, why in [
        (other, "no recording of Adaptive"),
        (tmp_path / "gone.parquet", "no such file"),
        (tmp_path / "empty", "no recordings"),
    ]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(TraceError, match=f"^{path}: {why}"):
            read([path])
    with pytest.raises(TraceError, match="no file is given"):
        read([])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.drop_columns(["slot"]), "the column slot is missing"),
        (lambda t: t.set_column(6, "slot", pa.array(["x"] * 200)), "column slot: string is no uint32"),
        (lambda t: t.set_column(6, "slot", pa.array([1, None] * 100)), "row 1: slot: nothing stands there, as in 100"),
    ],
)
def test_a_column_that_is_not_what_it_should_be_is_named(tmp_path: Path, change, why: str) -> None:
    path = written(tmp_path, rows())
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(TraceError, match=f"^{path}: {why}"):
        read([path])


def test_files_are_read_in_order_of_time_whatever_their_names_are(tmp_path: Path) -> None:
    late = written(tmp_path, rows(start=500.0), name="a.parquet")
    early = written(tmp_path, rows(start=100.0), name="b.parquet")
    assert np.all(np.diff(read([late, early]).rows["sent_at"]) > 0)
    assert np.all(np.diff(read([tmp_path]).rows["sent_at"]) > 0)


def test_files_of_two_topologies_share_names_and_not_numbers(tmp_path: Path) -> None:
    other = replace(
        HEADER,
        clusters=("web", "api"),
        routes=("back", "front"),
        endpoints={"0": ("web", "10.0.0.9:80"), "1": ("api", "10.0.0.1:80")},
    )
    second = rows(2, 500.0)
    second["cluster"] = [0, 1]
    second["route"] = [0, 1]
    written(tmp_path, rows(2), name="a.parquet")
    written(tmp_path, second, other, name="b.parquet")
    found = read([tmp_path])
    header = found.header
    assert [header.clusters[i] for i in found.rows["cluster"]] == ["api", "api", "web", "api"]
    assert [header.routes[i] for i in found.rows["route"]] == ["front", "front", "back", "front"]
    names = [header.endpoints[str(slot)][1] for slot in found.rows["slot"]]
    assert names == ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.9:80", "10.0.0.1:80"]


def test_rules_of_routes_are_joined_and_where_they_change_it_is_said(tmp_path: Path) -> None:
    front, back = {"retries": 2}, {"retries": 0}
    headers = [{"front": front}, {"front": front, "back": back}, {"front": back}]
    for i, told in enumerate(headers):
        written(tmp_path, rows(2, 100.0 * i), replace(HEADER, rules=told), name=f"{i}.parquet")
    warnings: list[str] = []
    assert read([tmp_path], warnings.append).header.rules == {"front": back, "back": back}
    assert len(warnings) == 1 and "2.parquet: the route front has other rules" in warnings[0]


def test_envoys_of_two_gateways_share_names_and_not_numbers(tmp_path: Path) -> None:
    made = rows()
    made["worker"] = np.arange(200) % 2
    written(tmp_path, made, replace(HEADER, nodes=("edge-0", "edge-1")), "a.parquet")
    later = rows(start=200.0)
    later["worker"] = made["worker"]
    written(tmp_path, later, replace(HEADER, nodes=("edge-1", "edge-2")), "b.parquet")
    trace = read([tmp_path])
    assert trace.header.nodes == ("edge-0", "edge-1", "edge-2")
    named = np.array(trace.header.nodes)[trace.rows["worker"]]
    assert list(named[:2]) == ["edge-0", "edge-1"]
    assert list(named[200:202]) == ["edge-1", "edge-2"]


def test_after_a_reboot_times_go_on_and_requests_are_not_mixed_up(tmp_path: Path) -> None:
    written(tmp_path, rows(start=90_000.0), name="a.parquet")
    written(tmp_path, rows(start=20.0), replace(HEADER, wall_offset=HEADER.wall_offset + 90_000.0), name="b.parquet")
    warnings: list[str] = []
    found = read([tmp_path], warnings.append)
    assert found.rows["sent_at"][200] == 90_020.0
    assert len(np.unique(found.rows["request"])) == 400
    assert "another clock: its times were moved by +90000.000 s" in warnings[0]
    assert found.partial == ""


def test_a_trace_of_one_instance_is_read(tmp_path: Path) -> None:
    made = rows()
    made["slot"] = 1
    assert set(read([written(tmp_path, made)]).rows["slot"]) == {1}


@pytest.mark.parametrize("key", ["partial", "source", "config_hash"])
def test_what_a_header_says_is_text_whatever_was_written_there(tmp_path: Path, key: str) -> None:
    path = tmp_path / "t.parquet"
    write(Trace(HEADER, rows()), path)
    table = pq.read_table(path)
    told = {**read_header(path), key: 7}
    pq.write_table(table.replace_schema_metadata({b"adaptive": json.dumps(told).encode()}), path)
    assert getattr(read([path]).header, key) == "7"
