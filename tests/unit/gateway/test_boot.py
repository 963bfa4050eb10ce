"""What a child process is told."""

from __future__ import annotations

import pytest

from adaptive.config.load import parse
from adaptive.config.topology import assign_slots
from adaptive.gateway.boot import Configuration

WHOLE = """
listen: 127.0.0.1:8080
clusters:
  api:
    endpoints: [127.0.0.1:9100]
    {setting}
routes:
  - {{prefix: /, cluster: api, timeout: 200ms}}
"""


@pytest.mark.parametrize(
    "setting",
    [
        "limits: {requests: 1}",
        "retry_budget: {ratio: 0.0, minimum: 0.0}",
        "overload: false",
        "hedging: false",
        "policy: round_robin",
    ],
)
def test_a_configuration_reaches_another_process_as_it_is_whatever_its_defaults_say(setting: str) -> None:
    """The file is checked for contradictions; on its way it says every default, and a default contradicts nobody."""
    config = parse(WHOLE.format(setting=setting), "gateway.yaml", {})
    told = Configuration(config, assign_slots(config, {}), 3)
    assert Configuration.of(told.message()) == told
