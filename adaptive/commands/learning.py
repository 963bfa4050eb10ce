"""What `train` does with recordings and with the history of a Prometheus server: questions with answers, and a pair."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adaptive.commands.reporting import command
from adaptive.failure import Failure
from models.card import COUNTED, card

if TYPE_CHECKING:
    from models.store import Store
    from replay.asking import Table
    from replay.recalling import Files
    from replay.sweep.spread import Backend

__all__ = ["COUNTED", "Asked", "Spread", "of_prometheus", "of_recordings", "train"]

Say = Callable[[str], None]
DAY = 86400.0
SIGNS = 12  # of the strongest signs, in the card


class Spread(NamedTuple):
    """Where the work goes, as `replay.sweep.spread` has it."""

    jobs: int
    backend: Backend
    address: str


class Asked(NamedTuple):
    """What is asked of a server, as the command line has it; `now` is wall-clock time."""

    url: str
    mapping: str
    since: str
    until: str
    step: str
    now: float


def of_recordings(paths: Sequence[Path], spread: Spread, say: Say) -> Iterator[Table]:
    """The questions of every file, in order. Raises Failure; a file of several that is a wreck is passed over."""
    from adaptive.commands.progress import Progress
    from replay.recalling import pieces
    from replay.sweep.spread import SpreadError
    from replay.sweep.spread import spread as spread_over
    from replay.tracing.files import TraceError

    try:
        work = pieces(paths)
        progress = Progress(len(work), "files", quiet=len(work) < 2)
        wrecks = []
        for found in spread_over(recalled, work, spread.jobs, spread.backend, spread.address):
            progress.step()
            if isinstance(found, str):
                wrecks.append(found)
                say(found)
            else:
                yield found
        progress.close()
    except (TraceError, SpreadError) as error:
        raise Failure(str(error)) from None
    if len(wrecks) == len(work):
        raise Failure("no file could be read")


def recalled(files: Files) -> Table | str:
    """The questions of one file, or why there are none. In a process of its own, perhaps."""
    from replay.recalling import load, recall
    from replay.tracing.files import TraceError

    try:
        return recall(load(files))
    except TraceError as error:
        return str(error)


def of_prometheus(asked: Asked, say: Say) -> Iterator[Table]:
    """The questions of a server's history, chunk by chunk. Raises Failure."""
    from adaptive.config.units import read_duration
    from models.mapping import MappingError, mapping
    from models.prometheus import PrometheusError, Server
    from replay.counting import CHUNK, Unusable, chunks
    from replay.recalling import recall

    try:
        step = read_duration(asked.step)
        if not 0.5 <= step <= 60:
            raise ValueError(f"{asked.step} is not between 500ms and 60s")
    except ValueError as error:
        raise Failure(f"--step: {error}") from None
    end = _time("--to", asked.until) if asked.until else asked.now
    start = _time("--from", asked.since) if asked.since else end - DAY
    if start >= end:
        raise Failure(f"--from: {asked.since or 'a day before'} is not before the end")
    try:
        known = mapping(asked.mapping)
        say(f"{asked.url}: {(end - start) / 3600:.1f} h in chunks of {CHUNK / 3600:g} h, every {step:g} s")
        for piece in chunks(Server(asked.url), known, start, end, step):
            yield recall(piece)
    except (PrometheusError, MappingError, Unusable) as error:
        raise Failure(str(error)) from None


def _time(option: str, text: str) -> float:
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f"{option}: {text!r} is no time such as 2026-01-31T12:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def train(
    tables: Iterable[Table], part: float, seed: int, store: Store, at: float, say: Say, limit: str, where: str
) -> str:
    """Fits a pair to the first part, scores it on the rest, saves it; its id. Raises Failure, which says `where`."""
    from models import default
    from models.combined import to_arrays
    from models.features import SCHEMA
    from models.fitting import NotFitted
    from models.saved import Manifest, StoreError
    from replay.learning import gathered, learn

    try:
        learned = learn(gathered(tables), part, seed, default.pair(seed))
    except NotFitted as error:
        raise Failure(f"{where}: {error}") from None
    arrays, meta = to_arrays(learned.pair)
    scores = {**learned.document(), "part": part}
    made = Manifest(default.KIND, SCHEMA, at, seed, learned.data, (), scores, meta, command())
    lines = learned.lines()
    strongest = sorted(learned.signs.items(), key=lambda sign: -abs(sign[1]))
    signs = dict(itertools.islice(strongest, SIGNS))
    about = card(made, lines, signs, "log-odds that it adds before a breach, beyond what it adds else", limit)
    try:
        name = store.save(made, arrays, {"card.md": about})
    except StoreError as error:
        raise Failure(str(error)) from None
    for line in lines:
        say(line)
    return name
