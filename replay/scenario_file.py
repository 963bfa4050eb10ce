"""Scenarios as files: JSON (or YAML) to a Scenario and back, with every mistake named by its place.

Two forms are read, and may be mixed: Scenario's own fields, nested as they are there; and the flat one of a plain
fleet, with `rate`, `rate_steps`, `post_share`, `timeout_s`, `warm_s` at the top, and `port`, `mean_ms`, `sigma` in each
instance. What is written is the first. `deadline_s` of the flat form is kept among the notes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from adaptive.config.document import read_document
from replay.reading import Reader, place_of
from replay.scenario import FAULTS, Clients, Fault, Instance, Load, Rules, Scenario, ScenarioError, Service

HOST = "127.0.0.1"  # of an instance that has a port alone
USUAL, SERVICE = Scenario("", ()), Service()  # the defaults
KINDS_OF_SERVICE = ("lognormal", "exponential", "normal", "constant", "quantiles")
# Keys of the flat form, and where they go.
FLAT = {
    "rate": "load.rates",
    "rate_steps": "load.rates",
    "post_share": "load.post_share",
    "timeout_s": "clients.timeout",
    "warm_s": "warm",
    "deadline_s": "notes.deadline_s",
}
TOP = (
    "name", "seed", "seconds", "warm", "gateways", "workers", "stalls", "wire", "load", "clients", "rules", "instances",
    "notes", *FLAT,
)  # fmt: skip
FLAT_INSTANCE = {"port": "name", "host": "name", "mean_ms": "service", "sigma": "service"}
INSTANCE = ("name", "service", "slots", "backlog", "weight", "zone", "priority", "faults", *FLAT_INSTANCE)
# What each parameter of a fault may be: (least, most, whether the least itself is excluded).
_RANGES: Mapping[str, tuple[float, float, bool]] = {
    "factor": (0.0, 1e4, True),
    "tau": (0.0, 1e6, True),
    "p": (0.0, 1.0, False),
    "seconds": (0.0, 1e6, False),
    "pause_ms": (0.0, 1e9, False),
    "period": (0.0, 1e6, True),
    "grow": (0.0, 1.0, False),
    "double": (0.0, 1e6, False),
    "slots": (0.0, 1.0, True),
    "low": (0.0, 1e6, True),
    "high": (0.0, 1e6, True),
    "ms": (0.0, 1e7, False),
    "rto_ms": (0.0, 1e7, False),
    "gateway": (-1.0, 255.0, False),
}


def load(path: Path | str) -> Scenario:
    """The scenario in a file. ScenarioError where it cannot be used; OSError where it cannot be read."""
    where = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{where}: not UTF-8 text, at byte {error.start}") from None
    if where.endswith((".yaml", ".yml")):
        document = read_document(text)
        if document.faults:
            raise ScenarioError("\n".join(f"{where}:{f.line or 1}: {f.message}" for f in document.faults))
        return of(document.data, where)
    return of(_json(text, where), where)


def of(document: Any, where: str) -> Scenario:
    """The scenario that a document describes; `where` names it in messages. ScenarioError tells all its mistakes."""
    reader = Reader(where)
    top = reader.mapping(document, "", TOP)
    if not isinstance(document, Mapping):
        raise ScenarioError("\n".join(reader.faults))
    scenario = Scenario(
        name=reader.text(top, "", "name", Path(where).stem or "unnamed"),
        instances=_instances(reader, top),
        load=_load(reader, top),
        clients=_clients(reader, top),
        rules=_rules(reader, top),
        seconds=reader.number(top, "", "seconds", USUAL.seconds, above=0.0),
        warm=reader.number(top, "", reader.either(top, "", "warm", "warm_s"), USUAL.warm, least=0.0),
        seed=reader.whole(top, "", "seed", 0, least=0),
        gateways=reader.whole(top, "", "gateways", 1, least=1, most=255),
        workers=reader.whole(top, "", "workers", 1, least=1, most=255),
        stalls=_stalls(reader, top),
        wire=reader.number(top, "", "wire", USUAL.wire, least=0.0),
        notes=_notes(reader, top),
    )
    if not reader.faults:
        _contradictions(reader, scenario)
    if not reader.faults and isinstance(top.get("load"), Mapping) and "shape" in top["load"]:
        from replay.shapes import asked_for

        scenario = asked_for(reader, scenario, top["load"]["shape"])
    if reader.faults:
        raise ScenarioError("\n".join(reader.faults))
    return scenario


def checked(scenario: Scenario) -> Scenario:
    """The same scenario, if a file could hold it; else ScenarioError: what code has made is judged as files are."""
    return of(to_json(scenario), scenario.name)


def plain_rules(rules: Rules) -> dict[str, Any]:
    """A gateway's rules as JSON has them."""
    return {**asdict(rules), "retry_statuses": sorted(rules.retry_statuses)}


def to_json(scenario: Scenario) -> dict[str, Any]:
    """Plain values of which `of` makes the same scenario again."""
    document = asdict(replace(scenario, notes={}, instances=()))
    document["instances"] = [_instance_json(instance) for instance in scenario.instances]
    document["notes"] = dict(scenario.notes)
    document["rules"] = plain_rules(scenario.rules)
    load = document["load"]
    for key in ("burst", "due", "posts"):
        if load[key] is None:
            del load[key]
    for key, convert in (("due", float), ("posts", bool)):
        if key in load:
            load[key] = [convert(value) for value in load[key]]
    plain: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    return plain


def _instance_json(instance: Instance) -> dict[str, Any]:
    made = asdict(replace(instance, faults=()))
    if not instance.service.table:
        del made["service"]["table"]
    made["faults"] = [{"kind": f.kind, "from": f.start, "to": f.end, **f.values} for f in instance.faults]
    return made


def _json(text: str, where: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) < len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ScenarioError(f"{where}: the key {twice!r} stands twice in one object")
        return made

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise ScenarioError(f"{where}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ScenarioError(f"{where}: nested too deep") from None
    except ScenarioError:
        raise
    except ValueError as error:  # a number of more digits than Python turns into one
        raise ScenarioError(f"{where}: not JSON: {error}") from None


# The parts. Each returns a default where something is wrong; the reader keeps what.


def _instances(reader: Reader, top: Mapping[str, Any]) -> tuple[Instance, ...]:
    items = reader.items(top, "", "instances")
    if not items and "instances" not in reader.wrong_places:
        reader.wrong("instances", "at least one instance is needed")
    made = tuple(_instance(reader, item, f"instances[{i}]") for i, item in enumerate(items))
    first: dict[str, int] = {}
    for i, instance in enumerate(made):
        if first.setdefault(instance.name, i) != i:
            reader.wrong(
                f"instances[{i}]", f"{instance.name!r} is the name of instances[{first[instance.name]}] already"
            )
    return made


def _instance(reader: Reader, item: Any, place: str) -> Instance:
    values = reader.mapping(item, place, INSTANCE)
    name = f"?{place}"
    if reader.either(values, place, "name", "port") == "port":
        port = reader.whole(values, place, "port", 0, least=1, most=65535)
        host = reader.text(values, place, "host", HOST)
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    elif values or not isinstance(item, Mapping):
        name = reader.text(values, place, "name", name, needed=isinstance(item, Mapping))
    else:
        reader.wrong(place, "an instance needs a name, or a port")
    faults = reader.items(values, place, "faults")
    return Instance(
        name=name,
        service=_service(reader, values, place),
        slots=reader.whole(values, place, "slots", 6, least=1),
        backlog=reader.whole(values, place, "backlog", 1024, least=0),
        weight=reader.number(values, place, "weight", 1.0, least=0.01, most=1000.0),
        zone=reader.text(values, place, "zone", "", empty=True),
        priority=reader.whole(values, place, "priority", 0, least=0, most=127),
        faults=tuple(_fault(reader, fault, f"{place}.faults[{i}]") for i, fault in enumerate(faults)),
    )


def _service(reader: Reader, values: Mapping[str, Any], place: str) -> Service:
    if "service" not in values:
        return Service(
            reader.number(values, place, "mean_ms", 40.0, above=0.0) / 1e3,
            reader.number(values, place, "sigma", SERVICE.spread, least=0.0, most=5.0),
        )
    for key in ("mean_ms", "sigma"):
        if key in values:
            reader.wrong(place_of(place, key), "the instance has a service already")
    inner = place_of(place, "service")
    given = reader.mapping(values["service"], inner, ("mean", "spread", "kind", "table"))
    kind = reader.choice(given, inner, "kind", "lognormal", KINDS_OF_SERVICE)
    table = reader.numbers(given, inner, "table", least=0.0)
    if kind == "quantiles" and len(table) < 2:
        reader.wrong(place_of(inner, "table"), f"a service of quantiles needs two or more of them, not {len(table)}")
    if kind != "quantiles" and table:
        reader.wrong(place_of(inner, "table"), f"a table belongs to the kind quantiles, not to {kind}")
    if list(table) != sorted(table):
        reader.wrong(place_of(inner, "table"), "quantiles must ascend")
    return Service(
        reader.number(given, inner, "mean", SERVICE.mean, above=0.0),
        reader.number(given, inner, "spread", SERVICE.spread, least=0.0, most=5.0),
        kind,
        table,
    )


def _fault(reader: Reader, item: Any, place: str) -> Fault:
    kind = reader.choice(item, place, "kind", None, tuple(FAULTS)) if isinstance(item, Mapping) else ""
    if kind not in FAULTS:
        if not isinstance(item, Mapping):
            reader.mapping(item, place, ())
        return Fault("down", 0.0, 1.0, {})
    required, optional = FAULTS[kind]
    given = reader.mapping(item, place, ("kind", "from", "to", *sorted(required), *optional))
    start = reader.number(given, place, "from", None, least=0.0)
    end = reader.number(given, place, "to", None)
    if not reader.wrong_in(place) and end <= start:
        reader.wrong(place_of(place, "to"), f"{end:g} is not after from, {start:g}")
    values: dict[str, float] = {}
    for key, default in [*((key, None) for key in sorted(required)), *optional.items()]:
        least, most, excluded = _RANGES[key]
        bounds = {"above" if excluded else "least": least, "most": most}
        values[key] = reader.number(given, place, key, default, flag=key == "grow", **bounds)
    if not reader.wrong_in(place):
        if "gateway" in values and values["gateway"] != int(values["gateway"]):
            reader.wrong(place_of(place, "gateway"), f"{values['gateway']:g} is not a whole number")
        if kind == "bursts" and values["high"] < values["low"]:
            reader.wrong(place_of(place, "high"), f"{values['high']:g} is below low, {values['low']:g}")
        if (
            kind == "gc"
            and not values["double"]
            and values["pause_ms"] / 1e3 >= values["period"]
            and end - start > (values["period"])
        ):
            reader.wrong(
                place_of(place, "pause_ms"),
                f"a pause of {values['pause_ms']:g} ms in each {values['period']:g} s leaves no time to work",
            )
    return Fault(kind, start, end, values)


def _load(reader: Reader, top: Mapping[str, Any]) -> Load:
    given = reader.mapping(top["load"], "load", (*asdict(USUAL.load), "shape")) if "load" in top else {}
    for flat, inner in (("rate", "rates"), ("rate_steps", "rates"), ("post_share", "post_share")):
        if flat in top and inner in given:
            reader.wrong(flat, f"load.{inner} says this already")
    if "rate_steps" in top:  # beside it, `rate` only says what is usual
        rates = reader.steps(top, "", "rate_steps", USUAL.load.rates, least=0.0)
        reader.number(top, "", "rate", 1.0, above=0.0)
    elif "rate" in top:
        rates = ((0.0, reader.number(top, "", "rate", 1000.0, above=0.0)),)
    else:
        rates = reader.steps(given, "load", "rates", USUAL.load.rates, least=0.0)
    holder, place = (top, "") if "post_share" in top else (given, "load")
    burst = reader.numbers(given, "load", "burst", above=0.0)
    if burst and len(burst) != 3:
        reader.wrong("load.burst", f"three numbers are wanted (factor, seconds on, each so many), not {len(burst)}")
    elif burst and burst[1] > burst[2]:
        reader.wrong("load.burst", f"{burst[1]:g} seconds do not fit in each {burst[2]:g}")
    due = reader.numbers(given, "load", "due", least=0.0) if "due" in given else None
    posts = reader.flags(given, "load", "posts") if "posts" in given else None
    for i, (before, after) in enumerate(pairwise(due or ())):
        if after < before:
            reader.wrong(f"load.due[{i + 1}]", f"{after:g} is before {before:g}: arrivals must ascend")
            break
    if posts is not None and (due is None or len(posts) != len(due)):
        reader.wrong("load.posts", f"{len(posts)} values for {len(due or ())} arrivals in load.due")
    if "shape" in given and (due is not None or burst):
        reader.wrong("load.shape", "load.due or load.burst says already how requests come")
    return Load(
        rates=rates,
        post_share=reader.number(holder, place, "post_share", USUAL.load.post_share, least=0.0, most=1.0),
        burst=(burst[0], burst[1], burst[2]) if len(burst) == 3 else None,
        work=reader.steps(given, "load", "work", USUAL.load.work, above=0.0),
        due=due,
        posts=posts,
    )


def _clients(reader: Reader, top: Mapping[str, Any]) -> Clients:
    given = reader.mapping(top["clients"], "clients", tuple(asdict(USUAL.clients))) if "clients" in top else {}
    if "timeout_s" in top and "timeout" in given:
        reader.wrong("timeout_s", "clients.timeout says this already")
    holder, place, key = (top, "", "timeout_s") if "timeout_s" in top else (given, "clients", "timeout")
    made = Clients(
        timeout=reader.number(holder, place, key, USUAL.clients.timeout, above=0.0),
        retries=reader.whole(given, "clients", "retries", 0, least=0, most=100),
        backoff=reader.number(given, "clients", "backoff", 0.0, least=0.0),
        attempt_timeout=reader.number(given, "clients", "attempt_timeout", 0.0, least=0.0),
    )
    if made.attempt_timeout > made.timeout:
        reader.wrong(
            "clients.attempt_timeout", f"{made.attempt_timeout:g} is longer than the whole, {made.timeout:g} s"
        )
    return made


def _rules(reader: Reader, top: Mapping[str, Any]) -> Rules:
    given = reader.mapping(top["rules"], "rules", tuple(asdict(USUAL.rules))) if "rules" in top else {}
    usual = USUAL.rules
    statuses = reader.items(given, "rules", "retry_statuses") if "retry_statuses" in given else ()
    for i, status in enumerate(statuses):
        if not isinstance(status, int) or isinstance(status, bool) or not 400 <= status <= 599:
            reader.wrong(f"rules.retry_statuses[{i}]", f"{status!r} is not a status from 400 to 599")
    budget = reader.numbers(given, "rules", "budget", least=0.0) or usual.budget
    if len(budget) != 3 or budget[0] > 1.0 or budget[2] <= 0.0:
        reader.wrong("rules.budget", f"{list(budget)} is not (ratio from 0 to 1, minimum a second, a window above 0 s)")
        budget = usual.budget
    made = Rules(
        route_timeout=reader.number(given, "rules", "route_timeout", usual.route_timeout, least=0.0),
        retries=reader.whole(given, "rules", "retries", usual.retries, least=0, most=10),
        retry_statuses=frozenset(s for s in statuses if isinstance(s, int))
        if "retry_statuses" in given
        else usual.retry_statuses,
        attempt_timeout=reader.number(given, "rules", "attempt_timeout", usual.attempt_timeout, least=0.0),
        connect_timeout=reader.number(given, "rules", "connect_timeout", usual.connect_timeout, above=0.0),
        budget=(budget[0], budget[1], budget[2]),
        request_limit=reader.whole(given, "rules", "request_limit", 0, least=0),
        check_interval=reader.number(given, "rules", "check_interval", usual.check_interval, least=0.0),
        check_timeout=reader.number(given, "rules", "check_timeout", usual.check_timeout, above=0.0),
    )
    if 0.0 < made.route_timeout < made.attempt_timeout:
        reader.wrong(
            "rules.attempt_timeout", f"{made.attempt_timeout:g} is longer than the whole, {made.route_timeout:g} s"
        )
    return made


def _stalls(reader: Reader, top: Mapping[str, Any]) -> tuple[tuple[int, float, float], ...]:
    made = []
    for i, item in enumerate(reader.items(top, "", "stalls")):
        row = reader.numbers({"": item}, f"stalls[{i}]", "", least=0.0)
        if len(row) != 3 or row[0] != int(row[0]) or row[2] <= 0.0:
            reader.wrong(f"stalls[{i}]", f"{item!r} is not (gateway, at second, for seconds)")
        else:
            made.append((int(row[0]), row[1], row[2]))
    return tuple(made)


def _notes(reader: Reader, top: Mapping[str, Any]) -> dict[str, Any]:
    notes = top.get("notes", {})
    if not isinstance(notes, Mapping):
        reader.wrong("notes", f"an object is wanted, not {notes!r}")
        return {}
    deadline = {"deadline_s": reader.number(top, "", "deadline_s", 0.0, above=0.0)} if "deadline_s" in top else {}
    return {**notes, **deadline}


def _contradictions(reader: Reader, scenario: Scenario) -> None:
    """What is right part by part, and cannot be true together."""
    if scenario.seconds <= scenario.warm:
        reader.wrong("seconds", f"{scenario.seconds:g} is not after warm, {scenario.warm:g}: nothing would be judged")
    for i, (gateway, at, _) in enumerate(scenario.stalls):
        if gateway >= scenario.gateways:
            reader.wrong(f"stalls[{i}]", f"there is no gateway {gateway}: {scenario.gateways} of them count from 0")
        if at >= scenario.seconds:
            reader.wrong(f"stalls[{i}]", f"at {at:g} the scenario is over, after {scenario.seconds:g} s")
    for i, instance in enumerate(scenario.instances):
        for j, fault in enumerate(instance.faults):
            gateway = int(fault.values.get("gateway", -1.0))
            if gateway >= scenario.gateways:
                reader.wrong(
                    f"instances[{i}].faults[{j}].gateway",
                    f"there is no gateway {gateway}: {scenario.gateways} of them count from 0",
                )
