"""A soak in short: what `adaptive bench soak` runs for ten minutes. It takes its 22 s, since growth takes time."""

from __future__ import annotations

from adaptive.bench.soak import soak, table

SECONDS = 22.0
RATE = 1000.0


async def test_nothing_grows_under_load_faults_and_reloads() -> None:
    result = await soak(SECONDS, RATE, lambda line: None, warm_up=8.0)
    report = "\n".join(table(result))
    assert result.passed, report
    assert result.reloads == 2 and result.faults >= 3
    assert result.load.sent > 0.9 * SECONDS * RATE, report
    # A crash loses what cannot be sent again and was in hand, an instance's own 503 to a POST goes to the client: of
    # 1,000 requests/s over five instances some 20, twice.
    assert result.load.bad < 100, report
    assert {role for role, _, _ in result.judged} == {"supervisor", "worker", "brain"}
