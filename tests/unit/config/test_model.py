"""The models: frozen, the same after a round trip, and silent about secrets."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.config.topology import config_hash

TEXT = """\
listen: 127.0.0.1:8080
admin: {address: 0.0.0.0:9901, token: "${TOKEN}"}
clusters:
  api: {endpoints: [127.0.0.1:9100]}
routes:
  - cluster: api
    headers: {x-api-key: k3y}
    request_headers: {set: {Authorization: Basic aHVudGVyMg, X-Plain: seen}}
"""


def config(token: str = "hunter2") -> Config:
    return parse(TEXT, env={"TOKEN": token})


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        config().workers = 3


def test_secrets_appear_in_no_repr() -> None:
    shown = repr(config()) + str(config())
    assert "hunter2" not in shown and "aHVudGVyMg" not in shown


def test_the_redacted_form_hides_secrets_and_keeps_the_rest() -> None:
    shown = json.dumps(config().redacted())
    for secret in ("hunter2", "aHVudGVyMg", "k3y"):
        assert secret not in shown
    assert "seen" in shown and "x-api-key" in shown


def test_the_internal_form_keeps_secrets_through_a_round_trip() -> None:
    again = Config.model_validate_json(config().model_dump_json())
    assert again == config()
    assert again.admin is not None and again.admin.token is not None
    assert again.admin.token.get_secret_value() == "hunter2"
    assert Config.model_validate(config().model_dump()) == config()


def test_a_refused_secret_is_not_quoted() -> None:
    with pytest.raises(Exception, match="printable ASCII") as caught:
        config("hunter 2")
    assert "hunter" not in str(caught.value)


def test_an_inconsistent_configuration_is_refused_in_any_form() -> None:
    dump = config().model_dump(mode="json")
    dump["routes"][0]["cluster"] = "gone"
    dump["workers"] = 0
    with pytest.raises(ValidationError) as caught:
        Config.model_validate_json(json.dumps(dump))
    assert [error["loc"] for error in caught.value.errors()] == [("workers",), ("routes", 0, "cluster")]


def test_the_hash_names_what_the_configuration_says_but_for_secrets() -> None:
    assert config_hash(config()) == config_hash(config("other"))
    assert config_hash(config()) == config_hash(Config.model_validate_json(config().model_dump_json()))
    assert config_hash(config()) != config_hash(parse(TEXT + "workers: 2\n", env={"TOKEN": "hunter2"}))
