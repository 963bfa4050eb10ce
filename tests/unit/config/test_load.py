"""Loading a configuration: defaults, every mistake with its place, and what never leaves a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaptive.config.errors import ConfigErrors
from adaptive.config.load import load, parse
from adaptive.config.model import Config

SMALLEST = """\
listen: 127.0.0.1:8080
admin: 127.0.0.1:9901
clusters:
  api:
    endpoints: [127.0.0.1:9100, 127.0.0.1:9101]
    health_check: {path: /health, interval: 500ms, timeout: 300ms}   # optional
routes:
  - {prefix: /, cluster: api, timeout: 2s}
"""

# The head of a valid file; a case adds one line with one mistake, on line 5.
HEAD = """\
listen: 127.0.0.1:8080
clusters:
  api: {endpoints: [127.0.0.1:9100]}
routes: [{cluster: api}]
"""


def errors(text: str, env: dict[str, str] | None = None) -> list[str]:
    """The lines that an operator would read."""
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "g.yaml", env)
    return str(caught.value).splitlines()


def test_the_smallest_configuration_loads_with_defaults_that_suit_production() -> None:
    config = parse(SMALLEST)
    assert [listener.address for listener in config.listen] == ["127.0.0.1:8080"]
    assert config.admin is not None and config.admin.address == "127.0.0.1:9901"
    assert config.workers == 1
    cluster = config.clusters["api"]
    assert [endpoint.address for endpoint in cluster.endpoints] == ["127.0.0.1:9100", "127.0.0.1:9101"]
    assert cluster.policy == "adaptive" and cluster.predict
    assert cluster.health_check is not None
    assert (cluster.health_check.interval, cluster.health_check.timeout) == (0.5, 0.3)
    assert 200 in cluster.health_check.expect and 300 not in cluster.health_check.expect
    (route,) = config.routes
    assert (route.name, route.timeout, route.attempt_timeout, route.retries) == ("route-1", 2.0, 0.0, 2)
    assert config.recorder.enabled and config.access_log is None
    assert config.server.limits.header_bytes == 64 * 1024 and config.server.timeouts.idle == 75.0


def test_every_mistake_is_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
listen: [127.0.0.1:8080, 127.0.0.1:8080]
admin: 0.0.0.0:9901
workers: 0
server: {limits: {header_byte: 64KiB}}
clusters:
  api:
    endpoints:
      - 127.0.0.1:9100
      - {address: 127.0.0.1, weight: 0}
      - 127.0.0.1:9100
    policy: adaptiv
    policy: random
  empty: {endpoints: []}
routes:
  - cluster: apu
    timeout: 2
  - {path: x, cluster: api, timeout: 1s, attempt_timeout: 2s}
  - {regex: "(", methods: "G T"}
  - {path: /a, cluster: api, experiment: {cluster: apy}}
  - {path: /b, cluster: api, experiment: {cluster: api, share: 1.0}}
"""
    assert errors(text) == [
        "g.yaml:1: listen[1]: 127.0.0.1:8080 is taken by 127.0.0.1:8080 above",
        "g.yaml:2: admin: 0.0.0.0 can be reached from elsewhere: a token (or token_file) is required",
        "g.yaml:3: workers: must be at least 1",
        'g.yaml:4: server.limits.header_byte: unknown key; did you mean "header_bytes"?',
        "g.yaml:9: clusters.api.endpoints[1].address: '127.0.0.1' has no port: host:port is wanted",
        "g.yaml:9: clusters.api.endpoints[1].weight: must be at least 0.01",
        "g.yaml:10: clusters.api.endpoints[2]: 127.0.0.1:9100 is in this cluster already: endpoints[0]",
        "g.yaml:11: clusters.api.policy: must be one of 'adaptive', 'round_robin', 'random', 'least_request' or "
        "'peak_ewma'; did you mean \"adaptive\"?",
        "g.yaml:12: clusters.api.policy: duplicate key, first on line 11",
        "g.yaml:13: clusters.empty.endpoints: must have at least one entry",
        "g.yaml:15: routes[0].cluster: no cluster 'apu'; did you mean \"api\"?",
        "g.yaml:16: routes[0].timeout: a duration needs its unit: 2s or 2ms?",
        "g.yaml:17: routes[1].path: 'x' must begin with a slash",
        "g.yaml:17: routes[1].attempt_timeout: is longer than the timeout of the whole request, 1s",
        "g.yaml:18: routes[2].regex: RE2 refuses '(': missing ): (",
        "g.yaml:18: routes[2].methods: 'G T' is not a method",
        "g.yaml:18: routes[2].cluster: this key is required",
        "g.yaml:19: routes[3].experiment.cluster: no cluster 'apy'; did you mean \"api\"?",
        "g.yaml:20: routes[4].experiment.share: must be less than 1",
        "g.yaml:20: routes[4].experiment.cluster: 'api' is the route's own cluster",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bogus: 1", "bogus: unknown key; known here: listen, admin, workers, server, clusters,"),
        ("worker: 2", 'worker: unknown key; did you mean "workers"?'),
        ("workers: yes", 'workers: must be a whole number, or "auto" for one a core'),
        ("workers: 2.0", "workers: must be a whole number"),
        ("workers: true", "workers: must be a whole number"),
        ("workers: 010", "workers: must be a whole number"),
        ("model: {enabled: no}", "model.enabled: must be true or false"),
        ("model: {enabled: 1}", "model.enabled: must be true or false"),
        ("model: {explore: .inf}", "model.explore: must be a number"),
        ("model: {horizon: 1s, tick: 2s}", "model.tick: is longer than the horizon of 1s"),
        ("model: {horizon: 1:30}", "model.horizon: '1:30' is not a duration"),
        ("model: {horizon: 0}", "model.horizon: must be more than 0"),
        ("model:", "model: is empty, and must be a mapping (key: value)"),
        ("model: fast", "model: must be a mapping (key: value)"),
        ("server: {trusted: [10.0.0.1/8]}", "server.trusted[0]: 10.0.0.1/8 has host bits set"),
        ("server: {trusted: 10.0.0.0/8}", "server.trusted: must be a list"),
        ("server: {limits: {body_bytes: 64k}}", "server.limits.body_bytes: 'k' is not a unit of size: B, kB, "),
        ("server: {limits: {body_bytes: 1.5}}", "server.limits.body_bytes: must be a size such as"),
        ("recorder: {segment_bytes: 2GiB, max_bytes: 1GiB}", "recorder.max_bytes: is less than one segment"),
        ("admin: 9901", "admin: an address needs its host: 127.0.0.1:9901?"),
        ("admin: {address: 127.0.0.1:1, port: 2}", "admin.address: give either address, or host and port"),
        ("admin: 127.0.0.1:8080", "admin: 127.0.0.1:8080 is taken by 127.0.0.1:8080 above"),
        ("admin: {token: hunter2}", "admin.token: a secret does not stand in the file: write ${NAME}"),
        ("access_log: ''", "access_log: must not be empty"),
        ("access_log: !!str '-'", None),
        ("access_log: !file x", "access_log: tags such as !file have no meaning here"),
        ("routes: []", "routes: duplicate key, first on line 4"),
    ],
)
def test_a_mistake_names_its_line_and_its_key(line: str, message: str | None) -> None:
    text = HEAD + line + "\n"
    if message is None:
        assert isinstance(parse(text), Config)
        return
    found = errors(text)
    assert len(found) == 1
    assert found[0].startswith(f"g.yaml:5: {message}")


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (
            "{cluster: api, path: /, prefix: /}",
            ".prefix: a route has one of path, prefix and regex, and this one has path",
        ),
        ("{cluster: api, host: 'a.b:80'}", ".host: 'a.b:80' is not an IPv6 address: without the port? a.b"),
        ("{cluster: api, host: '*.*.b'}", ".host: '*.b' is not a host name, nor *. and a name"),
        ("{cluster: api, path: /a?b}", ".path: '/a?b': routes match the path alone, without a query"),
        ("{cluster: api, path: /ä}", ".path: '/ä' must be written as on the wire: other characters as %XX"),
        ("{cluster: api, headers: {a b: c}}", ".headers.'a b': 'a b' is not a header name"),
        ("{cluster: api, headers: {a: {}}}", ".headers.a: exactly one of exact, regex and present is wanted"),
        ("{cluster: api, headers: {a: {regex: '('}}}", ".headers.a.regex: RE2 refuses '('"),
        ("{cluster: api, path: /x, retry_statuses: [200]}", ".retry_statuses[0]: must be at least 400"),
        (
            "{cluster: api, path: /x, request_headers: {set: {Connection: x}}}",
            ".request_headers.set.Connection: connection is the",
        ),
        (
            "{cluster: api, path: /x, request_headers: {add: {host: x}}}",
            ".request_headers.add.host: a request has exactly one Host",
        ),
        (
            '{cluster: api, path: /x, response_headers: {set: {a: "b\\r\\nc: d"}}}',
            ".response_headers.set.a: a header value holds",
        ),
        ("{cluster: 5, path: /x}", ".cluster: must be text: write it in quotes"),
        ("{cluster: api, prefix: '/'}", ": the same conditions as routes[0], so this route would never be taken"),
        ("{cluster: api, name: route-1, path: /x}", ": the name of routes[0]: names must differ"),
        ("api", ": must be a mapping (key: value)"),
    ],
)
def test_a_mistake_in_a_route_is_found_where_it_stands(route: str, message: str) -> None:
    text = f"listen: 127.0.0.1:0\nclusters: {{api: {{endpoints: [a:1]}}}}\nroutes:\n  - {{cluster: api}}\n  - {route}\n"
    found = errors(text)
    assert len(found) == 1
    assert found[0].startswith(f"g.yaml:5: routes[1]{message}")


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ("endpoints: a:1", "clusters.api.endpoints: must be a list"),
        ("endpoints: [a:0]", "clusters.api.endpoints[0]: must be at least 1"),
        ("endpoints: [':80']", "clusters.api.endpoints[0]: an address needs its host: 0.0.0.0:80 for all of IPv4"),
        ("endpoints: ['::1:80']", "clusters.api.endpoints[0]: an IPv6 address stands in brackets: [::1]:80?"),
        ("endpoints: ['http://a:80']", "clusters.api.endpoints[0]: 'http://a:80' is a URL"),
        ("endpoints: [1.2.3.256:80]", "clusters.api.endpoints[0]: '1.2.3.256' is neither an IPv4 address nor a host"),
        ("endpoints: [{zone: a}]", "clusters.api.endpoints[0]: an address is required"),
        ("endpoints: [{host: a}]", "clusters.api.endpoints[0].port: this key is required"),
        (
            "endpoints: [{address: a:1, metadata: {v: 1.10}}]",
            "clusters.api.endpoints[0].metadata.v: must be text: write",
        ),
        (
            "{endpoints: [a:1], health_check: {interval: 1s, timeout: 2s}}",
            "clusters.api.health_check.timeout: is longer",
        ),
        ("{endpoints: [a:1], health_check: {expect: 99}}", "clusters.api.health_check.expect: expected statuses are"),
        (
            "{endpoints: [a:1], health_check: {expect: 400-200}}",
            "clusters.api.health_check.expect: 400-200 is not within",
        ),
        ("{endpoints: [a:1], tls: {key: k}}", "clusters.api.tls.key: a key without its cert"),
        (
            "{endpoints: [a:1], limits: {connections: 8, idle: 9}}",
            "clusters.api.limits.idle: more idle connections than",
        ),
        (
            "{endpoints: [a:1, {address: a:2, priority: 2}]}",
            "clusters.api.endpoints[1].priority: no endpoint has priority 1",
        ),
        (
            "{endpoints: [{address: a:1, priority: 1}]}",
            "clusters.api.endpoints[0].priority: no endpoint has priority 0",
        ),
        (
            "{endpoints: [a:1], hedging: {ratio: 0.3}}",
            "clusters.api.hedging.ratio: more than the retry budget, 0.2 of the",
        ),
        (
            "{endpoints: [a:1], hedging: {minimum: 2}, retry_budget: {minimum: 1}}",
            "clusters.api.hedging.minimum: more than the retry budget, 1 a second",
        ),
        ("{endpoints: [a:1], overload: {enabled: false, goal: 1s}}", "clusters.api.overload.goal: has no effect"),
        (
            "{endpoints: [a:1], limits: {requests: 10}, overload: {waiting: 11}}",
            "clusters.api.overload.waiting: more may wait than may be in flight",
        ),
        ("{endpoints: [a:1], objective: {errors: 0}}", "clusters.api.objective.errors: must be more than 0"),
    ],
)
def test_a_mistake_in_a_cluster_is_found_where_it_stands(cluster: str, message: str) -> None:
    body = cluster if cluster.startswith("{") else f"{{{cluster}}}"
    found = errors(f"listen: 127.0.0.1:0\nclusters:\n  api: {body}\nroutes: [{{cluster: api}}]\n")
    assert len(found) == 1
    assert found[0].startswith(f"g.yaml:3: {message}")


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("overload: {goal: 3s}", "clusters.api.overload.goal"),
        ("timeouts: {connect: 3s}", "clusters.api.timeouts.connect"),
    ],
)
def test_a_wait_that_outlasts_every_route_is_told_and_one_that_a_route_allows_is_not(key: str, place: str) -> None:
    text = f"listen: 127.0.0.1:0\nclusters:\n  api: {{endpoints: [a:1], {key}}}\nroutes:\n"
    short, long = "  - {prefix: /a, cluster: api, timeout: 1s}\n", "  - {prefix: /b, cluster: api, timeout: 4s}\n"
    assert errors(text + short)[0].startswith(
        f"g.yaml:3: {place}: is longer than the longest timeout of its routes, 1s"
    )
    assert isinstance(parse(text + short + long), Config)


def test_budgets_that_agree_and_hedges_that_are_off_are_no_mistake() -> None:
    for cluster in ("hedging: {ratio: 0.2}", "hedging: {enabled: false, ratio: 0.9}", "retry_budget: {ratio: 0}"):
        text = f"listen: 127.0.0.1:0\nclusters:\n  api: {{endpoints: [a:1], {cluster}}}\nroutes: [{{cluster: api}}]\n"
        assert isinstance(parse(text), Config)


def test_one_client_may_not_have_more_connections_than_all() -> None:
    (found,) = errors(HEAD + "server: {limits: {connections: 5, connections_per_client: 6}}\n")
    assert found.startswith(
        "g.yaml:5: server.limits.connections_per_client: more than all clients together may open (5)"
    )


def test_a_missing_key_is_told_at_the_mapping_that_lacks_it() -> None:
    assert errors("\n\nworkers: 1\n") == [
        f"g.yaml:3: {key}: this key is required" for key in ("listen", "clusters", "routes")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "g.yaml: is empty"),
        ("# nothing\n", "g.yaml: is empty"),
        ("---\n", "g.yaml:2: is empty"),
        ("- a\n", "g.yaml:1: must be a mapping (key: value) at its top"),
        ("\na: [\n", "g.yaml:3: not YAML: "),
        ("a: b: c\n", "g.yaml:1: not YAML: mapping values are not allowed"),
        ("a: 1\n---\nb: 2\n", "g.yaml:2: a second document begins here"),
        ("a: *x\n", "g.yaml:1: *x stands for nothing"),
        ("a: &a\n  b: *a\n", "g.yaml:2: *a stands for nothing that is complete before this line"),
        ("? [a]\n: b\n", "g.yaml:1: a key must be a word"),
        ("a: \0\n", "g.yaml:1: not YAML: control characters are not allowed"),
        ("a: \ud800\n", "g.yaml: not YAML: surrogates not allowed"),
        ("a: " + "[" * 100_000, "g.yaml:1: nested more than 50 deep"),
        ("{" * 100_000, ("g.yaml:1: a key must be a word", "g.yaml:1: nested more than 50 deep")),  # by LibYAML
    ],
)
def test_what_is_no_yaml_mapping_is_an_error_with_its_line(text: str, message: str | tuple[str, ...]) -> None:
    found = errors(text)
    assert len(found) == 1 and found[0].startswith(message)


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    # 10 to the power of 9 values, were they all built.
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    # Takes a second or so: a million values are built before the bound is met.
    assert errors("\n".join(lines))[-1].endswith("more than 1000000 values")


def test_anchors_and_merge_keys_share_what_clusters_have_in_common() -> None:
    config = parse("""\
listen: 127.0.0.1:0
clusters:
  one: &one
    endpoints: [127.0.0.1:1]
    timeouts: {connect: 1s}
    policy: random
  two: {<<: *one, policy: round_robin}
routes: [{cluster: one, host: a}, {cluster: two}]
""")
    assert config.clusters["two"].timeouts.connect == 1.0
    assert [cluster.policy for cluster in config.clusters.values()] == ["random", "round_robin"]


def test_a_mistake_in_what_is_merged_is_told_where_it_stands() -> None:
    text = HEAD.replace("  api: {", "  web: &w {policy: rand,\n   endpoints: [127.0.0.1:1]}\n  api: {<<: *w, ")
    assert {line.split(": must")[0] for line in errors(text)} == {
        "g.yaml:3: clusters.web.policy",
        "g.yaml:3: clusters.api.policy",
    }


def test_short_forms_mean_what_the_long_forms_say() -> None:
    text = """\
listen:
  address: "[::1]:443"
  tls: {cert: c.pem, key: k.pem, min_version: 1.3}
clusters:
  api:
    endpoints: [Api.Example:80, "[0:0::1]:80", {host: 10.0.0.1, port: 80, weight: 2}]
    tls: true
    health_check: {expect: [200, 300-301]}
routes: [{cluster: api, methods: get, retry_statuses: 503, headers: {X-A: b}, response_headers: {remove: Server}}]
recorder: false
access_log: "-"
"""
    config = parse(text)
    listener, cluster, route = config.listen[0], config.clusters["api"], config.routes[0]
    assert listener.address == "[::1]:443" and listener.tls is not None
    assert (listener.tls.certificates[0].cert, listener.tls.min_version) == ("c.pem", "1.3")
    assert [endpoint.address for endpoint in cluster.endpoints] == ["api.example:80", "[::1]:80", "10.0.0.1:80"]
    assert cluster.tls is not None and cluster.tls.verify
    assert cluster.health_check is not None and cluster.health_check.expect == {200, 300, 301}
    assert (route.methods, route.retry_statuses, route.prefix) == (("GET",), (503,), "/")
    assert route.headers["x-a"].exact == "b" and route.response_headers.remove == ("server",)
    assert not config.recorder.enabled
    assert config.access_log is not None and config.access_log.path == "-"


def test_auto_workers_are_one_a_core_and_never_more_than_an_outcome_can_name() -> None:
    assert parse(HEAD + "workers: auto\n", cores=6).workers == 6
    assert parse(HEAD + "workers: auto\n", cores=1000).workers == 255


def test_a_file_is_loaded_with_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    file.write_text("\ufeff" + HEAD.replace("127.0.0.1:9100", '"${HOST}:80"'), encoding="utf-8")
    assert load(file, {"HOST": "10.0.0.9"}).clusters["api"].endpoints[0].address == "10.0.0.9:80"


def test_a_file_that_gives_no_text_is_an_error_with_the_reason(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"listen: a\n\xff\xfe")
    for path, message in [
        (str(tmp_path / "none.yaml"), ": no such file or directory"),
        (str(tmp_path), ": is a directory"),
        (str(binary), ":2: not UTF-8 text: byte 0xff"),
        ("a\0b", ": not a path"),
    ]:
        with pytest.raises(ConfigErrors) as caught:
            load(path)
        assert str(caught.value) == path + message


def test_a_token_file_is_read_and_its_absence_is_told(tmp_path: Path) -> None:
    secret, file = tmp_path / "token", tmp_path / "g.yaml"
    file.write_text(HEAD + f"admin: {{address: 0.0.0.0:9901, token_file: {secret}}}\n", encoding="utf-8")
    with pytest.raises(ConfigErrors, match=r"g\.yaml:5: admin\.token_file: .*token: no such file or directory$"):
        load(file)
    secret.write_text("\n")
    with pytest.raises(ConfigErrors, match=r"token: is empty$"):
        load(file)
    secret.write_text("s3cret\n")
    admin = load(file).admin
    assert admin is not None and admin.token is not None and admin.token.get_secret_value() == "s3cret"


def test_relative_paths_are_those_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g.yaml").write_text(HEAD, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load("g.yaml") == load(os.fspath(tmp_path / "g.yaml"))


def test_five_thousand_routes_load_in_a_few_seconds() -> None:
    # About a second on one core: a reload must not hold up the supervisor for long, even with very many routes.
    routes = "".join(f"  - {{host: h{n}.example, prefix: /a/{n}, cluster: api, timeout: 2s}}\n" for n in range(5000))
    config = parse(HEAD.replace("routes: [{cluster: api}]\n", "routes:\n" + routes))
    assert len(config.routes) == 5000 and config.routes[4999].name == "route-5000"
