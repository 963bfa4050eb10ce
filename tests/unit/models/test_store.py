"""The store gives back what was saved, or says why not; nothing is ever half written, and nothing runs on loading."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import estimators, saved
from models.saved import Manifest, Saved, StoreError
from models.store import Store

ARRAYS = {"coefficients": np.arange(5.0), "names": np.array(["a", "b"])}
MADE = Manifest(kind="online", schema="abc", created_at=100.0, seed=3, scores={"pr_auc": 0.8, "unknown": float("nan")})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def save(store: Store, at: float = 100.0) -> str:
    return store.save(replace(MADE, created_at=at), ARRAYS, {"card.md": b"# a card"})


def everything(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_what_was_saved_comes_back(store: Store) -> None:
    found = store.load(save(store))
    np.testing.assert_array_equal(found.arrays["coefficients"], ARRAYS["coefficients"])
    assert found.files == {"card.md": b"# a card"}
    assert (found.manifest.kind, found.manifest.seed, found.manifest.scores["unknown"]) == ("online", 3, None)


def test_the_same_model_is_the_same_version_and_is_written_once(store: Store) -> None:
    first = save(store)
    before = everything(store.directory)
    assert save(store) == first
    assert everything(store.directory) == before
    assert save(store, at=101.0) != first


def test_versions_are_listed_oldest_first_and_found_by_their_beginning(store: Store) -> None:
    new, old = save(store, 300.0), save(store, 200.0)
    assert [name for name, _ in store.list()] == [old, new]
    assert store.resolve(new[:6]) == new
    with pytest.raises(StoreError, match="has no version 'nothing'"):
        store.resolve("nothing")


@pytest.mark.parametrize("name", [saved.ARRAYS, saved.MANIFEST, "card.md"])
def test_one_flipped_byte_anywhere_is_refused_and_names_the_file(store: Store, name: str) -> None:
    path = store.directory / "versions" / save(store) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{name}: corrupted: its SHA-256"):
        store.load(path.parent.name)


def test_a_truncated_file_is_refused(store: Store) -> None:
    path = store.directory / "versions" / save(store) / saved.ARRAYS
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StoreError, match=r"arrays\.npz: corrupted"):
        store.load(path.parent.name)


def forge(store: Store, change: Callable[[dict[str, object]], None]) -> str:
    """A version whose manifest was changed and hashed again."""
    folder = store.directory / "versions" / save(store)
    told = json.loads((folder / saved.MANIFEST).read_text())
    change(told)
    text = json.dumps(told).encode()
    (folder / saved.MANIFEST).write_bytes(text)
    name = saved.hashlib.sha256(text).hexdigest()[: saved.ID]
    folder.rename(folder.with_name(name))
    return name


def test_a_newer_format_is_refused_and_says_who_wrote_it(store: Store) -> None:
    name = forge(store, lambda told: told.update(format=99, adaptive="9.0"))
    with pytest.raises(StoreError, match=r"format 99 is newer than this Adaptive reads \(1\).*Adaptive 9\.0"):
        store.load(name)


def test_a_pickle_in_the_arrays_is_refused_even_where_its_hash_is_right(store: Store, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (ran,)  # type: ignore[return-value]

    sink = saved.io.BytesIO()
    np.savez(sink, bomb=np.array([Bomb()], dtype=object))

    def plant(told: dict[str, object]) -> None:
        told["files"] = {saved.ARRAYS: saved.hashlib.sha256(sink.getvalue()).hexdigest()}

    name = forge(store, plant)
    (store.directory / "versions" / name / saved.ARRAYS).write_bytes(sink.getvalue())
    with pytest.raises(StoreError, match="not readable as plain arrays"):
        store.load(name)
    assert not ran.exists()


def test_objects_are_not_saved(store: Store) -> None:
    with pytest.raises(ValueError, match="not numbers or text"):
        store.save(MADE, {"bad": np.array([object()])})


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 100 bytes, which the kernel itself enforces: what a full disk is like.

    Not a fixture: the tests' own output may go to a file, and is written before a fixture ends.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_leaves_nothing_half_written(store: Store) -> None:
    with small_files(), pytest.raises(StoreError, match="not saved: File too large; nothing was changed"):
        save(store)
    assert everything(store.directory) == {}


@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_wherever_the_disk_gets_full_the_champion_is_untouched(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    store.promote(save(store), "champion", "first", at=1.0)
    before = everything(store.directory)
    calls = iter(range(100))

    def full(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    try:
        other = save(store, 500.0)
        store.promote(other, "champion", "second", at=2.0)
    except StoreError as error:
        assert "No space left on device" in str(error)
    else:
        pytest.fail("it did not notice")
    left = everything(store.directory)
    assert {name: data for name, data in left.items() if name in before} == before
    assert not [name for name in left if "/." in name and not name.endswith(".lock")]


def test_a_corrupted_champion_is_refused_and_the_last_good_one_serves(store: Store) -> None:
    good, bad = save(store), save(store, 200.0)
    store.promote(good, "champion", "first", at=1.0)
    store.promote(bad, "champion", "second", at=2.0)
    (store.directory / "versions" / bad / saved.ARRAYS).write_bytes(b"nonsense")
    said: list[str] = []
    found = store.serving(lambda version: None, said.append)
    assert found is not None and found.id == good
    assert len(said) == 1 and f"model {bad} refused" in said[0] and "corrupted" in said[0]


def test_a_champion_that_this_program_cannot_use_is_refused_too(store: Store) -> None:
    store.promote(save(store), "champion", "first", at=1.0)

    def usable(version: Saved) -> None:
        raise StoreError("made for feature schema abc, not def")

    said: list[str] = []
    assert store.serving(usable, said.append) is None
    assert "made for feature schema abc, not def" in said[0]


def test_a_corrupted_version_cannot_be_promoted(store: Store) -> None:
    good, bad = save(store), save(store, 200.0)
    store.promote(good, "champion", "first", at=1.0)
    (store.directory / "versions" / bad / "card.md").write_bytes(b"changed")
    with pytest.raises(StoreError, match="corrupted"):
        store.promote(bad, "champion", "second", at=2.0)
    named = store.named("champion")
    assert named is not None and named.version == good


def test_rollbacks_lead_back_step_by_step_and_at_last_to_the_default(store: Store) -> None:
    names = [save(store, at) for at in (1.0, 2.0, 3.0)]
    for at, name in enumerate(names):
        store.promote(name, "champion", f"promotion {at}", at=float(at))
    for expected in (names[1], names[0]):
        named = store.rollback("it was worse", at=9.0)
        assert named is not None and (named.version, named.reason) == (expected, "it was worse")
    assert store.rollback("it was worse", at=9.0) is None
    assert store.named("champion") is None
    with pytest.raises(StoreError, match="no champion to roll back"):
        store.rollback("again", at=10.0)


def test_a_challenger_that_becomes_champion_is_challenger_no_more(store: Store) -> None:
    name = save(store)
    store.promote(name, "challenger", "trained tonight", at=1.0)
    store.promote(name, "champion", "better", at=2.0)
    assert store.named("challenger") is None
    assert store.resolve("champion") == name


def test_the_stamp_changes_with_the_aliases_only(store: Store) -> None:
    name = save(store)
    empty = store.stamp()
    save(store, 200.0)
    assert store.stamp() == empty
    store.promote(name, "challenger", "", at=1.0)
    assert store.stamp() != empty


def test_an_estimator_comes_back_and_one_with_strangers_in_it_is_refused() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from skops import io

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 3))
    model = HistGradientBoostingClassifier(max_iter=3).fit(rows, rows[:, 0] > 0)
    again = estimators.unpack(estimators.pack(model), "m.skops")
    np.testing.assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))
    with pytest.raises(StoreError, match=r"m\.skops: refused: it holds .*CompletedProcess"):
        import subprocess

        estimators.unpack(io.dumps(subprocess.CompletedProcess(["true"], 0)), "m.skops")
    with pytest.raises(StoreError, match=r"m\.skops: not readable"):
        estimators.unpack(b"PK nonsense", "m.skops")


@pytest.mark.parametrize("deed", ["promote", "rollback", "dismiss"])
def test_a_store_that_cannot_be_changed_says_so_and_is_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    first, second = save(store), save(store, 500.0)
    store.promote(first, "champion", "first", at=1.0)
    store.promote(second, "challenger", "second", at=2.0)
    before = everything(store.directory)

    remove = os.unlink

    def refuse(path: Path, *_: object) -> None:
        if not path.name.startswith("."):  # it is one of the names; what was written beside it may go
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        remove(path)

    monkeypatch.setattr(os, "replace", lambda _, to: refuse(to))
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StoreError, match="not changed: Read-only file system"):
        if deed == "promote":
            store.promote(second, "champion", "third", at=3.0)
        elif deed == "rollback":
            store.rollback("back", at=3.0)
        else:
            store.dismiss("no better")
    monkeypatch.undo()
    assert everything(store.directory) == before
