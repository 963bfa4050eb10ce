"""`adaptive replay`: recorded requests sent again to a live target, and what came back beside what was recorded."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptive.commands.reporting import File, Out, Thresholds, command, finish, read_thresholds, ready
from adaptive.failure import Failure

if TYPE_CHECKING:
    from adaptive.player.sender import Sender
    from replay.player.plan import Filter, Plan
    from replay.trace import Trace

INTERRUPTED = 130
TERMINAL, PIPE = 1.0, 10.0  # seconds between two lines of progress
HEADERS = "'Name: value' sets a header, 'Name:' takes one away."


def replay(
    trace: Annotated[list[Path], typer.Argument(help="Recordings: files, or directories of them.", metavar="TRACE...")],
    target: Annotated[str, typer.Option(help="Where to: an origin on this machine.", metavar="URL")],
    allow: Annotated[
        list[str] | None, typer.Option(help="Another target that is meant.", metavar="HOST[:PORT]")
    ] = None,
    speed: Annotated[str, typer.Option(help="Of the recorded moments.", metavar="PERCENT")] = "100%",
    rate: Annotated[float, typer.Option(min=0.0, max=1e6, help="Mean requests a second, instead of a speed.")] = 0.0,
    loop: Annotated[int, typer.Option(min=1, max=1000, help="So many times.")] = 1,
    max_wait: Annotated[str, typer.Option(help="No longer pause than this, such as 2s.", metavar="DURATION")] = "",
    method: Annotated[str, typer.Option(help="Only these: GET,POST, or repeatable, other.", metavar="A,B,...")] = "",
    route: Annotated[str, typer.Option(help="Only these routes.", metavar="A,B,...")] = "",
    cluster: Annotated[str, typer.Option(help="Only these clusters.", metavar="A,B,...")] = "",
    status: Annotated[str, typer.Option(help="Only recorded statuses: 200,5xx, 0: none.", metavar="A,B,...")] = "",
    share: Annotated[str, typer.Option(help="Of the requests, drawn by --seed.", metavar="PERCENT")] = "100%",
    seed: Annotated[int, typer.Option(min=0, help="Of the share, and of the intervals.")] = 0,
    path: Annotated[str, typer.Option(help="Where the trace knows none; {route}, {cluster}, {number}.")] = "/",
    header: Annotated[list[str] | None, typer.Option(help=HEADERS, metavar="HEADER")] = None,
    timeout: Annotated[str, typer.Option(help="How long an answer is waited for.", metavar="DURATION")] = "10s",
    outstanding: Annotated[int, typer.Option(min=1, max=60000, help="Most requests under way.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; touch no network.")] = False,
    out: Out = "text",
    file: File = None,
    threshold: Thresholds = None,
) -> None:
    """Send recorded requests again, each when it is due, whatever became of those before.

    Latencies count from when a request was due. Recordings hold no paths and no bodies: --path says what is asked for
    (imported logs know it), and bodies are of the recorded size. Ctrl-C ends it with a partial report, exit code 130.
    """
    from replay.player import message, plan
    from replay.player import target as targets
    from replay.trace import TraceError, read

    promises = read_thresholds(threshold, ("replayed", "recorded"))
    faster, part = _percent(speed, "--speed", 1e6), _percent(share, "--share", 1.0)
    if rate and speed != "100%":
        raise typer.BadParameter("is a mean rate, which sets the speed: give one of the two", param_hint="--rate")
    waits, patience = _duration(max_wait or "366d", "--max-wait"), _duration(timeout, "--timeout")
    ready(file)
    try:
        where = targets.target(target, allow or ())
        shape = message.shape(where.authority, header or (), path)
        recording = read(trace, on_warning=_say)
        chosen = plan.chosen(plan.recorded(recording), _filter(method, route, cluster, status, part), seed)
        made = plan.plan(chosen, faster, rate, loop, waits)
    except (targets.TargetError, message.MessageError) as error:
        raise Failure(str(error)) from None
    except TraceError as error:
        raise Failure(str(error)) from None
    except plan.PlanError as error:
        raise Failure(f"{', '.join(map(str, trace))}: {error}") from None
    for line in plan.summary(made):
        typer.echo(line, err=not dry_run)
    if dry_run:
        return
    from adaptive.player.sender import Sender

    sender = Sender(made, shape, where, patience, outstanding)
    _run(sender)
    _finish(sender, recording, made, seed, out, file, promises)


def _finish(
    sender: Sender, recording: Trace, made: Plan, seed: int, out: Any, file: Path | None, promises: list[Any]
) -> None:
    from replay.player.verdict import verdict

    partial = recording.partial
    if sender.stopped:
        partial = f"stopped by hand after {sender.sent:,} of {len(made.due):,} requests" + (
            f"; {partial}" if partial else ""
        )
    title = f"{len(made.due):,} recorded requests sent to {sender.target.authority}"
    found = verdict(made, sender.result(), sender.timeout, title=title, command=command(), seed=seed, partial=partial)
    found["hashes"] = {
        "trace": hashlib.sha256(recording.rows.tobytes()).hexdigest(),
        "config": str(recording.header.config_hash),
    }
    found["facts"].append(
        f"connections opened: {sender.opened:,}; sent again on a new one, the old having closed: {sender.again:,}"
    )
    try:
        finish(found, out, file, promises)
    finally:
        if sender.stopped:
            raise typer.Exit(INTERRUPTED)


def _run(sender: Sender) -> None:
    """The event loop's whole life. Raises Failure where the target cannot be found."""
    import asyncio
    import resource
    import signal

    import uvloop

    from replay.player.target import TargetError

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * sender.most + 100
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    terminal = sys.stderr.isatty()

    def progress(now: Sender) -> None:
        left = max(0.0, now.plan.seconds - (_clock() - now.zero))
        text = (
            f"{now.sent:,} of {len(now.plan.due):,} sent, {len(now.under_way):,} under way, {now.failures:,} failed, "
            f"{left:.0f} s left"
        )
        typer.echo(f"\r\x1b[K{text}" if terminal else text, err=True, nl=not terminal)

    async def whole() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, sender.stop)
        await sender.run(progress, TERMINAL if terminal else PIPE)

    try:
        uvloop.run(whole())
    except TargetError as error:
        raise Failure(str(error)) from None
    finally:
        if terminal:
            typer.echo("\r\x1b[K", err=True, nl=False)


def _clock() -> float:
    from adaptive import clock

    return clock.monotonic()


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _filter(method: str, route: str, cluster: str, status: str, share: float) -> Filter:
    from replay.player.plan import Filter

    return Filter(_words(method), _words(route), _words(cluster), _words(status), share)


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (word.strip() for word in text.split(","))))


def _percent(text: str, option: str, most: float) -> float:
    """200% is 2; so is 2. Wrong usage where it is neither, or out of (0, most]."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100.0 if text.strip().endswith("%") else 1.0)
    except ValueError:
        value = float("nan")
    if not 0.0 < value <= most:
        limit = "" if most > 1.0 else " and at most 100%"
        raise typer.BadParameter(f"{text!r} must be a number above 0{limit}, such as 50%", param_hint=option)
    return value


def _duration(text: str, option: str) -> float:
    from adaptive.config.units import read_duration

    try:
        value = read_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    if value <= 0.0:
        raise typer.BadParameter(f"{text!r} must be more than 0", param_hint=option)
    return value
