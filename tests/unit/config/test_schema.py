"""The JSON Schema: it takes what loading takes, in short and long forms, and refuses what an editor should mark.

`valid` knows the words of JSON Schema that the schema uses, and fails on any other, so that none goes unchecked.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from adaptive.config.document import read_document
from adaptive.config.load import parse
from adaptive.config.schema import schema

FULL = """\
listen: [127.0.0.1:8080, {address: "[::1]:8443", tls: {cert: c, key: k, min_version: 1.2}}]
admin: {address: 127.0.0.1:9901, token_file: t}
workers: auto
server: {limits: {body_bytes: 1GiB, headers: 50}, timeouts: {idle: 1m30s, drain: 0}, trusted: [10.0.0.0/8], via: x}
clusters:
  api:
    endpoints: [a:1, {address: a:2, weight: 2, zone: z}, {host: a, port: 3}]
    health_check: {path: /health, expect: [200, 300-301]}
    tls: true
    objective: {errors: 0.1, latency: 50ms}
routes:
  - {cluster: api, methods: GET, headers: {a: b, c: {present: true}}, retry_statuses: 503}
  - {cluster: api, regex: ^/x, methods: [GET, PUT], request_headers: {set: {a: b}, remove: x}}
recorder: false
access_log: "-"
model: {horizon: 2s, explore: 0.01}
"""

TYPES: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "array": list,
    "null": type(None),
}
SILENT = {"title", "description", "default", "examples", "format", "writeOnly", "$schema", "$defs", "uniqueItems"}


def valid(value: Any, rule: Any, root: dict[str, Any]) -> bool:
    """Whether a value fits a rule."""
    if isinstance(rule, bool):
        return rule
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    tests: dict[str, Any] = {
        "$ref": lambda name: valid(value, root["$defs"][name.rpartition("/")[2]], root),
        "anyOf": lambda rules: any(valid(value, one, root) for one in rules),
        "type": lambda name: isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)),
        "const": lambda wanted: value == wanted and type(value) is type(wanted),
        "enum": lambda wanted: value in wanted,
        "pattern": lambda wanted: not isinstance(value, str) or re.search(wanted, value) is not None,
        "minLength": lambda bound: not isinstance(value, str) or len(value) >= bound,
        "minimum": lambda bound: not number or value >= bound,
        "maximum": lambda bound: not number or value <= bound,
        "exclusiveMinimum": lambda bound: not number or value > bound,
        "exclusiveMaximum": lambda bound: not number or value < bound,
        "minItems": lambda bound: not isinstance(value, list) or len(value) >= bound,
        "maxItems": lambda bound: not isinstance(value, list) or len(value) <= bound,
        "items": lambda one: not isinstance(value, list) or all(valid(item, one, root) for item in value),
        "minProperties": lambda bound: not isinstance(value, dict) or len(value) >= bound,
        "maxProperties": lambda bound: not isinstance(value, dict) or len(value) <= bound,
        "required": lambda keys: not isinstance(value, dict) or all(key in value for key in keys),
        "propertyNames": lambda one: not isinstance(value, dict) or all(valid(key, one, root) for key in value),
        "properties": lambda rules: (
            not isinstance(value, dict)
            or all(valid(value[key], one, root) for key, one in rules.items() if key in value)
        ),
        "patternProperties": lambda rules: (
            not isinstance(value, dict)
            or all(valid(value[k], one, root) for wanted, one in rules.items() for k in value if re.search(wanted, k))
        ),
        "additionalProperties": lambda one: (
            not isinstance(value, dict)
            or all(
                valid(value[key], one, root)
                for key in value
                if key not in rule.get("properties", {})
                and not any(re.search(wanted, key) for wanted in rule.get("patternProperties", {}))
            )
        ),
    }
    return all(tests[word](wanted) for word, wanted in rule.items() if word not in SILENT)


def fits(text: str) -> bool:
    made = schema()
    return valid(read_document(text).data, made, made)


def test_the_schema_takes_what_loading_takes() -> None:
    assert parse(FULL).workers == 1
    assert fits(FULL)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("workers: auto", "workers: all"),
        ("workers: auto", "worker: 1"),
        ("horizon: 2s", "horizon: 2"),
        ("horizon: 2s", "horizon: 2 seconds"),
        ("body_bytes: 1GiB", "body_bytes: 1G"),
        ("{host: a, port: 3}", "{host: a}"),
        ("weight: 2", "weight: 0"),
        ("tls: true", "tls: maybe"),
        ("methods: GET", "methods: 5"),
        ("cluster: api, regex", "regex"),
        ("listen: [127.0.0.1:8080, ", "listen: [5, "),
        ("min_version: 1.2", "min_version: 1.1"),
    ],
)
def test_the_schema_refuses_what_loading_refuses(before: str, after: str) -> None:
    assert before in FULL
    assert not fits(FULL.replace(before, after, 1))


def test_the_defaults_of_the_schema_are_what_the_schema_takes() -> None:
    made = schema()
    parts = [part for whole in made["$defs"].values() for part in [whole, *whole.get("anyOf", [])]]
    rules = [rule for part in [made, *parts] for rule in part.get("properties", {}).values() if "default" in rule]
    assert len(rules) > 50
    for rule in rules:
        assert valid(rule["default"], rule, made), rule


def test_the_schema_is_json() -> None:
    assert json.loads(json.dumps(schema())) == schema()
