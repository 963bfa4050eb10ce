from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive.telemetry.access_log import REDACTED, AccessLog, redact_target

texts = st.text(st.characters(codec=None), max_size=30)  # half surrogate pairs too
optional = st.one_of(st.none(), texts)
plain_keys = st.sampled_from(["page", "q", "sort", "id", "monkey"])
secret_keys = st.sampled_from(
    ["token", "access_token", "API_KEY", "X-Amz-Signature", "client_secret", "Password", "code"]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts, optional, optional, st.integers(0, 2**63), st.floats(0, 1e6)), max_size=6))
def test_whatever_clients_send_each_request_is_one_line_of_json(
    tmp_path: Path, requests: list[tuple[str, ...]]
) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"")
    log = AccessLog(str(file))
    for method, path, agent, host, size, seconds in requests:
        args = (method, path, "HTTP/1.1", 200, "-", size, size, seconds, None, None, None, None, agent, host, host)
        log.write(1.7e9, *args, 1, None, None, None, None, None)
    assert log.flush()
    log.close()
    lines = file.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == len(requests)
    for line, request in zip(lines, requests, strict=True):
        assert json.loads(line)["bytes_sent"] == request[4]


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.booleans(), plain_keys, secret_keys, st.integers(0, 10**9)), max_size=8),
    st.sampled_from(["&", ";"]),
    st.booleans(),
)
def test_no_secret_gets_through_and_nothing_else_is_lost(
    pairs: list[tuple[bool, str, str, int]], separator: str, encoded: bool
) -> None:
    parts, expected = [], []
    for secret, plain_key, secret_key, n in pairs:
        key = secret_key if secret else plain_key
        if encoded:
            key = "".join(f"%{ord(c):02x}" for c in key)
        value = quote(f"v{n}", safe="")
        parts.append(f"{key}={value}")
        expected.append(f"{key}={REDACTED if secret else value}")
    assert redact_target(f"/a?{separator.join(parts)}") == f"/a?{separator.join(expected)}"


@settings(max_examples=200)
@given(texts)
def test_a_path_without_a_query_or_a_url_is_left_as_it_is(text: str) -> None:
    path = "/" + text.replace("?", "").replace("://", "")
    assert redact_target(path) == path
