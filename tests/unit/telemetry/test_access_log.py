from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptive.telemetry import access_log as module
from adaptive.telemetry.access_log import AccessLog, redact_target

RECORD: dict[str, Any] = {
    "start_time": 1_700_000_000.0075,
    "method": "GET",
    "path": "/items/42",
    "protocol": "HTTP/1.1",
    "response_code": 200,
    "response_flags": "-",
    "bytes_received": 0,
    "bytes_sent": 1234,
    "duration": 0.0123456,
    "upstream_host": "127.0.0.1:9100",
    "upstream_cluster": "api",
    "route_name": "route-0",
    "x_forwarded_for": None,
    "user_agent": "curl/8",
    "request_id": "abc",
    "authority": "example.com",
    "attempt_count": 1,
    "upstream_service_time": 0.011,
    "response_code_details": "via_upstream",
    "lb_policy": "adaptive",
    "model_version": "7",
    "propensity": 0.25,
}


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AccessLog, int]]:
    """A log that writes to a pipe of the smallest size, and the pipe's end to read."""
    import fcntl

    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    monkeypatch.setattr(module, "_open", lambda path: (writer, True))
    log = AccessLog("-", limit=64 * 1024)
    yield log, reader
    for fd in (reader, log.fd):
        try:
            os.close(fd)
        except OSError:
            pass


def read_all(fd: int) -> bytes:
    data = b""
    try:
        while part := os.read(fd, 65536):
            data += part
    except BlockingIOError:
        pass
    return data


def test_a_line_has_the_names_and_units_of_envoy(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "access.log"))
    assert log.write(**RECORD)
    assert (tmp_path / "access.log").read_bytes() == b""
    assert log.flush()
    (line,) = (tmp_path / "access.log").read_text().splitlines()
    expected = RECORD | {"start_time": "2023-11-14T22:13:20.007Z", "duration": 12.346, "upstream_service_time": 11.0}
    assert json.loads(line) == expected
    assert list(json.loads(line)) == list(expected)


def test_each_second_has_its_own_start_time(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "access.log"))
    for start in (1_700_000_000.999, 1_700_000_001.0, 1_700_000_000.5):
        log.write(**RECORD | {"start_time": start})
    log.flush()
    times = [json.loads(line)["start_time"][-7:] for line in (tmp_path / "access.log").read_text().splitlines()]
    assert times == ["20.999Z", "21.000Z", "20.500Z"]


@pytest.mark.parametrize(
    ("target", "logged"),
    [
        ("/a?page=2&sort=name", "/a?page=2&sort=name"),
        ("/a?token=x", "/a?token=[redacted]"),
        ("/a?x=1&access_token=x&y=2", "/a?x=1&access_token=[redacted]&y=2"),
        ("/a?API-Key=x", "/a?API-Key=[redacted]"),
        ("/a?%74oken=x", "/a?%74oken=[redacted]"),
        ("/a?x=1;password=x;y=2", "/a?x=1;password=[redacted];y=2"),
        ("/a?X-Amz-Signature=x&X-Amz-Credential=y", "/a?X-Amz-Signature=[redacted]&X-Amz-Credential=[redacted]"),
        ("/a?code=x&key=y&sig=z", "/a?code=[redacted]&key=[redacted]&sig=[redacted]"),
        ("/a?keyword=cats&monkey=1&zipcode=2", "/a?keyword=cats&monkey=1&zipcode=2"),
        ("/a?token", "/a?token"),
        ("/a?token=", "/a?token="),
        ("/a?token=x=y?z", "/a?token=[redacted]"),
        ("/@me", "/@me"),
        ("http://user:pass@host/a?b=c", "http://host/a?b=c"),
        ("http://host/a@b", "http://host/a@b"),
        ("/a?", "/a?"),
    ],
)
def test_values_that_look_like_secrets_are_redacted(target: str, logged: str) -> None:
    assert redact_target(target) == logged


def test_redaction_can_be_switched_off(tmp_path: Path) -> None:
    for redact, path in ((True, "/?token=[redacted]"), (False, "/?token=x")):
        file = tmp_path / str(redact)
        log = AccessLog(str(file), redact=redact)
        log.write(**RECORD | {"path": "/?token=x"})
        log.flush()
        assert json.loads(file.read_text())["path"] == path


@pytest.mark.parametrize("text", ['"\\\n\x00\x1b[2J', "ü漢🙈", "\udcff\ud800"])
def test_no_client_can_break_a_line(tmp_path: Path, text: str) -> None:
    log = AccessLog(str(tmp_path / "access.log"))
    log.write(**RECORD | {"path": "/" + text, "user_agent": text})
    log.write(**RECORD)
    log.flush()
    data = (tmp_path / "access.log").read_bytes()
    assert b"\x1b" not in data
    first, second = data.splitlines()
    assert json.loads(first)["path"].startswith("/")
    assert json.loads(second)["path"] == RECORD["path"]


def test_a_full_buffer_drops_lines_and_counts_them(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "access.log"), limit=1000)
    results = [log.write(**RECORD) for _ in range(10)]
    kept = sum(results)
    assert 0 < kept < 10
    assert log.dropped == 10 - kept
    log.flush()
    assert log.write(**RECORD)
    assert len((tmp_path / "access.log").read_text().splitlines()) == kept


def test_a_full_pipe_keeps_the_rest_for_later_and_cuts_no_line(pipe: tuple[AccessLog, int]) -> None:
    log, reader = pipe
    for n in range(40):
        log.write(**RECORD | {"bytes_sent": n})
    assert log.flush() is False
    waiting = log.waiting
    assert log.flush() is False
    assert log.waiting == waiting > 0
    seen: list[int] = []
    for _ in range(40):
        data = read_all(reader)
        assert data.endswith(b"\n") or not data
        seen += [json.loads(line)["bytes_sent"] for line in data.splitlines()]
        if log.flush() and not log.waiting:
            seen += [json.loads(line)["bytes_sent"] for line in read_all(reader).splitlines()]
            break
    assert seen == list(range(40))
    assert (log.dropped, log.error) == (0, None)


def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole(pipe: tuple[AccessLog, int]) -> None:
    log, reader = pipe
    log.write(**RECORD | {"path": "/" + "x" * 10_000})
    log.write(**RECORD)
    data = b""
    for _ in range(10):
        log.flush()
        data += read_all(reader)
    assert [len(json.loads(line)["path"]) for line in data.splitlines()] == [10_001, 9]


def test_a_reader_that_is_gone_costs_lines_but_no_error(pipe: tuple[AccessLog, int]) -> None:
    log, reader = pipe
    os.close(reader)
    log.write(**RECORD)
    log.write(**RECORD)
    assert log.flush()
    assert (log.dropped, log.error) == (2, "Broken pipe")


def test_a_line_cut_by_a_full_disk_does_not_run_into_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AccessLog(str(tmp_path / "access.log"))
    for _ in range(3):
        log.write(**RECORD)
    real, calls = os.write, iter([100])

    def full(fd: int, data: bytes) -> int:
        for room in calls:
            return real(fd, data[:room])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        log.flush()
    assert (log.dropped, log.error) == (3, "No space left on device")
    log.write(**RECORD)
    assert log.flush()
    assert log.error is None
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert len(lines) == 2
    assert len(lines[0]) == 100
    assert json.loads(lines[1])["path"] == RECORD["path"]


def test_a_rotated_file_is_left_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.write(**RECORD)
    path.rename(tmp_path / "access.log.1")
    log.reopen()
    log.write(**RECORD)
    log.close()
    assert len((tmp_path / "access.log.1").read_text().splitlines()) == 1
    assert len(path.read_text().splitlines()) == 1


def test_a_file_that_cannot_be_opened_is_an_error_and_reopening_keeps_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AccessLog(str(tmp_path / "nowhere" / "access.log"))
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AccessLog(str(folder / "access.log"))
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(OSError, match="No such file"):
        log.reopen()
    log.write(**RECORD)
    log.flush()
    assert (moved / "access.log").read_text().count("\n") == 1


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_standard_output_gets_the_lines_and_keeps_its_own_blocking_mode(tmp_path: Path, kind: str) -> None:
    code = (
        "import os, sys; from adaptive.telemetry.access_log import AccessLog\n"
        "log = AccessLog('-')\n"
        f"log.write(**{RECORD!r}); log.flush(); log.close()\n"
        "sys.exit(0 if os.get_blocking(1) else 1)\n"
    )
    out = tmp_path / "out"
    out.write_text("already here\n")
    with out.open("ab") as file:
        stdout = subprocess.PIPE if kind == "pipe" else file
        done = subprocess.run([sys.executable, "-c", code], stdout=stdout, text=True, check=True)
    text = done.stdout if kind == "pipe" else out.read_text().removeprefix("already here\n")
    assert json.loads(text)["path"] == RECORD["path"]
