"""Asking an Envoy that dies while it is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adaptive.envoy.process import ask


async def test_an_envoy_that_ends_without_an_answer_is_told_as_such(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    path = str(tmp_path / "admin")
    async with await asyncio.start_unix_server(hang_up, path):
        with pytest.raises(ValueError, match="without an answer"):
            await ask(path, "GET", "/ready")
