"""The report's document and its plain forms."""

from __future__ import annotations

import csv
import errno
import io
import json
from pathlib import Path

import numpy as np
import pytest

from replay.report import series, words
from replay.report.document import Document, DocumentError, check, clean, document, read, row
from replay.report.write import render, whole, write

COMPARED = {
    "scenario": "hang", "policy": "a", "to": "b", "figure": "p99", "difference": 0.1, "interval": [0, 1], "better": None
}  # fmt: skip


def made() -> Document:
    found = document("simulate", "hang: two policies", "adaptive simulate hang.json", seeds=(1, 2))
    values = {"p50": 0.0121, "p90": 0.02, "p95": 0.03, "p99": 0.142, "p999": 1.2, "mean": 0.015, "failed": 12.0}
    spans = {"p50": [0.0119, 0.0125], "p99": [0.12, 0.21], "failed": [6.0, 30.0]}
    found["rows"] = [
        row("hang", "adaptive", 12000, values, spans, 1.01),
        row("hang", "least_request", 12000, {**values, "p99": 2.5, "failed": 300.0}, {}, 1.2),
    ]
    found["refused"] = [{"policy": "c3", "reason": "its picks go where nothing was seen"}]
    found["hashes"] = {"scenario": "ab" * 32}
    return found


def test_the_text_holds_every_policy_with_its_figures_and_intervals_and_how_to_make_it_again() -> None:
    text = render(made(), "text")
    line = next(one for one in text.splitlines() if one.startswith("  adaptive"))
    assert "12.1" in line and "[11.9 12.5]" in line and "142" in line and "12 (0.1%)" in line
    assert "refused: c3: its picks go where nothing was seen" in text
    assert "again: adaptive simulate hang.json" in text
    assert max(map(len, text.splitlines())) < 140


def test_a_partial_report_says_so_before_its_figures() -> None:
    found = made()
    found["partial"] = "the last file is cut off"
    for form in ("text", "html"):
        text = render(found, form)  # type: ignore[arg-type]
        assert text.lower().index("the last file is cut off") < text.index("least_request")


def test_names_of_others_cannot_move_the_terminal() -> None:
    found = made()
    found["rows"][0]["policy"] = "\x1b[2Jadaptive\n✓"
    assert "\x1b" not in render(found, "text")


def test_json_gives_the_document_back(tmp_path: Path) -> None:
    write(made(), "json", tmp_path / "report.json")
    assert read(tmp_path / "report.json") == made()


def test_what_json_cannot_say_becomes_null() -> None:
    found = made()
    found["rows"][0]["p99"] = float("nan")
    found["rows"][0]["requests"] = np.int64(5)  # type: ignore[typeddict-item]
    again = json.loads(render(found, "json"))
    assert again["rows"][0]["p99"] is None and again["rows"][0]["requests"] == 5
    assert "-" in render(found, "text")


def test_csv_has_a_line_for_each_policy_and_for_what_was_refused() -> None:
    lines = list(csv.DictReader(io.StringIO(render(made(), "csv"))))
    assert [line["policy"] for line in lines] == ["adaptive", "least_request", "c3"]
    assert float(lines[0]["p99"]) == 0.142 and float(lines[0]["p99_high"]) == 0.21
    assert float(lines[0]["failed_share_low"]) == 6 / 12000
    assert lines[1]["p99_low"] == "" and lines[2]["refused"].startswith("its picks")


def test_no_cell_of_the_csv_begins_a_formula() -> None:
    found = made()
    found["rows"][0]["policy"] = '=HYPERLINK("http://x")'
    assert next(csv.DictReader(io.StringIO(render(found, "csv"))))["policy"].startswith("'=")


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    found = made()
    del found["rows"][0]["intervals"]  # type: ignore[misc]
    with pytest.raises(DocumentError, match=r"rows\[0\].intervals"):
        write(found, "json", file)
    assert file.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.json"]


def test_a_full_disk_is_told_with_the_files_name_and_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    with pytest.raises(OSError, match="No space left") as told, whole(file) as new:
        new.write_text("the first half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(file)
    assert file.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d.pop("title"), "title: is missing"),
        (lambda d: d.update(seeds=3), "seeds: must be a list"),
        (lambda d: d["rows"][1].pop("p50"), r"rows\[1\].p50: must be a number"),
        (lambda d: d["rows"][1].update(attempts_per_request="x"), r"rows\[1\].attempts_per_request: is missing or of"),
        (lambda d: d["compared"].append({**COMPARED, "interval": []}), r"compared\[0\].interval: must be a pair"),
        (
            lambda d: d["compared"].append({**COMPARED, "difference": "x"}),
            r"compared\[0\].difference: is missing or of",
        ),
        (lambda d: d["series"].update(errors=[]), "series.errors: must be an object"),
        (lambda d: d.update(facts=3), "facts: must be a list of texts"),
        (lambda d: d.update(warnings=[3]), "warnings: must be a list of texts"),
        (lambda d: d["rows"][1].update(p99="fast"), r"rows\[1\].p99: must be a number"),
        (lambda d: d["rows"][0]["intervals"].update(p50=[1]), r"rows\[0\].intervals.p50: must be a pair"),
        (lambda d: d["refused"].append({"policy": "x"}), r"refused\[1\].reason"),
        (lambda d: d["series"].update(latency={"a": {"q": [0.5], "seconds": []}}), "series.latency.a: its columns"),
        (lambda d: d["series"].update(errors={"a": {"t": [0], "failed": ["x"]}}), "series.errors.a"),
    ],
)
def test_a_document_that_lacks_something_is_refused_by_the_key(spoil, says: str) -> None:
    found = clean(made())
    spoil(found)
    with pytest.raises(DocumentError, match=says):
        check(found)


def test_a_file_that_is_no_report_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"kind": ')
    with pytest.raises(DocumentError, match=r"x\.json: not JSON"):
        read(file)


def test_a_curve_ends_at_the_slowest_and_keeps_the_median() -> None:
    x = np.arange(1.0, 1001.0)
    found = series.curve(x)
    q, y = np.array(found["q"]), np.array(found["seconds"])
    assert np.all(np.diff(q) > 0) and np.all(np.diff(y) >= 0)
    assert np.interp(0.5, q, y) == pytest.approx(500, rel=0.02)
    assert y[-1] == 1000.0


def test_errors_over_time_count_every_request_once() -> None:
    due = np.linspace(0.0, 10.0, 1000)
    failed = due > 5.0
    found = series.errors(due, failed)
    assert sum(found["requests"]) == 1000 and sum(found["failed"]) == int(failed.sum())
    assert sum(found["failed"][: len(found["failed"]) // 2 - 1]) == 0


def test_where_there_is_no_interval_nothing_is_said_of_a_difference() -> None:
    assert words.better(-583.0, (None, None), None) == "no interval, so nothing is said"
    assert words.better(-1.0, (-3.0, 2.0), None) == "no difference that the interval would show"
    assert (words.better(-1.0, (-3.0, -0.5), True), words.better(1.0, (0.5, 3.0), False)) == ("better", "worse")


def test_a_report_says_its_form_and_older_ones_said_none(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(made(), "json", path)
    told = json.loads(path.read_text())
    assert told["format"] == 1
    del told["format"]
    path.write_text(json.dumps(told))
    assert read(path)["title"] == made()["title"]


@pytest.mark.parametrize(
    ("form", "why"),
    [(2, "format: 2 is newer than this Adaptive reads \\(1\\)"), ("1", "format: must"), (0, "format: must")],
)
def test_a_report_of_another_form_is_refused(form: object, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        check({**made(), "format": form})
