"""Fits a scenario to a trace: what each instance was like over time, how sure that is, and what was never seen.

Only outcomes are used: when attempts were sent and ended, where, and how. The fitted scenario can be simulated under
any policy on the recorded arrivals; `draw` gives others that the trace supports about as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from replay.evaluation import spans
from replay.evaluation.attempts import ANSWERED, ERROR, Attempts, Column, EvaluationError, Floats, Seen
from replay.evaluation.hangs import hangs
from replay.evaluation.pooling import STEP, pooled, reference, servers, shapes
from replay.evaluation.queueing import together
from replay.evaluation.services import Served, served
from replay.evaluation.spans import Span
from replay.evaluation.survival import table
from replay.scenario import Clients, Fault, Instance, Load, Rules, Scenario, Service

WIRE = 0.0003  # seconds to an instance and back on a local network; far less than any service time
LEAST_WAITS = 3  # clients that hung up after about the same time tell their time-out
ANSWERED_SHARE = 0.999  # of the answered requests, by which clients did wait as long; the rest may be single oddities
PATIENCE = 2.0  # seconds that clients are taken to wait where none was seen to hang up
DISTINCT = 0.02  # a factor nearer to 1 than this is no fault
WARM = 5.0  # seconds at the beginning that are not judged: the simulation begins with empty queues
WARM_SHARE = 0.125  # but no more than this share of the trace


@dataclass(frozen=True, slots=True)
class Node:
    """One instance as fitted."""

    name: str
    slot: int
    requests: int
    answered: int
    censored: float  # share of attempts that were given up
    level: float  # of log service time when well, and its standard error
    error: float
    factors: tuple[tuple[float, float, float, float], ...]  # (from, to, log factor, standard error)
    shape: int  # whose residuals it uses: -1 the pooled ones
    slots: tuple[tuple[int, ...], tuple[float, ...]]  # numbers of servers with their chances
    shrunk: tuple[tuple[float, float, int], ...]  # (from, to, servers)
    spans: tuple[Span, ...]
    inside: int  # most attempts that were there at once
    served: Served | None

    @property
    def servers(self) -> int:
        """The likeliest number of servers."""
        return self.slots[0][int(np.argmax(self.slots[1]))]


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted cluster. `scenario` is the likeliest one."""

    seen: Seen
    nodes: tuple[Node, ...]
    residuals: dict[int, tuple[Floats, Column]]  # by shape: log residuals, and which are lower bounds
    timeout: float
    warm: float
    rules: Rules
    scenario: Scenario
    notes: tuple[str, ...] = ()


def fit(
    seen: Seen,
    rng: np.random.Generator,
    *,
    timeout: float = 0.0,
    warm: float | None = None,
    rules: Rules | None = None,
    weights: dict[str, float] | None = None,
) -> Fit:
    """Fits what the trace shows. `timeout` and `warm`: as given, or else estimated.

    Raises EvaluationError where nothing was answered, or there is one instance only.
    """
    if not any((one.end == ANSWERED).any() for one in seen.instances):
        raise EvaluationError("no attempt of the trace was answered: nothing is known of how long service takes")
    if len(seen.instances) < 2:
        raise EvaluationError(
            f"the trace has one instance only, {seen.instances[0].name}: every policy would have sent everything there"
        )
    notes: list[str] = []
    parts = [_part(one, seen.seconds, rng) for one in seen.instances]
    known = {i: s for i, (_, s) in enumerate(parts) if s is not None}
    if not known:
        raise EvaluationError("no instance answered often enough to tell its service times from waiting")
    waited, told = patience(seen, timeout)
    notes += told
    nodes, residuals = _nodes(seen, parts, known, notes)
    span = min(WARM, WARM_SHARE * seen.seconds) if warm is None else warm
    made = Fit(seen, nodes, residuals, waited, span, rules or Rules(), Scenario(seen.cluster, ()), tuple(notes))
    return replace(made, scenario=scenario(made, weights=weights))


def scenario(made: Fit, rng: np.random.Generator | None = None, weights: dict[str, float] | None = None) -> Scenario:
    """The fitted scenario; with `rng`, one drawn from what the evidence leaves open (a parametric bootstrap)."""
    given = weights or {}
    tables = {}
    for shape, (residual, bound) in made.residuals.items():
        if rng is not None:
            pick = rng.integers(0, len(residual), len(residual))
            residual, bound = residual[pick], bound[pick]
            if bound.all():
                residual, bound = made.residuals[shape]
        tables[shape] = np.exp(table(residual, bound))
    common = 0.0 if rng is None else float(rng.standard_normal())
    shared = len({node.level for node in made.nodes if node.served}) == 1
    instances = []
    for node in made.nodes:
        if rng is None:
            count, shift = node.servers, 0.0
        else:
            count = int(rng.choice(node.slots[0], p=np.asarray(node.slots[1])))
            shift = node.error * (common if shared else float(rng.standard_normal()))
        quantiles = np.exp(node.level + shift) * tables[node.shape]
        service = Service(float(quantiles.mean()), 0.0, "quantiles", tuple(map(float, quantiles)))
        instances.append(
            Instance(node.name, service, count, weight=given.get(node.name, 1.0), faults=_faults(node, count, rng))
        )
    requests = made.seen.requests
    load = Load(due=requests.due.tolist(), posts=requests.post.tolist(), post_share=float(requests.post.mean()))
    return Scenario(
        f"fitted/{made.seen.cluster}",
        tuple(instances),
        load,
        Clients(timeout=made.timeout),
        made.rules,
        seconds=float(requests.due[-1]) + 1e-6,
        warm=made.warm,
        wire=WIRE,
    )


def _part(one: Attempts, seconds: float, rng: np.random.Generator) -> tuple[list[Span], Served | None]:
    paused = spans.pauses(one)
    hung_spans, hung = hangs(one, seconds)
    found = [*paused, *spans.downs(one, seconds), *spans.errors(one, WIRE, seconds), *hung_spans]
    return found, served(one, hung, paused, WIRE, seconds, rng)


def _nodes(
    seen: Seen, parts: list[tuple[list[Span], Served | None]], known: dict[int, Served], notes: list[str]
) -> tuple[tuple[Node, ...], dict[int, tuple[Floats, Column]]]:
    whose = shapes(known)
    alike = [i for i in known if whose[i] == -1] or list(known)
    residuals = {-1: _joined([known[i] for i in alike])}
    residuals.update({i: _joined([known[i]]) for i in known if whose[i] == i})
    usually = float(np.median([reference(one)[0] for one in known.values()]))
    own = {i: reference(one, usually) for i, one in known.items()}
    means, errors = pooled(np.array([own[i][0] for i in known]), np.array([own[i][1] for i in known]))
    level = dict(zip(known, zip(means.tolist(), errors.tolist(), strict=True), strict=True))
    counts = servers(known)
    typical, doubt = float(np.median(means)), float(np.std(means) + errors.max())
    usual = max(known, key=lambda i: len(known[i].residual))
    nodes = []
    for i, (one, (found, part)) in enumerate(zip(seen.instances, parts, strict=True)):
        if part is None:
            notes.append(f"{one.name} answered too rarely: it is taken to be like the others")
        mean, error = level.get(i, (typical, doubt))
        given_up = ~np.isin(one.end, (ANSWERED, ERROR))
        if any(span.chance < 1.0 for span in found):
            notes.append(
                f"{one.name}: some attempts lost to second copies, and nothing tells whether they would ever have been "
                "answered: taken for a hang, which the intervals doubt"
            )
        nodes.append(
            Node(
                one.name,
                one.slot,
                len(one),
                int((one.end == ANSWERED).sum()),
                float(given_up.mean()),
                mean,
                error,
                _factors(part, own[i], mean) if part else (),
                whose.get(i, -1),
                counts[i if part else usual],
                tuple((s.start, s.end, int(s.value)) for s in part.shrunk) if part else (),
                tuple(found),
                int(together(one.sent, one.done).max(initial=0)) + 1,
                part,
            )
        )
        if part and abs(part.slope) > 4 * part.slope_error and abs(part.slope) * part.inside.max() > 0.1:
            notes.append(
                f"{one.name}: service itself takes {np.expm1(part.slope):+.1%} longer with each attempt in flight, "
                "beyond what its queue explains; the simulation has no such effect"
            )
    return tuple(nodes), residuals


def _joined(parts: list[Served]) -> tuple[Floats, Column]:
    return np.concatenate([p.residual for p in parts]), np.concatenate([p.bound for p in parts])


def _factors(part: Served, own: tuple[float, float], level: float) -> tuple[tuple[float, float, float, float], ...]:
    """The stretches in which the instance was not at its own level."""
    out = []
    for s in part.levels:
        if abs(s.value - own[0]) > STEP * s.error and abs(s.value - level) > DISTINCT:
            out.append((s.start, s.end, s.value - level, s.error))
    return tuple(out)


def _faults(node: Node, count: int, rng: np.random.Generator | None) -> tuple[Fault, ...]:
    def noise(error: float) -> float:
        return 0.0 if rng is None else error * float(rng.standard_normal())

    out = [Fault("slow", a, b, {"factor": float(np.exp(f + noise(e)))}) for a, b, f, e in node.factors]
    out += [Fault("shrink", a, b, {"slots": (c + 0.5) / count}) for a, b, c in node.shrunk if c < count]
    for s in node.spans:
        if rng is not None:
            if s.chance < 1.0 and rng.random() >= s.chance:
                continue
            s = replace(s, start=_drawn(s.starts, s.start, rng), end=_drawn(s.ends, s.end, rng))
        p = float(np.clip(s.p + noise(s.error), 0.0, 1.0))
        if s.kind == "errors":
            out.append(Fault("errors", s.start, s.end, {"p": p, "seconds": s.seconds}))
        elif s.kind == "hang":
            out.append(Fault("hang", s.start, s.end, {"p": p}))
        elif s.kind == "gc":
            length = s.end - s.start
            out.append(
                Fault(
                    "gc", s.start, s.end, {"pause_ms": 1e3 * length, "period": 1.0 + length, "grow": 0.0, "double": 0.0}
                )
            )
        else:
            out.append(Fault(s.kind, s.start, s.end, {}))
    return tuple(out)


def _drawn(quantiles: tuple[float, ...], likeliest: float, rng: np.random.Generator) -> float:
    """A moment of which these are the quantiles; that itself, where there are none."""
    return float(np.interp(rng.random(), spans.PROBABILITIES, quantiles)) if quantiles else likeliest


def patience(seen: Seen, given: float) -> tuple[float, list[str]]:
    """How long clients wait, seconds: as given, or as those did that hung up; and what to say of it.

    Never less than almost all answered ones have waited: a client that was late itself hangs up early.
    """
    if given > 0.0:
        return given, []
    if len(seen.waits) >= LEAST_WAITS:
        answered = seen.requests.latency[~seen.requests.failed]
        return max(float(np.median(seen.waits)), float(np.quantile(answered, ANSWERED_SHARE))), []
    longest = float(seen.requests.latency.max())
    found = max(PATIENCE, longest)
    return found, [f"too few clients hung up to tell how long they wait: {found:.3g} s is assumed (--timeout says it)"]
