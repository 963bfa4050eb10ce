"""`adaptive train --prometheus`: a real server's history becomes a model that a running gateway takes up; and servers
that answer badly. The first test takes some fifteen seconds: it starts a server and a gateway, and trains.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import failure, run
from tests.conformance.dataplane.gateway import Gateway, config, free_port

START, STEP, READINGS = 1_767_225_600, 5, 156  # 13 minutes from 2026-01-01T00:00Z
EDGES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
EACH, ILL_EVERY, ILL_FOR = 100, 16, 8  # attempts between two readings; readings from one fault to the next, and of one
NAMES = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
_pause = threading.Event()  # never set: waiting for it is a bounded sleep


def history() -> str:
    """Counters of three endpoints as OpenMetrics; every 80 s one gets slow, and then fails, for 40 s."""
    rng = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"attempts": [], "responses": [], "latency": []}
    for number, name in enumerate(NAMES):
        who = f'cluster="api",endpoint="{name}"'
        failed, below = 0, np.zeros(len(EDGES))
        for i in range(READINGS):
            at, turn = START + i * STEP, i // ILL_EVERY % 4  # in every fourth turn all are well
            into = i % ILL_EVERY - (ILL_EVERY - ILL_FOR)
            ill = into >= 0 and turn == number
            failed += int(rng.binomial(EACH, 0.4)) if ill and into > 2 else 0
            spent = rng.lognormal(-3.6 + (0.5 * (into + 1) if ill else 0.0), 0.4, EACH)
            below += (spent[:, None] <= np.array(EDGES)).sum(axis=0)
            total = (i + 1) * EACH
            lines["attempts"].append(f'adaptive_endpoint_attempts_total{{{who},cause="response"}} {total} {at}')
            if failed:
                lines["responses"].append(f'adaptive_endpoint_responses_total{{{who},code_class="5xx"}} {failed} {at}')
            for edge, count in [*zip(EDGES, below.tolist(), strict=True), ("+Inf", total)]:
                lines["latency"].append(f'adaptive_endpoint_latency_seconds_bucket{{{who},le="{edge}"}} {count} {at}')
            lines["latency"].append(f"adaptive_endpoint_latency_seconds_count{{{who}}} {total} {at}")
    head = {
        "attempts": "# TYPE adaptive_endpoint_attempts counter",
        "responses": "# TYPE adaptive_endpoint_responses counter",
        "latency": "# TYPE adaptive_endpoint_latency_seconds histogram",
    }
    return "\n".join(line for name, kind in head.items() for line in (kind, *lines[name])) + "\n# EOF\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A Prometheus with that history."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("prometheus and promtool are not installed")
    (tmp_path / "history.txt").write_text(history())
    make = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (tmp_path / "prometheus.yml").write_text("")
    log = tmp_path / "prometheus.log"
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["prometheus", *options, "--web.listen-address=127.0.0.1:0"], cwd=tmp_path, stdout=sink, stderr=sink
        )
    try:
        yield f"http://127.0.0.1:{port_of(process, log)}"
    finally:
        process.terminate()
        process.wait(20)


def port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(400):
        text = log.read_text(errors="replace")
        assert process.poll() is None, text
        found = re.search(r'"Listening on" address=127\.0\.0\.1:(\d+)', text)
        if found and "ready to receive" in text:
            return int(found[1])
        _pause.wait(0.05)
    raise AssertionError(text)


@pytest.mark.timeout(120)
def test_a_servers_history_becomes_a_model_that_a_running_gateway_takes_up(server: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    asked = ("--from", "2026-01-01T00:00", "--to", "2026-01-01T00:13Z", "--store", store)
    trained = run("train", "--prometheus", server, *asked)
    assert trained.exit_code == 0, trained.output + str(trained.exception)
    name = trained.stdout.strip()
    manifest = json.loads(run("models", "show", name, "--json", "--store", store).stdout)
    figures = manifest["scores"]["soon"]["average_precision"]
    assert figures["model"][0] > 0.7 > 3 * manifest["scores"]["soon"]["base_rate"]
    assert {"rule", "the one that ships", "failures_5s", "tail_peers_5s"} <= set(figures)
    card = run("models", "show", name, "--store", store).stdout
    assert "# Model of pair" in card and "read at intervals" in card and f"{figures['model'][0]:.3f}" in card

    settings = config(free_port(), free_port(), clusters={"api": {"endpoints": ["127.0.0.1:9"]}})
    gateway = Gateway(tmp_path, {**settings, "routes": [{"cluster": "api"}], "model": {"store": str(store)}})
    try:
        assert run("models", "promote", name, "--store", store).exit_code == 0
        for _ in range(200):
            text = gateway.ask_admin("/metrics")[1].decode()
            if f'role="champion",version="{name}"' in text:
                break
            _pause.wait(0.05)
        else:
            raise AssertionError(text)
    finally:
        gateway.stop()


Answer = Callable[[str], tuple[int, bytes]]


@pytest.fixture
def bad() -> Iterator[tuple[str, dict[str, Answer]]]:
    """Something that listens where a Prometheus should; `answer` says what it answers to a query."""
    says: dict[str, Answer] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, data = says["answer"](body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}", says
    listening.shutdown()
    listening.server_close()


def matrix(**values: Any) -> bytes:
    result = [{"metric": {"cluster": "c", **values.pop("labels", {"endpoint": "a"})}, "values": values["values"]}]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


TIME = ("--from", "2026-01-01", "--to", "2026-01-01T00:04Z")
NOTHING = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}}).encode()
CALM = matrix(values=[[START + i * 5, str(100 * i)] for i in range(-20, 120)])
NANS = matrix(values=[[START + i * 5, "NaN"] for i in range(120)])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, b'{"status":"error","error":"out of memory"}'), "answered 500 to adaptive_endpoint_attempts_total"),
        ((500, b'{"status":"error","error":"out of memory"}'), "out of memory"),
        ((503, b"<html>later</html>"), "<html>later</html>"),
        ((200, b""), "answered nothing to adaptive_endpoint_attempts_total"),
        ((200, b"<html>it works</html>"), "answered no JSON"),
        ((200, b'{"status": "success"}'), "not the answer of a Prometheus"),
        ((200, b"[1, 2]"), "not the answer of a Prometheus"),
        ((200, NOTHING), "gave no series"),
        ((200, NANS), "every value is NaN"),
        ((200, matrix(labels={"pod": "a"}, values=[[START, "1"]])), "without the label 'endpoint'"),
        ((200, matrix(values=[[START, "many"]])), "not the answer of a Prometheus"),
    ],
)
def test_a_server_that_answers_badly_is_told_in_one_line_and_nothing_is_saved(
    answer: tuple[int, bytes], said: str, bad: tuple[str, dict[str, Answer]], tmp_path: Path
) -> None:
    url, says = bad
    says["answer"] = lambda query: answer
    told = failure(
        "train", "--prometheus", url, "--to", "2026-01-01T00:10Z", "--from", "2026-01-01", "--store", tmp_path
    )
    assert said in told and "\n" not in told
    assert not list(tmp_path.iterdir())


def test_all_nan_latencies_are_named(bad: tuple[str, dict[str, Answer]], tmp_path: Path) -> None:
    url, says = bad
    says["answer"] = lambda query: (200, NANS if "latency" in query else CALM if "attempts" in query else NOTHING)
    told = failure(
        "train", "--prometheus", url, "--to", "2026-01-01T00:09Z", "--from", "2026-01-01", "--store", tmp_path
    )
    assert told == "latency: adaptive_endpoint_latency_seconds_bucket: every value is NaN"


def test_a_history_without_a_breach_is_of_one_class(bad: tuple[str, dict[str, Answer]], tmp_path: Path) -> None:
    url, says = bad
    says["answer"] = lambda query: (200, CALM if "attempts_total" in query and "cause%21" in query else NOTHING)
    told = failure(
        "train", "--prometheus", url, "--to", "2026-01-01T00:09Z", "--from", "2026-01-01", "--store", tmp_path
    )
    assert "of one class: there is no row of a breach" in told


def test_nobody_who_listens_and_no_url_are_told(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    assert "Connection refused" in failure("train", "--prometheus", nobody, "--store", tmp_path)
    assert "is no URL of a server" in failure("train", "--prometheus", "localhost:9090", "--store", tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("attempts: x\n", "labels"),
        (
            "labels: {cluster: c, endpoint: e}\nattempt: x\n",
            ':2: attempt: there is no such key; did you mean "attempts"?',
        ),
        ("labels: {cluster: c, endpoint: e}\nattempts: x\nlatency: {buckets: y, unit: fast}\n", ":3: latency.unit: "),
        ("labels: [a\n", "m.yaml:"),
    ],
)
def test_a_mapping_names_line_and_key_of_a_mistake(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    told = failure("train", "--prometheus", "http://127.0.0.1:1", "--mapping", file, "--store", tmp_path)
    assert said in told and told.startswith(str(file)), told
