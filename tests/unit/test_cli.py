"""The commands: exit codes, what goes to stdout and to stderr, and never a traceback."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from adaptive import cli
from adaptive.version import __version__
from replay.report.document import document

TEXT = """
listen: 127.0.0.1:8080
admin: 127.0.0.1:1
clusters: {api: {endpoints: [127.0.0.1:9100]}}
routes: [{prefix: /, cluster: api}]
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["adaptive", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def log_of_the_tests() -> Iterator[None]:
    """`serve` takes over the root logger."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "gateway.yaml"
    path.write_text(TEXT)
    return str(path)


def test_a_good_configuration_is_ok(monkeypatch, capsys, good: str) -> None:
    assert run(monkeypatch, "check", "-c", good) == 0
    assert capsys.readouterr() == ("OK\n", "")


def test_all_errors_of_a_configuration_go_to_stderr(monkeypatch, capsys, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("listen: 127.0.0.1\nadmin: 0.0.0.0:9901\nclusters: {}\nroutes: [{prefix: /, cluster: b}]\n")
    assert run(monkeypatch, "check", "-c", str(path)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count(f"{path}:") == len(err.splitlines()) >= 3
    assert f"{path}:1: listen" in err and f"{path}:2: admin" in err
    assert "Traceback" not in err


def test_serve_refuses_an_admin_address_for_all_without_a_token(monkeypatch, capsys, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(TEXT.replace("127.0.0.1:1\n", "0.0.0.0:9901\n"))
    assert run(monkeypatch, "serve", "-c", str(path)) == 1
    err = capsys.readouterr().err
    assert "admin" in err and "token" in err and "Traceback" not in err


def test_a_file_that_is_not_there_is_one_line(monkeypatch, capsys, tmp_path: Path) -> None:
    for command in ("check", "serve", "healthcheck"):
        assert run(monkeypatch, command, "-c", str(tmp_path / "none.yaml")) == 1
        err = capsys.readouterr().err
        assert "none.yaml" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("option", ["--record", "-o"])
def test_where_nothing_can_be_written_is_told_before_the_work(monkeypatch, capsys, tmp_path: Path, option: str) -> None:
    monkeypatch.setattr("replay.comparison.report", lambda *_: pytest.fail("it was simulated"))
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("", "a directory"), ("none/x", "there is no directory"), ("pipe", "a device or a pipe")):
        assert run(monkeypatch, "simulate", "s4_crash", "--policy", "random", option, str(tmp_path / name)) == 1
        err = capsys.readouterr().err
        assert why in err and len(err.splitlines()) == 1


def test_a_scenario_or_a_shape_that_is_no_such_file_is_told_so(monkeypatch, capsys, tmp_path: Path) -> None:
    other = tmp_path / "scenario.txt"
    other.write_text("{}")
    monkeypatch.chdir(tmp_path)
    for arguments, why in (
        (["scenario.txt"], "its name does not end in .json, .yaml, .yml"),
        (["scenario"], "it is no file"),
        (["s4_crash", "--arrivals", "none.txt"], "none.txt: No such file"),
    ):
        assert run(monkeypatch, "simulate", *arguments) == 1
        assert why in capsys.readouterr().err


def test_a_file_is_no_model_store(monkeypatch, capsys, good: str) -> None:
    for command in (["list"], ["show", "champion"], ["promote", "x"], ["rollback"]):
        assert run(monkeypatch, "models", *command, "--store", good) == 1
        assert capsys.readouterr().err == f"{good}: a model store is a directory, and this is none\n"


def limited(bytes_: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command where no file may be larger: as on a full disk."""
    code = (
        f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({bytes_}, {bytes_})); from adaptive import cli; cli.main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk_is_told_with_the_file_and_nothing_half_written_stays(tmp_path: Path) -> None:
    """Two processes of some 0.5 s: the limit is the process's own."""
    log, out = tmp_path / "access.log", tmp_path / "out.parquet"
    log.write_text("no line of a log\n" * 10_000)
    ended = limited(4096, "import", "nginx", log, "-o", out)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, f"{out}.rejected: File too large")
    log.write_text("".join(f"2026-11-26 11:{n:02}:00,10\n" for n in range(60)))
    ended = limited(4096, "import", "counts", log, "-o", out)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"{out}: cannot be written: ")
    assert [path.name for path in tmp_path.iterdir()] == ["access.log"]


def test_standard_output_may_be_full_or_closed(tmp_path: Path) -> None:
    """Two processes of some 0.3 s."""
    (tmp_path / "report.json").write_text(json.dumps(document("simulate", "nothing", "")))
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for redirection, said in (("> /dev/full", "standard output: No space left on device\n"), (">&-", "")):
        command = f"{sys.executable} -m adaptive.cli report {tmp_path / 'report.json'} {redirection}"
        ended = subprocess.run(["sh", "-c", command], env=buffered, capture_output=True, text=True, check=False)
        assert (ended.stderr, ended.returncode) == (said, 1 if said else 0)


def test_an_envoy_elsewhere_has_a_name_and_an_address(monkeypatch, capsys, good: str) -> None:
    for option, value, why in (("--node", " ", "without a name"), ("--admin", "foo", "'foo' has no port")):
        assert run(monkeypatch, "envoy", "bootstrap", "-c", good, "--node", "n1", option, value) == 2
        assert why in capsys.readouterr().err


def test_the_model_that_ships_can_be_shown(monkeypatch, capsys, tmp_path: Path) -> None:
    assert run(monkeypatch, "models", "show", "default", "--json", "--store", str(tmp_path)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "pair" and "bench teach" in told["command"]


def test_wrong_usage_is_two(monkeypatch, capsys) -> None:
    assert run(monkeypatch, "check") == 2
    assert run(monkeypatch, "explode") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_version_and_the_schema_are_data(monkeypatch, capsys) -> None:
    for asked in ("version", "--version"):
        assert run(monkeypatch, asked) == 0
        assert capsys.readouterr().out == f"{__version__}\n"
    assert run(monkeypatch, "config", "schema") == 0
    assert "clusters" in json.loads(capsys.readouterr().out)["properties"]


def test_without_a_gateway_its_clients_say_so_in_a_line(monkeypatch, capsys, good: str) -> None:
    for command in (["healthcheck"], ["status"], ["reload"], ["explain", "api", "127.0.0.1:9100"]):
        assert run(monkeypatch, *command, "-c", good) == 1
        err = capsys.readouterr().err
        assert err.startswith("no answer from the admin address 127.0.0.1:1: ") and len(err.splitlines()) == 1


def test_an_admin_address_alone_will_do(monkeypatch, capsys, tmp_path: Path) -> None:
    """The configuration may be elsewhere, or broken: then there is all the more to ask."""
    asked: list[tuple[str, str | None]] = []

    class Admin(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"told")

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("ADAPTIVE_ADMIN_TOKEN", "sesame")
    with HTTPServer(("127.0.0.1", 0), Admin) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            where = f"127.0.0.1:{server.server_port}"
            assert run(monkeypatch, "status", "--admin", where) == 0
            assert run(monkeypatch, "explain", "--admin", where, "api", "127.0.0.1:9100") == 0
        finally:
            server.shutdown()
            thread.join()
    assert capsys.readouterr().out == "told\ntold\n"
    assert asked == [
        ("/clusters?format=text", "Bearer sesame"),
        ("/explain?cluster=api&endpoint=127.0.0.1%3A9100", "Bearer sesame"),
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "either --config or --admin"),
        (["-c", "gateway.yaml", "--admin", "127.0.0.1:1"], "either --config or --admin"),
        (["--admin", "127.0.0.1"], "has no port"),
    ],
)
def test_who_is_to_be_asked_is_said_once(monkeypatch, capsys, arguments: list[str], why: str) -> None:
    assert run(monkeypatch, "status", *arguments) == 2
    assert why in " ".join(capsys.readouterr().err.split())


def test_without_an_admin_address_there_is_nobody_to_ask(monkeypatch, capsys, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(TEXT.replace("admin: 127.0.0.1:1\n", ""))
    assert run(monkeypatch, "healthcheck", "-c", str(path)) == 1
    assert "no admin address" in capsys.readouterr().err


def test_a_bug_is_a_line_too(monkeypatch, capsys, good: str) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("adaptive.app.serve", broken)
    assert run(monkeypatch, "serve", "-c", good) == 1
    assert capsys.readouterr().err.startswith("ZeroDivisionError: oh")
