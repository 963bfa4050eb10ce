"""The page: what came from somebody is escaped, it stands alone, and a browser has nothing to complain of."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from replay.report import series
from replay.report.document import Document, document, read, row
from replay.report.thresholds import judge, parse
from replay.report.write import render

EVIL = "</script><script>document.title='owned'</script>"


def made(evil: str = "") -> Document:
    """A report with all its parts: two policies in two scenarios, states, moves, refusals and thresholds."""
    found = document("simulate", f"two policies{evil}", f"adaptive simulate 'a{evil}.json'", (1, 2), "cut off" + evil)
    rng = np.random.default_rng(1)
    due = np.linspace(0.0, 60.0, 3000)
    until = 60.0
    found["series"] = {"latency": {}, "errors": {}, "weights": {}, "states": {}, "until": until}
    for scenario in ("hang", "surge"):
        for policy in (f"adaptive{evil}", "least_request"):
            latency = rng.lognormal(-4.0, 0.7, 3000)
            failed = (due > 20.0) & (due < 22.0) & (rng.random(3000) < 0.3)
            values = {name: float(np.quantile(latency, q)) for name, q in (("p50", 0.5), ("p99", 0.99))}
            spans = {name: (0.9 * value, 1.2 * value) for name, value in values.items()}
            found["rows"].append(row(scenario, policy, 3000, {**values, "failed": int(failed.sum())}, spans, 1.1))
            found["rows"][-1]["note"] = "not judged, for the load was 12.0 ms late at p99, above 5; " * 3
            key = f"{scenario}: {policy}"
            found["series"]["latency"][key] = series.curve(latency)
            found["series"]["errors"][key] = series.errors(due, failed)
            names = [f"10.0.0.{i}:80{evil}" for i in range(12)]
            found["series"]["weights"][key] = series.traffic(due, rng.integers(0, 12, 3000), names)
            steps = [[0.0, "HEALTHY"], [20.0, "EJECTED"], [40.0, "CANARY"], [45.0, "HEALTHY"]]
            found["series"]["states"][key] = {name: steps if name == names[0] else steps[:1] for name in names}
    found["moves"] = [
        {
            "at": 20.0,
            "policy": "adaptive",
            "endpoint": f"10.0.0.1:80{evil}",
            "before": "HEALTHY",
            "after": "EJECTED",
            "reason": f"9 of 10 failed{evil}",
            "scenario": "hang",
        }
    ]
    found["refused"] = [{"policy": "c3", "reason": f"nothing was seen there{evil}"}]
    found["warnings"] = [f"mind this{evil}"]
    found["hashes"] = {f"trace{evil}": "ab" * 32}
    found["facts"] = [f"a fact{evil}"]
    found["compared"] = [
        {
            "scenario": "hang",
            "policy": "least_request",
            "to": f"adaptive{evil}",
            "figure": "p99",
            "difference": 0.01,
            "interval": [0.002, 0.03],
            "better": False,
        }
    ]
    promises = [parse(text, ["least_request", "c3"]) for text in ("p99<1ms", "least_request:p99<10s", "c3:p50<1s")]
    found["thresholds"] = judge(promises, found)
    return found


@functools.cache
def page_of(evil: str = "") -> str:
    """Drawing a dozen pictures takes a second, so that it is done once."""
    return render(made(evil), "html")


def test_nothing_of_a_document_becomes_markup() -> None:
    page = page_of(EVIL)
    assert page.count("<script") == 1 and page.count("</script>") == 1
    assert "&lt;/script&gt;" in page


def test_the_page_fetches_nothing() -> None:
    page = page_of().replace("http://www.w3.org/", "")
    assert not re.search(r"(src|href)=\"(?!#|data:)|https?://|@import|url\((?!#)", page.replace('xlink:href="#', ""))
    assert "default-src 'none'" in page


def test_the_page_has_every_part() -> None:
    page = page_of()
    for part in ("Thresholds", "Figures", "Refused", "Compared", "Latency in hang", "Errors over time in surge"):
        assert part in page
    for part in ("Traffic over time: hang: adaptive", "States over time: surge: adaptive", "9 of 10 failed", "ab" * 32):
        assert part in page
    assert "adaptive simulate &#39;a.json&#39;" in page
    assert page.count("<svg") == 2 * 2 + 4 * 2


def test_a_report_without_pictures_is_a_page_too() -> None:
    page = render(document("arena", "nothing yet", "adaptive bench arena"), "html")
    assert "<svg" not in page and "nothing yet" in page


def test_the_same_document_gives_the_same_bytes() -> None:
    one = made()
    for key in ("weights", "states"):
        one["series"][key] = {}  # type: ignore[literal-required]
    assert render(one, "html") == render(one, "html")


def test_no_two_of_many_policies_look_alike() -> None:
    found = document("simulate", "many", "adaptive simulate many.json")
    curve = series.curve(np.linspace(0.01, 0.2, 50))
    found["series"] = {"latency": {f"policy{n}": curve for n in range(23)}}
    page = render(found, "html")
    marks = re.findall(r'<i class="(line\d+ style\d+)"', page)
    assert len(marks) == len(set(marks)) == 23
    drawn = re.findall(r'style="fill: none; (?:stroke-dasharray: ([\d.,]+); )?.*?stroke: var\(--line(\d+)\)', page)
    assert len(drawn) == len(set(drawn)) == 23
    assert {f".{name} " in page for mark in marks for name in mark.split() if name != "style0"} == {True}


def test_ids_of_pictures_do_not_meet() -> None:
    page = page_of()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_a_page_gives_its_document_back(tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text(page_of(EVIL))
    assert render(read(tmp_path / "r.html"), "json") == render(made(EVIL), "json")


@pytest.mark.skipif(not Path("/usr/bin/chromedriver").exists(), reason="there is no chromedriver here")
@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no Chromium here")
def test_a_browser_shows_it_wide_and_narrow_in_the_light_and_in_the_dark(tmp_path: Path) -> None:
    """Starting Chromium takes some seconds."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    file = tmp_path / "<b>r.html"
    file.write_text(page_of(EVIL))
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        grounds = set()
        for scheme in ("light", "dark"):
            told = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", told)
            for width in (360, 1280):
                size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                browser.get(file.as_uri())
                assert browser.execute_script("return document.documentElement.scrollWidth") <= width
                assert browser.execute_script("return document.querySelector('figure svg').clientHeight") > 100
                assert browser.title == f"two policies{EVIL}"
            # A long note wraps: it does not push the last figures out of sight.
            hidden = "const t = document.querySelector('.scroll'); return t.scrollWidth - t.clientWidth"
            assert browser.execute_script(hidden) <= 0
            grounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2
        assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert browser.get_log("browser") == []
    finally:
        browser.quit()
