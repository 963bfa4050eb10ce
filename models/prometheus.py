"""Reads the history of a Prometheus server over its HTTP API. The shell that asks; what it means is known elsewhere."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from models.columns import Floats

TIMEOUT = 60.0  # seconds for one answer: the server's own bound is two minutes
LARGEST = 1 << 30  # bytes of one answer
SHOWN = 120  # characters of an answer that a message shows


class PrometheusError(Exception):
    """The server cannot be read; the message names it, what was asked, and why."""


class Series(NamedTuple):
    """One series on a grid of times, values (n,); NaN where it had none."""

    labels: Mapping[str, str]
    values: Floats


class Server:
    """A Prometheus, or what answers like one, at a base URL. Proxies of the environment are not asked."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PrometheusError(f"{url!r} is no URL of a server, such as http://127.0.0.1:9090")
        self.url, self.timeout = url.rstrip("/"), timeout
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def history(self, selector: str, start: float, end: float, step: float) -> list[Series]:
        """What a selector gives at `start`, `start` + `step`, … up to `end`, wall-clock seconds. Raises
        PrometheusError.
        """
        count = int((end - start) / step + 1e-9) + 1
        asked = {"query": selector, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        told = self._ask(selector, asked)
        try:
            if told["status"] != "success" or told["data"]["resultType"] != "matrix":
                raise PrometheusError(f"{self.url}: {selector}: {told.get('error') or 'is no selector of series'}")
            return [_series(one, start, step, count) for one in told["data"]["result"]]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise PrometheusError(
                f"{self.url}: {selector}: not the answer of a Prometheus: {type(error).__name__}: {error}"
            ) from None

    def _ask(self, selector: str, asked: Mapping[str, str]) -> Any:
        body = urllib.parse.urlencode(asked).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/query_range", data=body)
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                data = answer.read(LARGEST + 1)
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{self.url}: answered {error.code} to {selector}: {_reason(error)}") from None
        except urllib.error.URLError as error:
            raise PrometheusError(f"{self.url}: no answer: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise PrometheusError(f"{self.url}: {selector}: the answer broke off: {error!r}") from None
        if len(data) > LARGEST:
            raise PrometheusError(f"{self.url}: {selector}: an answer of more than {LARGEST >> 20} MiB")
        if not data.strip():
            raise PrometheusError(f"{self.url}: answered nothing to {selector}")
        try:
            return json.loads(data)
        except ValueError:
            raise PrometheusError(f"{self.url}: answered no JSON to {selector}: {_shown(data)}") from None


def _series(told: Any, start: float, step: float, count: int) -> Series:
    values = np.full(count, np.nan)
    labels = {str(key): str(value) for key, value in told["metric"].items()}
    for at, value in told["values"]:
        place = round((float(at) - start) / step)
        if 0 <= place < count:
            values[place] = float(value)
    return Series(labels, values)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        data = error.read(1 << 16)
    except (OSError, http.client.HTTPException):
        return "no reason"
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return _shown(data) or "no reason"


def _shown(data: bytes) -> str:
    text = " ".join(data[: 4 * SHOWN].decode("utf-8", "replace").split())
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
