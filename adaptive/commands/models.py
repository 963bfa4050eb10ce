"""`adaptive models`: what is in the store, which version serves, and how good a version is on a trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from adaptive.commands.train import StoreDir, opened, say
from adaptive.failure import Failure

if TYPE_CHECKING:
    from models.saved import Manifest, Saved
    from models.store import Store

app = typer.Typer(help="The model store: versions, champion and challenger.", no_args_is_help=True)
Version = Annotated[str, typer.Argument(help="An id or its beginning, champion, challenger.", metavar="MODEL")]
Shown = Annotated[str, typer.Argument(help="An id or its beginning, champion, challenger, default.", metavar="MODEL")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT = "default"  # the model that ships with the program


@app.command("list")
def list_(store: StoreDir = None, as_json: AsJson = False) -> None:
    """Show every version, the oldest first."""
    from models.saved import Manifest

    kept = opened(store)
    names = _names(kept)
    found = []
    for name, about in kept.list():
        if isinstance(about, Manifest):
            told: dict[str, Any] = {
                "kind": about.kind,
                "schema": about.schema,
                "created_at": about.created_at,
                "error": None,
            }
        else:
            told = {"kind": None, "schema": None, "created_at": None, "error": str(about)}
        found.append({"id": name, "name": names.get(name), **told})
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not found:
        say(f"{kept.directory}: no versions; the default model serves")
    for row in found:
        what = row["error"] or f"{row['kind']:<8} {row['schema']}  {_when(row['created_at'])}"
        typer.echo(f"{row['id']}  {row['name'] or '':<10}  {what}")


@app.command()
def show(model: Shown, store: StoreDir = None, as_json: AsJson = False) -> None:
    """Show a version: its card, or with --json its manifest. Its hashes are checked."""
    found = _load(opened(store), model)
    if as_json:
        typer.echo(json.dumps(_document(found.manifest, found.id), indent=1))
        return
    typer.echo(found.files.get("card.md", b"").decode() or json.dumps(_document(found.manifest, found.id), indent=1))


@app.command()
def promote(
    model: Version,
    store: StoreDir = None,
    name: Annotated[Literal["champion", "challenger"], typer.Option("--as", help="The name it gets.")] = "champion",
    reason: Annotated[str, typer.Option(help="Kept in the store and in the gateway's log.")] = "promoted by hand",
) -> None:
    """Make a version the champion, which serves, or the challenger, which predicts in shadow.

    A gateway whose model.store is this directory takes it over within a second or two, without a restart.
    """
    from adaptive import clock
    from models.contest import KIND, usable
    from models.saved import StoreError

    kept = opened(store)
    try:
        found = kept.load(model)
        if found.manifest.kind == KIND:
            usable(found)
        named = kept.promote(found.id, name, reason, clock.wall())
    except StoreError as error:
        raise Failure(str(error)) from None
    typer.echo(f"{named.version} is the {name}")


@app.command()
def rollback(
    store: StoreDir = None,
    reason: Annotated[str, typer.Option(help="Kept in the store and in the gateway's log.")] = "rolled back by hand",
) -> None:
    """Make the champion before the present one champion again; before the first one the default model served."""
    from adaptive import clock
    from models.saved import StoreError

    try:
        named = opened(store).rollback(reason, clock.wall())
    except StoreError as error:
        raise Failure(str(error)) from None
    typer.echo(f"{named.version} is the champion again" if named else "the default model serves")


@app.command()
def score(
    model: Annotated[str, typer.Argument(help="An id, champion, challenger, or default.", metavar="MODEL")],
    trace: Annotated[Path, typer.Argument(help="A day of calls, or recordings: file or directory.", metavar="TRACE")],
    faults: Annotated[
        Path | None, typer.Option(help="Faults of the day; else the directory's own list.", metavar="FILE")
    ] = None,
    store: StoreDir = None,
    out: Annotated[Literal["text", "json"], typer.Option(help="Form of the scores.")] = "text",
    predictions: Annotated[
        Path | None, typer.Option(help="Write every row's probability here, as CSV.", metavar="FILE")
    ] = None,
    after: Annotated[float, typer.Option(min=0.0, max=0.9, help="Leave out this share, first in time.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the intervals.")] = 0,
) -> None:
    """Score a model on a trace, beside every baseline.

    With --faults (or a directory that holds such a list) the question is, for each pod and 10 seconds: is a latency
    fault in force on it within 30 s?
    """
    from adaptive.commands import pods
    from adaptive.commands.reporting import ready
    from replay.report.write import put

    ready(predictions)
    rows, known, _ = pods.read(trace, faults)
    if after:
        rows = pods.split(rows, after)[1]
    chosen = pods.model_of(None if model == DEFAULT else _load(opened(store), model), say)
    judged = pods.judgement(chosen, rows, known, seed, str(trace))
    if predictions is not None:
        put(pods.predictions(chosen, rows, known), predictions)
    typer.echo(json.dumps({"model": model, **judged.document()}, indent=1) if out == "json" else _text(judged.lines()))


def _text(lines: list[str]) -> str:
    return "\n".join(lines)


def _load(store: Store, name: str) -> Saved:
    """A version, one in a directory that was named by its path, or the shipped one. Raises Failure."""
    from models import saved
    from models.default import SHIPPED
    from models.saved import StoreError

    try:
        if name == DEFAULT:
            return saved.read(next(folder for folder in SHIPPED.iterdir() if folder.is_dir()))
        if "/" in name and Path(name).is_dir():
            return saved.read(Path(name).resolve())
        return store.load(name)
    except StoreError as error:
        raise Failure(str(error)) from None


def _names(store: Store) -> dict[str, str]:
    from models.saved import StoreError
    from models.store import ALIASES

    found: dict[str, str] = {}
    for alias in ALIASES:
        try:
            named = store.named(alias)
        except StoreError as error:
            say(str(error))
            continue
        if named is not None:
            found[named.version] = alias
    return found


def _document(manifest: Manifest, name: str) -> dict[str, Any]:
    from dataclasses import asdict

    return {"id": name, **asdict(manifest)}


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
