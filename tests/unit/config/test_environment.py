"""Variables of the environment: where they are read, and where they are a mistake."""

from __future__ import annotations

import pytest

from adaptive.config.environment import substitute
from adaptive.config.errors import ConfigErrors
from adaptive.config.load import parse

TEXT = """\
listen: {address: 127.0.0.1:8443, tls: {cert: "${DIR}/c.pem", key: "${DIR}/k.pem"}}
admin: {address: 0.0.0.0:9901, token: "${TOKEN}"}
clusters:
  api: {endpoints: ["${HOST}:80", {address: "${HOST}:81"}, {host: "${HOST}", port: 82}], tls: {ca: "${DIR}/ca.pem"}}
routes: [{cluster: api}]
recorder: {directory: "${DIR}/rec"}
access_log: ${DIR}/access.log
"""


def test_variables_are_read_in_all_declared_places() -> None:
    config = parse(TEXT, "g.yaml", {"DIR": "/d", "TOKEN": "t", "HOST": "10.0.0.1"})
    assert config.listen[0].tls is not None and config.listen[0].tls.certificates[0].key == "/d/k.pem"
    assert config.admin is not None and config.admin.token is not None
    assert config.admin.token.get_secret_value() == "t"
    assert [endpoint.address for endpoint in config.clusters["api"].endpoints] == [
        "10.0.0.1:80",
        "10.0.0.1:81",
        "10.0.0.1:82",
    ]
    assert config.recorder.directory == "/d/rec"
    assert config.access_log is not None and config.access_log.path == "/d/access.log"


def test_each_variable_that_is_not_set_is_told_once_where_it_stands() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(TEXT, "g.yaml", {"DIR": "/d"})
    assert str(caught.value).splitlines() == [
        "g.yaml:2: admin.token: not set in the environment: TOKEN",
        "g.yaml:4: clusters.api.endpoints[0]: not set in the environment: HOST",
        "g.yaml:4: clusters.api.endpoints[1].address: not set in the environment: HOST",
        "g.yaml:4: clusters.api.endpoints[2].host: not set in the environment: HOST",
    ]


def test_a_variable_elsewhere_is_a_mistake_that_says_where_it_is_allowed() -> None:
    with pytest.raises(
        ConfigErrors, match=r"g\.yaml:5: routes\[0\]\.cluster: .* only in the admin token, files of TLS,"
    ):
        parse(
            TEXT.replace("cluster: api", 'cluster: "${X}"'),
            "g.yaml",
            {"X": "api", "DIR": "", "TOKEN": "t", "HOST": "a"},
        )


def test_what_a_variable_holds_is_not_looked_through_again() -> None:
    data, faults = substitute({"recorder": {"directory": "${A}"}}, {"A": "${B}", "B": "no"})
    assert data == {"recorder": {"directory": "${B}"}} and not faults


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A-b}", "${A", "${A}${"])
def test_a_malformed_variable_is_a_mistake(text: str) -> None:
    _, faults = substitute({"recorder": {"directory": text}}, {"A": "x"})
    assert [fault.path for fault in faults] == [("recorder", "directory")]


def test_a_dollar_without_braces_is_only_a_dollar() -> None:
    data, faults = substitute({"routes": [{"regex": "^/a$"}]}, {})
    assert data == {"routes": [{"regex": "^/a$"}]} and not faults
