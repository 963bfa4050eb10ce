"""`adaptive import`: a trace out of another system's log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from adaptive.commands.reporting import ready
from adaptive.failure import Failure

Format = Literal[
    "nginx", "envoy", "haproxy", "apache", "gor", "har", "prometheus", "csv", "counts", "nezha", "mooncake", "nginxplus"
]


def import_log(
    name: Annotated[Format, typer.Argument(help="What wrote the files.", metavar="FORMAT")],
    files: Annotated[list[Path], typer.Argument(help="Logs; .gz is unpacked.", metavar="IN...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The trace to write.", metavar="OUT")],
    log_format: Annotated[str, typer.Option(help="nginx: its own log_format, the string or the directive.")] = "",
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="csv: what a column is.", metavar="COLUMN=FIELD")
    ] = None,
    cluster: Annotated[
        str, typer.Option(help="The cluster's name, where the log says none or another is wanted.")
    ] = "",
    since: Annotated[str, typer.Option("--from", help="Only what was sent from then on.", metavar="TIME")] = "",
    until: Annotated[str, typer.Option("--to", help="Only what was sent before then.", metavar="TIME")] = "",
    rates: Annotated[bool, typer.Option(help="prometheus: values are requests a second, not counters.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals that are drawn from counts.")] = 0,
) -> None:
    """Make a trace of another system's log.

    FORMAT is nginx, envoy (text or JSON), haproxy (httplog), apache (combined), gor (GoReplay), har, prometheus (the
    answer of query_range), csv (with --map), counts (period,count), nezha, mooncake or nginxplus. Lines that cannot be
    used are counted, the first of them shown, and all kept in OUT.rejected; if none can be used, the exit code is 1.
    """
    from replay.importers.base import ImportFailed, Options, Unusable, moment
    from replay.importers.importing import run
    from replay.trace import TraceError

    ready(out)
    columns = []
    for part in mapping or []:
        column, _, field = part.rpartition("=")
        if not column or not field:
            raise Failure(f"--map {part!r} is not COLUMN=FIELD")
        columns.append((column, field))
    try:
        window = (
            moment(since, "--from") if since else float("-inf"),
            moment(until, "--to") if until else float("inf"),
        )
        options = Options(cluster, log_format, tuple(columns), rates, seed, window)
        report = run(name, files, out, options, _say)
    except (ImportFailed, TraceError, Unusable) as error:
        raise Failure(str(error)) from None
    rows, header = report.trace.rows, report.trace.header
    if report.bad:
        _say(f"{report.bad} of {report.total} {report.unit}s could not be used; they are in {report.rejected}")
    length = float(rows["sent_at"].max() - rows["sent_at"].min())
    _say(
        f"{out}: {report.requests} requests, {len(rows)} attempts at {len(header.endpoints)} endpoints of "
        f"{len(header.clusters)} clusters, {length:.1f} s"
        + ("; arrivals only" if report.trace.arrivals_only else "")
        + (f"; partial: {report.trace.partial}" if report.trace.partial else "")
    )


def _say(text: str) -> None:
    typer.echo(text, err=True)
