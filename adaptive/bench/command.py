"""The verbs of `adaptive bench`. What they run is imported when they run: the command line starts without it."""

from __future__ import annotations

from collections.abc import Coroutine
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from adaptive.commands.reporting import File, Out, Thresholds
from adaptive.failure import Failure

app = typer.Typer(
    no_args_is_help=True, help="Measure the gateway on this machine: cost, brain, steadiness, and beside others."
)


class Headers(str, Enum):  # noqa: UP042 - typer shows the values
    """What differs from one request to the next."""

    same = "same"
    varied = "varied"


class DataPlane(str, Enum):  # noqa: UP042 - typer shows the values
    """What carries the requests."""

    embedded = "embedded"
    envoy = "envoy"
    xds = "xds"


@app.command()
def cpu(
    pairs: Annotated[int, typer.Option(min=1, help="Comparisons; the median counts.")] = 5,
    requests: Annotated[int, typer.Option(min=1000, help="Requests per candidate and pair.")] = 30_000,
    headers: Annotated[
        Headers, typer.Option(help="The header fields of all requests are the same, or each has a cookie of its own.")
    ] = Headers.same,
    data_plane: Annotated[DataPlane, typer.Option(help="Adaptive's.")] = DataPlane.embedded,
) -> None:
    """CPU time per proxied request, of all our processes, beside Envoy and nginx in the same run."""
    from adaptive.bench import cpu as bench
    from adaptive.bench.running import undisturbed

    with undisturbed(_aside):
        result = _run(bench.measure(pairs, requests, headers.value, _say, data_plane.value))
    for line in bench.table(result):
        typer.echo(line)
    if result.failed:
        raise typer.Exit(1)


@app.command()
def brain(
    outcomes: Annotated[int, typer.Option(min=100, help="Outcomes a second.")] = 5000,
    endpoints: Annotated[int, typer.Option(min=2, help="Endpoints of the brain whose CPU time is taken.")] = 10,
    seconds: Annotated[float, typer.Option(min=1.0, help="Seconds for each of the two measurements.")] = 10.0,
) -> None:
    """CPU time per outcome of a real brain process, and its ticks over 1,000 endpoints."""
    from adaptive.bench import brain as bench

    cost = _run(bench.per_outcome(outcomes, endpoints, seconds))
    _say(
        f"{endpoints} endpoints, {outcomes} outcomes/s, recorder on: {cost.each:.2f} µs of CPU per outcome "
        f"({cost.outcomes} outcomes, {cost.busy:.1%} of a core; without outcomes {cost.idle:.1%}; {cost.lost} lost)"
    )
    found = _run(bench.ticks(outcomes, bench.MANY, seconds))
    for name, values in (("by the clock", found.wall), ("of CPU", found.cpu)):
        middle, worst = (1e3 * bench.quantile(values, share) for share in (0.5, 0.99))
        _say(f"{bench.MANY} endpoints, {outcomes} outcomes/s: a tick takes {middle:.1f} ms {name}, p99 {worst:.1f} ms")
    if cost.lost:
        raise typer.Exit(1)


@app.command()
def soak(
    seconds: Annotated[float, typer.Option(min=10.0, help="How long.")] = 600.0,
    rate: Annotated[float, typer.Option(min=1.0, help="Requests a second.")] = 2000.0,
) -> None:
    """Load, faults and reloads; fails if memory, descriptors or threads of any process grow."""
    from adaptive.bench import soak as bench

    result = _run(bench.soak(seconds, rate, _say))
    for line in bench.table(result):
        typer.echo(line)
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def arena(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Scenario files, or folders of them; our own unless given.")
    ] = None,
    scenario: Annotated[str, typer.Option(help="Of these scenarios only these, with commas between.")] = "",
    peer: Annotated[str, typer.Option(help="Beside whom, with commas between.")] = "nginx,haproxy,envoy",
    without: Annotated[
        str, typer.Option(help="Also Adaptive without each of predict, learn_capacity, hedging, stall_gate, overload.")
    ] = "",
    data_plane: Annotated[str, typer.Option(help="Adaptive's: embedded or envoy.")] = "embedded",
    seed: Annotated[int, typer.Option(help="Of the requests and their work; -1: each scenario's own.")] = -1,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Length of each scenario, to which its schedule is scaled; 0: as it is.")
    ] = 0.0,
    gateways: Annotated[
        int, typer.Option(min=0, max=16, help="Of each kind before its fleet, in turn; 0: as each scenario says.")
    ] = 0,
    out: Out = "text",
    file: File = None,
    threshold: Thresholds = None,
) -> None:
    """Fleets with faults behind Adaptive, nginx, HAProxy and Envoy at once; exit 1 where Adaptive is worse."""
    from adaptive.bench import arena_command as bench

    bench.run(files or [], scenario, peer, without, data_plane, seed, seconds, gateways, out, file, threshold)


@app.command()
def fidelity(
    scenario: Annotated[
        list[Path] | None, typer.Argument(help="Scenario files, or folders of them; two of our own unless given.")
    ] = None,
    policies: Annotated[str, typer.Option(help="With commas between.")] = "least_request,peak_ewma,adaptive",
    from_trace: Annotated[
        str, typer.Option(help="Also record under this policy, and predict the others from that.", metavar="POLICY")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the requests and their work; -1: each scenario's own.")] = -1,
    repeat: Annotated[bool, typer.Option(help="Run everything live twice, to see what life itself varies by.")] = False,
    beside: Annotated[int, typer.Option(min=1, help="Gateways that run at a time.")] = 4,
    folder: Annotated[Path | None, typer.Option(help="Keep the live runs here.")] = None,
    judge: Annotated[bool, typer.Option(help="Run nothing live: judge what an earlier call left in --folder.")] = False,
    file: Annotated[Path | None, typer.Option("--file", "-o", help="Write the rows here, as JSON.")] = None,
) -> None:
    """Scenarios run live and simulated; exit 1 where the simulation did not tell what life would be."""
    import json
    import tempfile

    from adaptive.bench import fidelity as bench
    from adaptive.bench.running import undisturbed
    from replay.scenario import ScenarioError

    if judge and folder is None:
        raise typer.BadParameter("--judge needs --folder")
    names = [name.strip() for name in policies.split(",") if name.strip()]
    with tempfile.TemporaryDirectory(prefix="adaptive-") as scratch:
        place = folder or Path(scratch)
        if not judge:
            try:
                found = bench.scenarios(scenario or bench.OWN)
            except ScenarioError as error:
                typer.echo(str(error), err=True)
                raise typer.Exit(1) from None
            root = seed if seed >= 0 else None
            with undisturbed(_aside):
                _run(bench.live_runs(found, names, root, place, _aside, repeat=repeat, trace=from_trace, beside=beside))
        result = bench.judge(place, _say)
    for line in bench.table(result):
        typer.echo(line)
    if file is not None:
        file.write_text(json.dumps(result.document(), indent=1), encoding="utf-8")
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def causalsim(
    trajectories: Annotated[int, typer.Option(min=32, help="Of 1000 jobs each, 16 policies in turn.")] = 200,
    seed: Annotated[int, typer.Option(help="The whole benchmark is drawn from it.")] = 42,
    drift: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Probability that a server's rate is drawn anew within an hour.")
    ] = 0.0,
    within: Annotated[float, typer.Option(min=0.0, help="Exit 1 where a median error is above this share.")] = 0.1,
) -> None:
    """Predictions of another policy's processing times and latencies, in CausalSim's environment (NSDI'23)."""
    from adaptive.bench import causalsim as bench

    result = bench.measure(trajectories, seed, drift, _aside)
    for line in bench.table(result):
        typer.echo(line)
    if bench.worst(result) > within:
        raise typer.Exit(1)


@app.command()
def simulator(
    fleets: Annotated[str, typer.Option(help="Instances, 100 requests/s each.", metavar="N,N,...")] = "10,50",
    requests: Annotated[int, typer.Option(min=1000, help="Of each run but the compiled loop's.")] = 50_000,
    seed: Annotated[int, typer.Option(help="Of the requests and their work.")] = 1,
) -> None:
    """Simulated requests a second of one core, beside SimPy; exit 1 where it is slower than promised."""
    from adaptive.bench import simulator as bench
    from adaptive.commands import arguments

    speeds = list(bench.measure(arguments.numbers(fleets, int, "--fleets", 2, 1000), requests, seed))
    for line in bench.table(speeds):
        _say(line)
    if all(s.name != bench.SIMPY for s in speeds):
        _aside("SimPy is not installed (pip install simpy): nothing stands beside it")
    if bench.short(speeds):
        raise typer.Exit(1)


@app.command()
def prediction(
    fleets: Annotated[int, typer.Option(min=2, help="Of each forecastable kind; half as many of the others.")] = 8,
    calm: Annotated[int, typer.Option(min=0, help="Large fleets of each kind with nothing wrong; 0: none.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="The first of the held-out seeds.")] = 0,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1: one a core.")] = 1,
) -> None:
    """How well the shipped model foresees failures on held-out fleets; false ejections; what it costs."""
    from adaptive.bench import prediction as bench

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    inference, whole = bench.cost()
    _say(f"CPU per endpoint and tick at {bench.ENDPOINTS} endpoints: {inference:.1f} µs, of the whole tick {whole:.1f}")
    for line in bench.table(bench.episodes(fleets, seed, tell, jobs), seed):
        _say(line)
    if calm:
        for line in bench.false_moves(calm, seed, tell):
            _say(line)


@app.command()
def acting(
    hours: Annotated[float, typer.Option(min=0.1, help="Of simulated time in which the model acts.")] = 24.0,
    rounds: Annotated[int, typer.Option(min=1, help="Trainings, at equal distances.")] = 8,
    scored: Annotated[int, typer.Option(min=1, help="Fleets of each kind that both models are scored on.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="The first of the seeds.")] = 0,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1: one a core. The same comes out.")] = 1,
) -> None:
    """Whether acting on predictions, and learning from what is left to see, spoils them."""
    from adaptive.bench import acting as bench
    from models.fitting import NotFitted

    try:
        for line in bench.measure(hours, rounds, scored, seed, jobs, _aside):
            _say(line)
    except NotFitted as error:
        raise Failure(f"so few fleets cannot teach: {error}") from None


@app.command()
def teach(
    folder: Annotated[Path, typer.Argument(help="Where the version is written.", metavar="FOLDER")],
    fleets: Annotated[int, typer.Option(min=4, help="Of each forecastable kind; others in proportion.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="The first of the seeds.")] = 0,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1: one a core. The same comes out.")] = 1,
    dirty: Annotated[bool, typer.Option("--dirty", help="From a changed checkout too; the manifest says so.")] = False,
) -> None:
    """Train the model that ships, on simulated fleets alone, and write it as a version of the store's form."""
    from adaptive import clock
    from adaptive.bench.checkout import commit
    from models.fitting import NotFitted
    from models.saved import StoreError
    from replay import teaching

    made_from = commit(dirty)
    try:
        found = teaching.gather(fleets, seed, lambda line: typer.echo(line, err=True), jobs)
        pair = teaching.teach(found, seed)
        command = f"adaptive bench teach FOLDER --fleets {fleets} --seed {seed}"
        _say(teaching.keep(pair, found, folder, seed, command, clock.wall(), made_from))
    except (NotFitted, StoreError) as error:
        raise Failure(str(error)) from None


T = TypeVar("T")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a measurement; what keeps it from starting is a line, not a traceback."""
    import uvloop

    from adaptive.bench.running import NotStarted

    try:
        return uvloop.run(work)
    except NotStarted as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _say(line: str) -> None:
    typer.echo(line)


def _aside(line: str) -> None:
    typer.echo(line, err=True)
