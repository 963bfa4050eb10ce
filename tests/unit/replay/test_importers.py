"""Importers: what a log says stands in the trace, what it cannot say is named, and bad lines are kept aside."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest

from adaptive import cli
from adaptive.types import Cause, Mark
from replay.importers import collecting
from replay.importers.base import ImportFailed, Options
from replay.importers.collecting import spread
from replay.importers.importing import run
from replay.trace import Trace, read

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def imported(tmp_path: Path, name: str, text: str | bytes, **options) -> tuple[Trace, list[str]]:
    """The trace as it is read back, and what was said."""
    path = tmp_path / "in.log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    said: list[str] = []
    run(name, [path], tmp_path / "out.parquet", Options(**options), said.append)
    warnings: list[str] = []
    trace = read([tmp_path / "out.parquet"], warnings.append)
    assert warnings == []
    return trace, said


def names(trace: Trace) -> list[tuple[str, str]]:
    return [trace.header.endpoints[str(slot)] for slot in trace.rows["slot"]]


NGINX = (
    '127.0.0.1 [2026-11-26T11:00:00+00:00] 1000.500 "GET /a?b=1 HTTP/1.1" 200 0.400 120 900 api '
    "10.0.0.1:80, 10.0.0.2:80 502, 200 -, 0.002 -, 0.090 0.100, 0.300 0, 700\n"
)


def test_nginx_tells_each_attempt_of_a_request(tmp_path: Path) -> None:
    trace, _ = imported(tmp_path, "nginx", NGINX)
    first, second = trace.rows
    assert trace.header.wall_offset == 1000.0
    assert names(trace) == [("api", "10.0.0.1:80"), ("api", "10.0.0.2:80")]
    assert [first["sent_at"], first["done"]] == pytest.approx([0.1, 0.2])
    assert (first["cause"], first["status"], first["attempt"]) == (Cause.CONNECT_REFUSED, 0, 1)
    assert [second["sent_at"], second["first_byte"], second["done"]] == pytest.approx([0.2, 0.29, 0.5])
    assert (second["cause"], second["status"], second["attempt"], second["bytes_down"]) == (0, 200, 2, 700)
    assert first["request"] == second["request"]
    assert [bool(m & Mark.FINAL) for m in trace.rows["marks"]] == [False, True]
    assert trace.extra["path"].tolist() == ["/a?b=1", "/a?b=1"]
    assert np.isnan(trace.rows["propensity"]).all() and "propensity" in trace.header.lacks


@pytest.mark.parametrize(
    ("upstream", "status", "cause"),
    [
        ("504 0.001 - 0.600 0", 504, Cause.TIMEOUT_ATTEMPT),
        ("504 - - 0.300 0", 504, Cause.CONNECT_TIMEOUT),
        ("502 0.001 - 0.010 0", 502, Cause.RESET),
        ("502 0.001 0.004 0.010 0", 502, Cause.RESPONSE),
        ("- 0.001 - 0.200 0", 499, Cause.CLIENT_GONE),
        ("499 0.001 - 0.200 0", 499, Cause.CLIENT_GONE),
    ],
)
def test_nginx_own_answers_are_told_from_the_upstreams(
    tmp_path: Path, upstream: str, status: int, cause: Cause
) -> None:
    line = f'127.0.0.1 [-] 1000.500 "POST / HTTP/1.1" {status} 0.400 120 900 api 10.0.0.1:80 {upstream}\n'
    trace, _ = imported(tmp_path, "nginx", line)
    (row,) = trace.rows
    assert row["cause"] == cause
    assert bool(row["marks"] & Mark.CENSORED) == (
        cause in (Cause.TIMEOUT_ATTEMPT, Cause.CONNECT_TIMEOUT, Cause.CLIENT_GONE)
    )
    assert not row["marks"] & Mark.REPEATABLE


def test_nginx_formats_of_ones_own_are_read(tmp_path: Path) -> None:
    directive = """log_format mine escape=json '{"t":"$msec","r":"$request","s":$status,'
        '"u":"${upstream_addr}","rt":"$upstream_response_time"}';"""
    line = '{"t":"10.250","r":"GET / HTTP/1.1","s":200,"u":"unix:/run/a.sock","rt":"0.250"}\n'
    trace, said = imported(tmp_path, "nginx", line, log_format=directive, cluster="web")
    assert names(trace) == [("web", "unix:/run/a.sock")]
    assert trace.rows["done"][0] - trace.rows["sent_at"][0] == pytest.approx(0.25, abs=1e-6)
    assert any("counts as the upstream's answer" in text for text in said)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("$status $upstream_addr", "when was a request"),
        ("$msec$status", "nothing stands between \\$msec and \\$status"),
        ("$msec $msec", "stands in it twice"),
        ("log_format main;", "no quoted string"),
        ("nothing", "when was a request|no variable"),
    ],
)
def test_a_log_format_that_cannot_be_used_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ImportFailed, match=why):
        imported(tmp_path, "nginx", NGINX, log_format=text)


def test_without_upstreams_a_log_holds_arrivals_only_and_says_so(tmp_path: Path) -> None:
    combined = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
    lines = '10.0.0.9 - - [26/Nov/2026:11:00:0%d +0100] "GET / HTTP/1.1" 200 10\n'
    trace, said = imported(tmp_path, "nginx", "".join(lines % (n // 4) for n in range(8)), log_format=combined)
    assert trace.arrivals_only and any("arrivals only" in text for text in said)
    assert trace.rows["sent_at"].tolist() == pytest.approx([0.125 + 0.25 * n for n in range(8)])  # spread in a second
    assert trace.header.wall_offset == 1795687200.0


def test_what_nginx_answers_itself_is_counted(tmp_path: Path) -> None:
    own = '127.0.0.1 [-] 1000.000 "GET /x HTTP/1.1" 404 0.000 120 900 - - - - - - -\n'
    dead = '127.0.0.1 [-] 1000.000 "GET / HTTP/1.1" 502 0.000 120 900 api api 502 - - 0.000 0\n'
    trace, said = imported(tmp_path, "nginx", NGINX + own + dead)
    assert len(trace.rows) == 2
    assert "nginx: 2 requests reached no instance and are left out" in said


ENVOY = [
    '[2026-11-26T11:00:00.250Z] "GET /a HTTP/1.1" 200 - 12 34 105 100 "-" "curl/8 \\"x\\"" "id" "host" "10.0.0.1:80"',
    '[2026-11-26T11:00:00.300Z] "POST / HTTP/1.1" 503 UF,URX 0 91 30 - "-" "-" "id" "host" "10.0.0.2:80"',
    '[2026-11-26T11:00:00.400Z] "GET / HTTP/2" 504 UT 0 24 1000 - "-" "-" "id" "host" "10.0.0.1:80"',
    '[2026-11-26T11:00:00.500Z] "GET / HTTP/1.1" 0 DC 0 0 70 - "-" "-" "id" "host" "10.0.0.2:80"',
    '[2026-11-26T11:00:00.600Z] "GET / HTTP/1.1" 503 UH 0 19 0 - "-" "-" "id" "host" "-"',
    '[2026-11-26T11:00:00.700Z] "GET / HTTP/1.1" 503 - via_upstream - "-" 0 19 5 4 "-" "-" "id" "h" "10.0.0.1:80" a x',
]


def test_envoy_text_is_read(tmp_path: Path) -> None:
    trace, said = imported(tmp_path, "envoy", "\n".join(ENVOY) + "\n")
    rows = trace.rows[np.argsort(trace.rows["sent_at"])]
    assert [Cause(c) for c in rows["cause"]] == [
        Cause.RESPONSE, Cause.CONNECT_FAILED, Cause.TIMEOUT_ROUTE, Cause.CLIENT_GONE, Cause.RESPONSE,
    ]  # fmt: skip
    assert rows["status"].tolist() == [200, 0, 0, 0, 503]
    assert [rows["sent_at"][0], rows["first_byte"][0], rows["done"][0]] == pytest.approx([0.25, 0.35, 0.355], abs=1e-6)
    assert names(trace)[-1] in {("envoy", "10.0.0.1:80"), ("a", "10.0.0.1:80")}
    assert trace.header.clusters == ("envoy", "a")
    assert any("1 requests reached no instance" in text for text in said)
    assert any("last attempt" in text for text in said)


def test_envoy_json_and_adaptives_own_log_are_read(tmp_path: Path) -> None:
    own = {
        "start_time": "2026-11-26T11:00:00.250Z", "method": "GET", "path": "/", "response_code": 200,
        "response_flags": "-", "bytes_received": 0, "bytes_sent": 5, "duration": 12.5, "upstream_host": "10.0.0.1:80",
        "upstream_cluster": "api", "route_name": "front", "attempt_count": 2, "upstream_service_time": 10.0,
        "propensity": 0.25,
    }  # fmt: skip
    envoy = {"start_time": "2026-11-26T11:00:01Z", "duration": 8, "response_code": 200, "upstream_host": "10.0.0.2:80"}
    trace, _ = imported(tmp_path, "envoy", json.dumps(own) + "\n" + json.dumps(envoy) + "\n{}\n")
    first = trace.rows[0]
    assert (first["attempt"], first["propensity"], trace.header.routes[first["route"]]) == (2, 0.25, "front")
    assert first["done"] - first["sent_at"] == pytest.approx(0.0125, abs=1e-6)
    assert names(trace) == [("api", "10.0.0.1:80"), ("envoy", "10.0.0.2:80")]
    assert "1 of 3 lines of the envoy log could not be used" in trace.partial


HAPROXY = (
    "Nov 26 11:00:00 lb haproxy[14389]: 10.0.1.2:33317 [26/Nov/2026:11:00:00.655] http-in static/s1 "
    '{timers} {status} 2750 - - {state} 1/1/1/1/{retries} 0/0 {{1wt.eu}} {{}} "GET /index.html HTTP/1.1"\n'
)


@pytest.mark.parametrize(
    ("timers", "status", "state", "cause", "times"),
    [
        ("10/20/30/40/150", "200", "----", Cause.RESPONSE, (0.03, 0.1, 0.15)),
        ("10/0/-1/-1/310", "503", "sC--", Cause.CONNECT_TIMEOUT, (0.01, None, 0.31)),
        ("10/0/-1/-1/11", "503", "SC--", Cause.CONNECT_REFUSED, (0.01, None, 0.011)),
        ("0/0/1/-1/601", "504", "sH--", Cause.TIMEOUT_ATTEMPT, (0.0, None, 0.601)),
        ("0/0/1/-1/60", "502", "SH--", Cause.RESET, (0.0, None, 0.06)),
        ("0/0/1/20/60", "200", "SD--", Cause.RESET_BODY, (0.0, 0.021, 0.06)),
        ("0/0/1/-1/60", "-1", "CH--", Cause.CLIENT_GONE, (0.0, None, 0.06)),
    ],
)
def test_haproxys_timers_and_termination_states_are_read(
    tmp_path: Path, timers: str, status: str, state: str, cause: Cause, times: tuple
) -> None:
    line = HAPROXY.format(timers=timers, status=status, state=state, retries="+1")
    trace, _ = imported(tmp_path, "haproxy", line)
    (row,) = trace.rows
    assert (row["cause"], row["attempt"], names(trace)) == (cause, 2, [("static", "s1")])
    for name, expected in zip(("sent_at", "first_byte", "done"), times, strict=True):
        assert row[name] == pytest.approx(np.nan if expected is None else 0.655 + expected, abs=1e-6, nan_ok=True)
    assert row["status"] == (int(status) if cause == Cause.RESPONSE else 0)


def test_apache_holds_arrivals_only(tmp_path: Path) -> None:
    line = '10.0.0.9 - bob [26/Nov/2026:11:00:00 +0000] "GET /a\\"b HTTP/1.1" 200 - "-" "Mozilla \\"x\\""\n'
    trace, said = imported(tmp_path, "apache", line * 4)
    assert trace.arrivals_only and trace.rows["sent_at"].tolist() == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert any("arrivals only" in text for text in said)


def test_goreplays_requests_and_responses_are_paired(tmp_path: Path) -> None:
    sep = "\n🐵🙈🙉\n".encode()
    get = b"1 aa11 2000000000\nGET /a HTTP/1.1\r\nHost: shop:80\r\n\r\n"
    post = b"1 bb22 2100000000 0\nPOST /b HTTP/1.1\r\nHost: shop:80\r\n\r\nbody"
    late = b"2 bb22 2300000000 150000000\nHTTP/1.1 503 No\r\n\r\nsorry"
    fine = b"2 aa11 2250000000\nHTTP/1.1 200 OK\r\n\r\n"
    alone = b"1 cc33 2400000000\nGET /c HTTP/1.1\r\n\r\n"
    bad = b"what is this\nGET / HTTP/1.1\r\n\r\n"
    trace, said = imported(tmp_path, "gor", sep.join([get, post, late, fine, alone, bad, b""]))
    assert sorted(trace.rows["status"].tolist()) == [200, 503]
    by = {int(s): row for s, row in zip(trace.rows["status"], trace.rows, strict=True)}
    assert by[200]["done"] - by[200]["sent_at"] == pytest.approx(0.25, abs=1e-6)
    assert by[503]["done"] - by[503]["sent_at"] == pytest.approx(0.15)
    assert (by[503]["bytes_up"], by[503]["bytes_down"]) == (4, 5)
    assert "1 attempts without an end were left out" in trace.partial and "1 of 4 payloads" in trace.partial
    assert any("payload 6: its header 'what is this' is not" in text for text in said)
    assert bad in (tmp_path / "out.parquet.rejected").read_bytes()


def test_har_entries_are_read(tmp_path: Path) -> None:
    def entry(status: int, url: str = "https://shop.example/a?b=1") -> dict:
        return {
            "startedDateTime": "2026-11-26T11:00:00.000Z",
            "time": 100.0,
            "request": {"method": "GET", "url": url, "bodySize": -1},
            "response": {"status": status, "bodySize": 10},
            "serverIPAddress": "10.0.0.1",
            "timings": {"blocked": 10, "dns": -1, "connect": 20, "ssl": 15, "send": 1, "wait": 50, "receive": 19},
        }

    har = {"log": {"entries": [entry(200), entry(0), entry(200, "data:x"), {"a": 1}]}}
    trace, said = imported(tmp_path, "har", json.dumps(har))
    ok, failed = trace.rows
    assert [ok["sent_at"], ok["first_byte"], ok["done"]] == pytest.approx([0.01, 0.081, 0.1], abs=1e-6)
    assert (failed["cause"], names(trace)[0]) == (Cause.RESET, ("shop.example", "10.0.0.1:443"))
    assert trace.extra["path"][0] == "/a?b=1"
    assert any("entry 3: request.url is of 'data'" in text for text in said)
    with pytest.raises(ImportFailed, match="no HAR"):
        imported(tmp_path, "har", "{}")
    with pytest.raises(ImportFailed, match="not JSON"):
        imported(tmp_path, "har", "{")


def matrix(values: list, **labels: str) -> str:
    return json.dumps({"status": "success", "data": {"result": [{"metric": labels, "values": values}]}})


def test_prometheus_counters_become_arrivals(tmp_path: Path) -> None:
    values = [[1000, "10"], [1010, "110"], [1020, "150"], [1030, "30"], [1040, "NaN"], [1050, "40"]]
    trace, said = imported(tmp_path, "prometheus", matrix(values, instance="10.0.0.1:80", job="api"))
    at = trace.rows["sent_at"] + trace.header.wall_offset
    # 100, 40, 30 after the counter began anew, and 10 over the two spans of which one sample is missing.
    assert np.histogram(at, [1000, 1010, 1020, 1030, 1050])[0].tolist() == [100, 40, 30, 10]
    assert trace.arrivals_only and set(names(trace)) == {("api", "10.0.0.1:80")}
    assert any("is no sample of a counter" in text for text in said)
    rates, _ = imported(tmp_path, "prometheus", matrix([[0, "50"], [10, "5"], [20, "1"]]), rates=True)
    assert np.histogram(rates.rows["sent_at"], [0, 10, 20])[0].tolist() == [500, 50]


def test_counts_become_arrivals_of_a_part_of_the_time(tmp_path: Path) -> None:
    text = "period,count\n2026-11-26 11:00:00,10\n2026-11-26 11:01:00,20\n2026-11-26 11:02:00,0\nx\n"
    trace, said = imported(tmp_path, "counts", text)
    assert np.histogram(trace.rows["sent_at"] + trace.header.wall_offset - 1795690800, [0, 60, 120, 180])[
        0
    ].tolist() == [10, 20, 0]
    assert any("line 5: 'x' is not `period,count`" in text for text in said)
    part, _ = imported(tmp_path, "counts", text, window=(1795690860.0, 1795690890.0))
    assert 0 < len(part.rows) < 20
    with pytest.raises(ImportFailed, match="take a part of them with --from and --to"):
        imported(tmp_path, "counts", "period,count\n2026-11-26 11:00:00,9000000\n2026-11-26 11:01:00,1\n")


CSV = "when,who,took,code\n2026-11-26T11:00:00Z,a:1,250,200\n1795690801.5,b:1,100,503\nlater,c:1,1,200\n1,d:1,-1,200\n"
MAP = (("when", "sent_at"), ("who", "endpoint"), ("took", "latency_ms"), ("code", "status"))


def test_a_table_is_read_by_its_mapping(tmp_path: Path) -> None:
    trace, said = imported(tmp_path, "csv", CSV, mapping=MAP)
    assert names(trace) == [("csv", "a:1"), ("csv", "b:1")]
    assert (trace.rows["done"] - trace.rows["sent_at"]).tolist() == pytest.approx([0.25, 0.1], abs=1e-6)
    assert any("row 4: when 'later' is no time" in text for text in said)
    assert any("row 5: took '-1' is below 0" in text for text in said)
    assert (tmp_path / "out.parquet.rejected").read_text() == "later,c:1,1,200\n1,d:1,-1,200\n"


@pytest.mark.parametrize(
    ("mapping", "why"),
    [
        ((("who", "endpoint"),), "a column must be sent_at"),
        ((("when", "sent_at"), ("who", "endpiont")), "there is no such field.*endpoint"),
        ((("when", "sent_at"), ("when", "sent_at_ms")), "are the same field"),
        ((("wen", "sent_at"),), "there is no column 'wen'.*when"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused(tmp_path: Path, mapping, why: str) -> None:
    with pytest.raises(ImportFailed, match=why):
        imported(tmp_path, "csv", CSV, mapping=mapping)


def test_nezhas_edges_become_endpoints_of_services(tmp_path: Path) -> None:
    text = (
        "trace,start_ns,caller,callee,op,client_us,server_us,ok\n"
        "8b,1661140339210020096,frontend-579b9bff58-t2dbm,cart-668d5f85fb-wckp8,Cart/Get,5074,3193,1\n"
        "8b,1661140339310020096,frontend-579b9bff58-t2dbm,cart-668d5f85fb-aaaaa,Cart/Get,90000,252,0\n"
    )
    trace, _ = imported(tmp_path, "nezha", text)
    assert names(trace) == [("cart", "cart-668d5f85fb-wckp8"), ("cart", "cart-668d5f85fb-aaaaa")]
    assert (trace.rows["done"] - trace.rows["sent_at"]).tolist() == pytest.approx([0.005074, 0.09], abs=1e-6)
    assert trace.extra["server_seconds"].tolist() == [0.003193, 0.000252]
    assert trace.rows["cause"].tolist() == [Cause.RESPONSE, Cause.RESET]
    assert trace.header.routes == ("frontend",) and trace.extra["path"][0] == "Cart/Get"


@pytest.mark.skipif(not DATA.is_dir(), reason="the public recordings are not here")
def test_a_real_day_of_nezha_is_a_valid_trace(tmp_path: Path) -> None:
    """Reads the shorter day as it is, 50,654 calls: some 2 s."""
    said: list[str] = []
    run(
        "nezha",
        [DATA / "nezha" / "2023-01-29" / "2023-01-29_edges.csv.gz"],
        tmp_path / "day.parquet",
        Options(),
        said.append,
    )
    trace = read([tmp_path / "day.parquet"])
    assert len(trace.rows) == 50_654 and trace.partial == ""
    assert len(trace.header.endpoints) > 20 and np.isfinite(trace.extra["server_seconds"]).all()


@pytest.mark.skipif(not DATA.is_dir(), reason="the public recordings are not here")
@pytest.mark.parametrize(
    ("name", "file", "requests"),
    [
        ("mooncake", "mooncake/conversation_trace.jsonl", 12_031),
        ("nginxplus", "nginxplus/nginxplus_status.jsonl", 702),
    ],
)
def test_public_recordings_of_arrivals_are_read(tmp_path: Path, name: str, file: str, requests: int) -> None:
    said: list[str] = []
    report = run(name, [DATA / file], tmp_path / "a.parquet", Options(), said.append)
    assert (report.requests, report.bad, read([tmp_path / "a.parquet"]).arrivals_only) == (requests, 0, True)


def test_a_log_of_which_half_is_broken_still_imports_and_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    rng = random.Random(5)
    good = [NGINX.replace("1000.500", f"{1000 + n}.500") for n in range(100)]
    broken = [line[: rng.randrange(5, 60)].rstrip("\n") + "\udcff\n" for line in good]
    path, out = tmp_path / "access.log", tmp_path / "t.parquet"
    mixed = "".join(a + b for a, b in zip(good, broken, strict=True))
    path.write_bytes(mixed.encode(errors="surrogateescape"))
    assert command(monkeypatch, "nginx", path, "-o", out) == 0
    shown, err = capsys.readouterr()
    assert shown == "" and "Traceback" not in err
    assert "100 of 200 lines could not be used" in err and f"{path}: line 2: does not have the form" in err
    assert err.count("does not have the form") == 5
    assert (tmp_path / "t.parquet.rejected").read_bytes() == "".join(broken).encode(errors="surrogateescape")
    trace = read([out])
    assert len(trace.rows) == 200 and "100 of 200 lines of the nginx log could not be used" in trace.partial


def test_where_nothing_can_be_used_the_command_fails_and_writes_no_trace(tmp_path: Path, monkeypatch, capsys) -> None:
    path, out = tmp_path / "access.log", tmp_path / "t.parquet"
    path.write_text("nothing\nof use\n")
    assert command(monkeypatch, "haproxy", path, "-o", out) == 1
    assert "none of 2 lines could be used; is it a log of haproxy?" in capsys.readouterr().err
    assert not out.exists()
    path.write_text("")
    assert command(monkeypatch, "haproxy", path, "-o", out) == 1
    assert f"{path}: nothing stands in it" in capsys.readouterr().err
    assert command(monkeypatch, "csv", path, "-o", out, "--map", "x") == 1
    assert "--map 'x' is not COLUMN=FIELD" in capsys.readouterr().err
    assert command(monkeypatch, "nginx", tmp_path / "gone.log", "-o", out) == 1
    assert "gone.log: No such file" in capsys.readouterr().err
    assert command(monkeypatch, "squid", path, "-o", out) == 2


def test_a_clock_that_goes_back_is_said_and_time_goes_on(tmp_path: Path) -> None:
    text = "".join(NGINX.replace("1000.500", at) for at in ("5000.500", "5001.500", "1001.500", "1002.500"))
    trace, said = imported(tmp_path, "nginx", text)
    assert any("line 3: the clock goes back by 4000.000 s" in one for one in said)
    first = trace.rows[trace.rows["attempt"] == 1]
    assert np.diff(np.sort(first["sent_at"])).tolist() == pytest.approx([1.0, 0.0, 1.0])


def test_lines_that_workers_wrote_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    text = "".join(NGINX.replace("1000.500", at) for at in ("1002.500", "1001.500"))
    trace, said = imported(tmp_path, "nginx", text)
    assert not any("clock" in one for one in said)
    assert np.all(np.diff(trace.rows["done"]) >= 0)


def test_packed_logs_are_read_and_cut_ones_as_far_as_they_go(tmp_path: Path) -> None:
    text = "".join(NGINX.replace("1000.500", f"{1000 + n}.{n % 1000:03}") for n in range(5000)).encode()
    whole = tmp_path / "a.log.gz"
    whole.write_bytes(gzip.compress(text))
    assert run("nginx", [whole], tmp_path / "a.parquet", Options()).requests == 5000
    whole.write_bytes(gzip.compress(text)[:-2000])
    said: list[str] = []
    report = run("nginx", [whole], tmp_path / "a.parquet", Options(), said.append)
    assert 100 < report.requests < 5000
    assert any(f"{whole}: truncated" in one for one in said) and "truncated" in report.trace.partial
    whole.write_bytes(b"no gzip at all")
    with pytest.raises(ImportFailed, match=f"{whole}: "):
        run("nginx", [whole], tmp_path / "a.parquet", Options())


def test_attempts_in_flight_are_counted(tmp_path: Path) -> None:
    text = "at,took\n0,10\n1,1\n1.5,1\n2,1\n20,1\n"
    trace, _ = imported(tmp_path, "csv", text, mapping=(("at", "sent_at"), ("took", "latency")))
    rows = trace.rows[np.argsort(trace.rows["sent_at"])]
    assert rows["in_flight"].tolist() == [0, 1, 2, 2, 0]


def test_times_in_steps_are_spread_within_them() -> None:
    np.testing.assert_allclose(spread(np.array([3.0, 0.0, 0.0, 3.0, 3.0]), 3.0), [3.5, 0.75, 2.25, 4.5, 5.5])


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["adaptive", "import", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def har(**changes: object) -> str:
    request, response = {"method": "GET", "url": "http://a/"}, {"status": 200}
    entry = {"startedDateTime": "2026-11-26T11:00:00Z", "time": 1, "request": request, "response": response}
    return json.dumps({"log": {"entries": [entry, {**entry, **changes}]}})


def samples(*values: object) -> str:
    return json.dumps({"status": "success", "data": {"result": [{"values": [[0, "1"], [9, "5"]]}, *values]}})


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("har", har(timings=5), "is no entry"),
        ("har", har(response={"status": float("inf")}), "is no entry"),
        ("har", har(request={"method": "GET", "url": "http://a/", "bodySize": "x"}), "bodySize 'x' is not a number"),
        ("har", har(request={"method": "GET", "url": "http://a/", "bodySize": 10**30}), "it has 1e\\+30 bytes"),
        ("har", har(time=10**400), "time '10{57}"),
        ("prometheus", samples(5), "is no series with values"),
        ("prometheus", samples({"values": None}), "is no series with values"),
        ("prometheus", samples({"values": [{"a": 1}]}), "is no sample of a counter"),
        ("prometheus", samples({"metric": 5, "values": [[0, "1"], [9, "inf"]]}), "is no sample of a counter"),
        ("nginxplus", '{"timestamp": %d, "upstreams": {"u": [{"server": "a", "requests": %s}]}}\n', "inf is no number"),
        ("csv", f"when,who,took,code\n1,a,1,200\n{'1' * 5000},a,1,200\n", "when '1+"),
        ("csv", "when,who,took,code\n1,a,1,200\n1,a,1e300,200\n", "it is done 1e\\+297 s after it was sent"),
        ("envoy", f'{ENVOY[0]}\n{{"start_time": true, "duration": 1, "response_code": 200, "upstream_host": "a"}}\n',
         "start_time 'True' is not a number"),
    ],
)  # fmt: skip
def test_values_of_another_kind_or_size_cost_their_own_unit_only(
    tmp_path: Path, name: str, text: str, why: str
) -> None:
    if name == "nginxplus":
        text = "".join(text % pair for pair in [(1000, 1), (2000, 5), (3000, "Infinity")])
    trace, said = imported(tmp_path, name, text, mapping=MAP if name == "csv" else ())
    assert len(trace.rows) and "1 of " in trace.partial
    assert any(re.search(why, one) for one in said), said


def test_names_that_are_no_utf_8_are_kept_in_a_form_that_is(tmp_path: Path) -> None:
    text = ENVOY[0].replace("10.0.0.1", "\\xe9").encode("latin-1").replace(b"\\xe9", b"\xe9")
    trace, _ = imported(tmp_path, "envoy", text)
    assert names(trace) == [("envoy", "\\udce9:80")]


@pytest.mark.parametrize("most", ["MOST_SLOTS", "MOST_NAMES"])
def test_too_many_names_end_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: str) -> None:
    monkeypatch.setattr(collecting, most, 3)
    text = "at,of\n" + "".join(f"{n},{n}\n" for n in range(9))
    with pytest.raises(ImportFailed, match=r"over 3 \w+: is that column"):
        field = "endpoint" if most == "MOST_SLOTS" else "route"
        imported(tmp_path, "csv", text, mapping=(("at", "sent_at"), ("of", field)))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("source", ["t.parquet", "t.parquet.rejected"])
def test_a_log_is_not_written_over(tmp_path: Path, monkeypatch, capsys, source: str) -> None:
    (tmp_path / source).write_text(NGINX + "bad\n")
    assert command(monkeypatch, "nginx", tmp_path / source, "-o", tmp_path / "t.parquet") == 1
    assert f"{source}: is read here, and --out would write over it" in capsys.readouterr().err
    assert (tmp_path / source).read_text() == NGINX + "bad\n"


def test_where_a_trace_cannot_be_written_is_said_before_the_log_is_read(tmp_path: Path, monkeypatch, capsys) -> None:
    os.mkfifo(tmp_path / "pipe")
    log = tmp_path / "access.log"
    log.write_text("no line of a log\n")
    for out, why in (("", "is a directory"), ("pipe", "a device or a pipe"), ("a/b", "there is no directory")):
        assert command(monkeypatch, "nginx", log, "-o", tmp_path / out) == 1
        err = capsys.readouterr().err
        assert why in err and err.count("\n") == 1
