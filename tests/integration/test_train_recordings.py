"""`adaptive train` on recordings: files of any number, wrecks among them, one class only, a full disk.

A fleet of numbers is recorded, not run: the training itself, some seconds of it, is what these take.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from adaptive.commands import learning
from adaptive.telemetry.columns import empty
from adaptive.telemetry.recording import Header
from models import saved
from models.combined import to_arrays
from models.saved import Manifest
from models.store import Store
from replay.asking import Table
from replay.recalling import load, pieces, recall
from replay.trace import Trace, write
from tests.commands import failure, run
from tests.unit.models.made import pair, world

ENDPOINTS = {str(slot): ("api", f"10.0.0.{slot + 1}:80") for slot in range(3)}
FILE, RATE = 100.0, 60  # seconds of one file, attempts a second
ILL_EVERY, ILL_FOR = 25.0, 12.0  # seconds


def record(folder: Path, files: int, ill: bool = True) -> Path:
    """Files that follow each other; one endpoint after the other gets slow, and fails in the end."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(files):
        rows = empty(int(FILE * RATE))
        sent = number * FILE + np.sort(rng.random(len(rows))) * FILE
        slot = rng.integers(0, 3, len(rows))
        into = sent % ILL_EVERY - (ILL_EVERY - ILL_FOR)
        mine = (into > 0) & (sent // ILL_EVERY % 3 == slot) & ill
        spent = 0.02 * rng.lognormal(0, 0.4, len(rows)) * np.where(mine, np.exp(into / 6), 1.0)
        bad = mine & (into > 8) & (rng.random(len(rows)) < 0.4)
        rows["sent_at"], rows["done"], rows["slot"] = sent, sent + spent, slot
        rows["first_byte"], rows["status"] = sent + spent, np.where(bad, 500, 200)
        rows["attempt"], rows["propensity"], rows["load_cpu"], rows["load_app"] = 1, 1 / 3, np.nan, np.nan
        rows["request"] = np.arange(len(rows))
        rows = rows[np.argsort(rows["done"])]
        header = Header(wall_offset=1.7e9, routes=("r",), clusters=("api",), endpoints=ENDPOINTS)
        write(Trace(header, rows), folder / f"outcomes-{number:03}.parquet")
    return folder


@pytest.mark.timeout(240)
def test_files_train_a_model_together_and_a_wreck_among_them_is_passed_over(tmp_path: Path) -> None:
    """Half a minute of work: three files are read, and both horizons are trained by parts, with all their scores."""
    folder, store = record(tmp_path / "recordings", 3), tmp_path / "store"
    (folder / "outcomes-999.parquet").write_bytes(b"PAR1 no more")
    trained = run("train", folder, "--store", store, "--as", "challenger", "--jobs", "1")
    assert trained.exit_code == 0, trained.output + str(trained.exception)
    assert "outcomes-999.parquet: truncated or damaged" in trained.stderr
    name = trained.stdout.strip()
    manifest = json.loads(run("models", "show", "challenger", "--json", "--store", store).stdout)
    assert manifest["id"] == name and manifest["kind"] == "pair"
    scores = manifest["scores"]["soon"]
    assert scores["average_precision"]["model"][0] > 3 * scores["base_rate"]


def test_the_last_questions_of_a_file_are_answered_by_what_the_next_one_holds(tmp_path: Path) -> None:
    first = recall(load(pieces([record(tmp_path / "recordings", 2)])[0]))
    assert first.at.max() > 1.7e9 + FILE - 1 and set(first.slot.tolist()) == {0.0, 1.0, 2.0}
    last = first.at > 1.7e9 + FILE - 5
    assert last.any() and not np.isnan(first.ahead[last & ~first.few]).any()


def test_one_class_only_is_told_and_nothing_is_saved(tmp_path: Path) -> None:
    folder = record(tmp_path / "recordings", 1, ill=False)
    told = failure("train", folder, "--store", tmp_path / "store", "--jobs", "1")
    assert "of one class: there is no row of a breach" in told and str(folder) in told
    assert not (tmp_path / "store").exists()


def test_a_directory_of_nothing_and_of_wrecks_are_told(tmp_path: Path) -> None:
    assert "no recordings" in failure("train", tmp_path, "--store", tmp_path / "store")
    (tmp_path / "outcomes-1.parquet").write_bytes(b"")
    assert failure("train", tmp_path, "--store", tmp_path / "store") == "no file could be read"


def test_a_version_of_another_schema_is_no_champion_and_the_one_before_serves_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    arrays, meta = to_arrays(pair())
    good = store.save(Manifest("pair", str(meta["schema"]), 1.0, meta=meta), arrays)
    store.promote(good, "champion", "", 1.0)
    parts = {name: {**meta[name], "schema": "feed"} for name in ("soon", "ahead")}
    other = store.save(Manifest("pair", "feed", 2.0, meta={**meta, **parts}), arrays)
    told = failure("models", "promote", other, "--store", tmp_path)
    assert told.startswith(f"{other}: the model was made for feature schema feed")
    named = store.named("champion")
    assert named is not None and named.version == good


def asked(seed: int = 0) -> Table:
    """Questions of a made-up world, two seconds apart."""
    rows = world(seed)
    n = len(rows.labels)
    at = 1.7e9 + 2.0 * np.arange(n)
    none, ones = np.full((n, 2), np.nan), np.ones(n)
    few = np.zeros(n, dtype=bool)
    features = rows.features.astype(np.float32)
    return Table(at, np.zeros(n), features, rows.rule, none, few, rows.labels, ones, rows.labels, ones)


def test_a_full_disk_leaves_the_champion_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    arrays, meta = to_arrays(pair())
    good = store.save(Manifest("pair", str(meta["schema"]), 1.0, meta=meta), arrays)
    store.promote(good, "champion", "", 1.0)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved, "put", full)
    monkeypatch.setattr(learning, "of_recordings", lambda *_: [asked()])
    told = failure("train", tmp_path, "--store", tmp_path, "--as", "champion")
    assert "not saved: No space left on device; nothing was changed" in told
    named = store.named("champion")
    assert named is not None and named.version == good and store.ids() == [good]
