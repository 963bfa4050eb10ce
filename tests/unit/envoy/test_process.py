"""The Envoy that is started here, in the stead of which other programs run: asked, started again, listened to."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptive import clock
from adaptive.envoy.process import FIRST_DELAY, Envoy, Place, ask


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "gateway.yaml", tmp_path / "run")
    yield made
    made.close()


def program(place: Place, text: str, changed: list[float]) -> Envoy:
    """A program in the place of Envoy."""
    return Envoy(place, {}, lambda path: [sys.executable, "-c", text], lambda: changed.append(clock.monotonic()))


async def test_an_envoy_that_dies_at_once_is_started_again_ever_later(place: Place) -> None:
    changed: list[float] = []
    envoy = program(place, "", changed)
    task = asyncio.create_task(envoy.keep())
    async with asyncio.timeout(20.0):
        while envoy.deaths < 4:
            await asyncio.sleep(0.005)
    await envoy.stop()
    await task
    deaths, starts = changed[1::2], changed[2::2]
    waits = [start - death for death, start in zip(deaths, starts, strict=False)]
    for number, wait in enumerate(waits[:3]):
        assert wait >= 0.99 * FIRST_DELAY * 2**number


async def test_what_envoy_says_is_in_our_log_by_its_level(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    said = "warning\\tmain\\tsomething odd\\nerror\\tconfig\\tsomething wrong\\n\\nno line of its log\\n"
    envoy = program(place, f"import sys, time; sys.stderr.write('{said}'); sys.stderr.flush(); time.sleep(30)", [])
    with caplog.at_level(logging.DEBUG, "envoy"):
        task = asyncio.create_task(envoy.keep())
        async with asyncio.timeout(20.0):
            while len([one for one in caplog.records if one.name == "envoy"]) < 3:
                await asyncio.sleep(0.005)
        await envoy.stop()
        await task
    found = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "envoy"]
    assert found == [
        ("WARNING", "main: something odd"),
        ("ERROR", "config: something wrong"),
        ("WARNING", "no line of its log"),
    ]


async def test_an_envoy_that_ends_without_an_answer_is_told_as_such(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    path = str(tmp_path / "admin")
    async with await asyncio.start_unix_server(hang_up, path):
        with pytest.raises(ValueError, match="without an answer"):
            await ask(path, "GET", "/ready")
