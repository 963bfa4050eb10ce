"""The small parts of the shells: boot records, sd_notify, the log, overrides, the state without a brain."""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
from pathlib import Path

from adaptive.config.load import parse
from adaptive.config.topology import assign_slots, topology
from adaptive.gateway import boot, logs
from adaptive.gateway.notify import notify
from adaptive.gateway.overrides import ACTIONS, Override, Overrides
from adaptive.gateway.standing import standing
from adaptive.telemetry.board import Board
from adaptive.types import Health, first_snapshot

CONFIG = """
listen: 127.0.0.1:8080
admin: {address: 127.0.0.1:9901, token: "${TOKEN}"}
clusters:
  api:
    endpoints: [127.0.0.1:9100, "[::1]:9101"]
    health_check: {path: /health}
routes: [{prefix: /, cluster: api}]
"""


def test_boot_records_survive_the_command_line() -> None:
    worker = boot.WorkerBoot(1, 2, ((5, 0), (6, 1)), 7, 8, 9, 10, 4242, 77, boot.Logging("DEBUG", "text"))
    assert boot.decode_worker(boot.encode(worker)) == worker
    assert worker.fds == (5, 6, 7, 8, 9, 10)
    brain = boot.BrainBoot(7, (8, 11), 10, 4242, 77)
    assert boot.decode_brain(boot.encode(brain)) == brain
    assert brain.fds == (7, 8, 11, 10)


def test_a_configuration_crosses_the_channel_unchanged_with_its_secrets() -> None:
    config = parse(CONFIG, env={"TOKEN": "sesame"})
    sent = boot.Configuration(config, assign_slots(config, {}), 3)
    got = boot.Configuration.of(json.loads(json.dumps(sent.message())))
    assert got == sent
    assert got.config.admin is not None and got.config.admin.token is not None
    assert got.config.admin.token.get_secret_value() == "sesame"


def test_systemd_is_told_over_its_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        assert notify("READY=1", {"NOTIFY_SOCKET": path})
        assert sock.recv(100) == b"READY=1"


def test_without_systemd_nothing_is_told_and_nothing_fails(tmp_path: Path) -> None:
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})


def line(formatter: logging.Formatter, message: str, **extra: object) -> str:
    record = logging.LogRecord("adaptive.x", logging.WARNING, "f", 1, message, (), None)
    record.__dict__.update(extra)
    return formatter.format(record)


def test_a_json_line_is_one_object_with_its_extra_fields() -> None:
    text = line(logs.JsonFormatter("brain"), "two\nlines", endpoint="a:1", odd={1, 2}.__class__)
    assert "\n" not in text
    told = json.loads(text)
    assert (told["message"], told["level"], told["process"]) == ("two\nlines", "warning", "brain")
    assert told["endpoint"] == "a:1"


def test_text_has_colour_only_where_it_is_wanted() -> None:
    assert "\x1b" in line(logs.TextFormatter("brain", colour=True), "hello")
    assert "\x1b" not in line(logs.TextFormatter("brain", colour=False), "hello")


def test_a_log_is_json_unless_a_person_looks_on() -> None:
    assert logs.chosen("info", "auto", io.StringIO()).format == "json"
    assert logs.chosen("debug", "text", io.StringIO()) == boot.Logging("DEBUG", "text")


def test_an_override_ends_by_itself_and_with_its_endpoint() -> None:
    held = Overrides()
    held.put("api|a:1", Override(Health.EJECTED, 10.0, "broken"))
    held.put("api|b:1", Override(Health.DRAINING, 20.0, ""))
    assert [key for key, _ in held.active(9.9)] == ["api|a:1", "api|b:1"]
    assert [key for key, _ in held.active(10.0)] == ["api|b:1"]
    held.keep(["api|c:1"])
    assert list(held.active(0.0)) == []


def test_a_restored_endpoint_has_no_override() -> None:
    held = Overrides()
    held.put("api|a:1", Override(Health.EJECTED, 10.0, ""))
    held.put("api|a:1", Override(ACTIONS["restore"], 10.0, ""))
    assert list(held.active(0.0)) == []


def test_without_a_brain_the_board_tells_health_weight_and_live_counts() -> None:
    config = parse(CONFIG, env={"TOKEN": "sesame"})
    made = topology(config, assign_slots(config, {}), 1)
    board = Board.create(8, 2, 2)
    board.live_row(0)[1] = 2
    board.live_row(1)[1] = 3
    before = standing(made, board, 5.0)
    assert before["snapshot_age_seconds"] is None
    assert before["clusters"][0]["endpoints"][1]["in_flight"] == 5
    board.publish(first_snapshot(made, 4.0, version=1))
    after = standing(made, board, 5.0)
    assert after["snapshot_age_seconds"] == 1.0
    first = after["clusters"][0]["endpoints"][0]
    assert (first["health"], first["weight"], first["probability"]) == ("HEALTHY", 100, None)
    json.dumps(after, allow_nan=False)


def test_a_snapshot_of_another_configuration_is_not_taken_for_the_state() -> None:
    config = parse(CONFIG, env={"TOKEN": "sesame"})
    board = Board.create(8, 2, 1)
    board.publish(first_snapshot(topology(config, assign_slots(config, {}), 1), 4.0, version=1))
    told = standing(topology(config, assign_slots(config, {}), 2), board, 5.0)
    assert told["clusters"][0]["endpoints"][0]["health"] is None


def test_the_supervisor_s_children_are_started_without_the_working_directory_on_their_path() -> None:
    from adaptive.gateway.process import python

    assert python("worker", "{}") == [sys.executable, "-P", "-m", "adaptive.app", "worker", "{}"]
