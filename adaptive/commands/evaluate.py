"""`adaptive evaluate`: what another policy would have made of recorded traffic, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from adaptive.commands import arguments
from adaptive.commands.reporting import File, Out, Thresholds, command, finish, read_thresholds, ready
from adaptive.failure import Failure

SHORT = 20_000  # attempts: further processes take longer to start than these to be simulated


def evaluate(
    trace: Annotated[list[Path], typer.Argument(help="Recordings: files, or directories of them.", metavar="TRACE...")],
    policy: Annotated[str, typer.Option("--policy", help="Policies, with commas between.", metavar="A,B,...")] = "",
    experiment: Annotated[
        str, typer.Option(help="Instead: two clusters that ran side by side, by chance.", metavar="FIRST,SECOND")
    ] = "",
    cluster: Annotated[str, typer.Option(help="Of several clusters this one; else the busiest.")] = "",
    logged: Annotated[str, typer.Option(help="The policy that recorded; else told from its picks.")] = "",
    weights: Annotated[str, typer.Option(help="Static weights of endpoints.", metavar="HOST:PORT=2,...")] = "",
    timeout: Annotated[
        float, typer.Option(min=0.0, help="How long clients wait, seconds; 0: as the trace shows.")
    ] = 0.0,
    warm: Annotated[
        float, typer.Option(min=-1.0, help="Seconds at the start that are not judged; -1: 5, or an eighth.")
    ] = -1.0,
    seeds: Annotated[int, typer.Option(min=2, help="Runs of the likeliest fleet; twice as many of others.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    out: Out = "text",
    file: File = None,
    threshold: Thresholds = None,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes that simulate; -1: one a core, for long traces.")] = -1,
    estimators: Annotated[bool, typer.Option(help="Off-policy estimators beside the simulation.")] = True,
) -> None:
    """Had another policy been in charge of this traffic, what would its clients have seen?

    A fleet is fitted to the recorded outcomes and simulated under each policy on the recorded arrivals. Refuses, with
    exit code 1, what the trace cannot support. With --experiment, the requests of a route's `experiment` say what the
    second cluster's policy would have done to all of the traffic, by differences in Q.
    """
    if experiment:
        if policy:
            raise typer.BadParameter("an experiment's policies are those that ran", param_hint="--policy")
        _experiment(trace, experiment, seed, timeout, None if warm < 0.0 else warm, out, file, threshold)
        return
    from replay.evaluation.document import document

    if not arguments.names(policy):
        raise typer.BadParameter("no policy is named", param_hint="--policy")
    names = arguments.policies(policy)
    if logged:
        (logged,) = arguments.policies(logged, "--logged")[:1]
    promises = read_thresholds(threshold, names)
    ready(file)
    read, hashes = _read(trace)
    found = _evaluated(
        read,
        names,
        trace,
        jobs,
        seed=seed,
        seeds=seeds,
        draws=2 * seeds,
        cluster=cluster,
        logged=logged,
        timeout=timeout,
        warm=None if warm < 0.0 else warm,
        weights=_weights(weights, {str(pair[1]) for pair in read.header.endpoints.values()}),
        estimators=estimators,
    )
    made = document(found, command(), hashes)
    if out != "text" or file is not None:
        for line in made["facts"]:
            _say(line)
    finish(made, out, file, promises)
    if not found.predicted:
        raise typer.Exit(1)


def _evaluated(read: Any, names: list[str], paths: list[Path], jobs: int, **asked: Any) -> Any:
    """The evaluation of what was read from these paths. Raises Failure."""
    from replay.evaluation.attempts import EvaluationError
    from replay.evaluation.evaluate import evaluate
    from replay.sweep.spread import SpreadError

    try:
        return evaluate(read, names, jobs=1 if jobs == -1 and len(read.rows) < SHORT else jobs, say=_say, **asked)
    except SpreadError as error:
        raise Failure(f"--jobs {jobs}: {error}") from None
    except EvaluationError as error:
        raise Failure(f"{', '.join(map(str, paths))}: {error}") from None


def _experiment(
    trace: list[Path], clusters: str, seed: int, timeout: float, warm: float | None, out: Out, file: Path | None,
    threshold: list[str] | None,
) -> None:  # fmt: skip
    """Two policies that ran side by side."""
    from replay.evaluation.attempts import EvaluationError
    from replay.evaluation.experiment import document, experiment

    names = arguments.names(clusters)
    if len(names) != 2:
        raise typer.BadParameter(f"{clusters!r}: two clusters are wanted: FIRST,SECOND", param_hint="--experiment")
    promises = read_thresholds(threshold, names)
    ready(file)
    read, hashes = _read(trace)
    try:
        found = experiment(read, *names, seed=seed, timeout=timeout, warm=warm)
    except EvaluationError as error:
        raise Failure(f"{', '.join(map(str, trace))}: {error}") from None
    finish(document(found, command(), hashes, seed), out, file, promises)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _read(paths: list[Path]) -> tuple[Any, dict[str, str]]:
    """The trace, and the hashes of its data and of the configuration under which it was recorded. Raises Failure."""
    import hashlib

    from replay.trace import TraceError, read

    try:
        trace = read(paths, on_warning=_say)
    except TraceError as error:
        raise Failure(str(error)) from None
    rows = trace.rows
    names = rows.dtype.names if hasattr(rows, "dtype") else list(rows)
    digest = hashlib.sha256()
    for name in names:
        digest.update(rows[name].tobytes())
    return trace, {"trace": digest.hexdigest(), "config": str(trace.header.config_hash)}


def _weights(text: str, known: set[str]) -> dict[str, float]:

    made = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = part.rpartition("=")
        if name not in known:
            raise Failure(f"--weights {part!r}: the trace has no endpoint {name!r}; it has {', '.join(sorted(known))}")
        try:
            made[name] = float(value)
        except ValueError:
            made[name] = float("nan")
        if not 0.0 < made[name] < float("inf"):
            raise Failure(f"--weights {part!r}: the weight must be a number above 0")
    return made
