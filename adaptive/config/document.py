"""YAML as data with the line of every key and value.

YAML 1.1 reads `no` as false, `1:30` as 90 and `010` as 8. Here only true and false are booleans, only plain decimals
are numbers, and everything else is text, as in YAML 1.2's JSON schema. Duplicate keys and tags are mistakes; anchors,
aliases and merge keys (`<<`) work.

libyaml parses the text into events and this module builds the data from them: libyaml's own composer recurses without a
bound, so that a file of nothing but brackets would end the process. Depth and number of values are bounded here, and an
alias counts as often as it is used.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]

# The schema nests seven deep.
DEPTH = 50
# A hundred thousand endpoints; the bound is against aliases of aliases.
VALUES = 1_000_000

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")  # what fits in 64 bits
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,2})?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_STANDARD = "tag:yaml.org,2002:"


class Fault(NamedTuple):
    """A mistake at a path of the data. `line` counts from 1; 0: the line of the path. `absent`: the last part of the
    path is a key that should be there.
    """

    path: Path
    message: str
    line: int = 0
    absent: bool = False


class Document(NamedTuple):
    """The data of a YAML text, the line (from 1) of every key and item in it, and what is wrong with it as YAML."""

    data: Any
    lines: dict[Path, int]
    faults: list[Fault]


class _Stop(Exception):
    """The text cannot be read any further."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.fault = Fault((), message, line)


def read_document(text: str) -> Document:
    """The one YAML document in a text. What follows a mistake in the syntax is not read; other mistakes only add up."""
    builder = _Builder(text)
    try:
        data = builder.document()
    except _Stop as stop:
        return Document(None, builder.lines, [*builder.faults, stop.fault])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        # Newer LibYAMLs have a bound of their own, far beyond DEPTH, and may reach it while they read ahead.
        deep = "nesting depth" in (error.problem or "")
        told = f"nested more than {DEPTH} deep" if deep else f"not YAML: {reason}"
        fault = Fault((), told, mark.line + 1 if mark else 0)
        return Document(None, builder.lines, [*builder.faults, fault])
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        where = getattr(error, "position", None)
        line = text.count("\n", 0, where) + 1 if isinstance(where, int) else 0
        reason = getattr(error, "reason", None) or str(error)
        return Document(None, builder.lines, [*builder.faults, Fault((), f"not YAML: {reason}", line)])
    return Document(data, builder.lines, builder.faults)


class _Builder:
    """Builds data from events, by recursive descent."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self.faults: list[Fault] = []
        self._text = text
        self._anchors: dict[str, tuple[Path, Any]] = {}
        self._values = 0

    def document(self) -> Any:
        """The data of the whole text."""
        loader = yaml.CSafeLoader(self._text)
        try:
            self._next = loader.get_event
            self._next()  # the stream's start
            if isinstance(self._next(), yaml.StreamEndEvent):
                return None
            first = self._next()
            self.lines[()] = _line(first)
            data = self._value(first, ())
            self._next()  # the document's end
            if not isinstance(more := self._next(), yaml.StreamEndEvent):
                raise _Stop("a second document begins here, and there may be only one", _line(more))
            return data
        finally:
            loader.dispose()

    def _value(self, event: Any, path: Path) -> Any:
        self._count(event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _Stop(f"*{event.anchor} stands for nothing that is complete before this line", _line(event))
            source, data = self._anchors[event.anchor]
            return self._graft(event, data, source, path)
        if len(path) > DEPTH:
            raise _Stop(f"nested more than {DEPTH} deep", _line(event))
        if isinstance(event, yaml.ScalarEvent):
            data = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._untagged(event, path, "seq")
            data = self._sequence(path)
        else:
            self._untagged(event, path, "map")
            data = self._mapping(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = (path, data)
        return data

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            at = (*path, len(items))
            self.lines[at] = _line(event)
            items.append(self._value(event, at))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        merged: list[tuple[Path, Any]] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _Stop("a key must be a word", _line(event))
            self._count(event)
            key, line = event.value, _line(event)
            value = self._next()
            at = (*path, key)
            if key in entries or (key == "<<" and merged):
                first = self.lines[at]
                self.faults.append(Fault(at, f"duplicate key, first on line {first}", line))
                self._value(value, at)  # read for its own mistakes; its lines are those of nothing that is kept
                continue
            self.lines[at] = line
            data = self._value(value, at)
            if key == "<<" and event.implicit[0]:
                merged = [((*at, i), item) for i, item in enumerate(data)] if isinstance(data, list) else [(at, data)]
            else:
                entries[key] = data
        for source, mapping in merged:
            self._merge(source, mapping, entries, path)
        return entries

    def _merge(self, source: Path, mapping: Any, entries: dict[str, Any], path: Path) -> None:
        """Adds what a merged mapping has and the mapping itself has not."""
        if not isinstance(mapping, dict):
            self.faults.append(Fault(source, "only mappings can be merged"))
            return
        for key, value in mapping.items():
            if key not in entries:
                self.lines[(*path, key)] = self.lines[(*source, key)]
                entries[key] = self._graft(None, value, (*source, key), (*path, key))

    def _graft(self, event: Any, data: Any, source: Path, path: Path) -> Any:
        """A copy of data at another path, with the lines where it really stands."""
        self._count(event)
        if isinstance(data, dict):
            items: Any = data.items()
        elif isinstance(data, list):
            items = enumerate(data)
        else:
            return data
        copies = []
        for key, value in items:
            self.lines[(*path, key)] = self.lines[(*source, key)]
            copies.append((key, self._graft(event, value, (*source, key), (*path, key))))
        return dict(copies) if isinstance(data, dict) else [value for _, value in copies]

    def _scalar(self, event: Any, path: Path) -> Any:
        text: str = event.value
        if event.tag not in (None, "!", _STANDARD + "str"):
            self.faults.append(Fault(path, f"tags such as {_tag(event)} have no meaning here"))
            return text
        if not event.implicit[0] or event.tag is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _untagged(self, event: Any, path: Path, kind: str) -> None:
        if event.tag not in (None, "!", _STANDARD + kind):
            self.faults.append(Fault(path, f"tags such as {_tag(event)} have no meaning here"))

    def _count(self, event: Any) -> None:
        self._values += 1
        if self._values > VALUES:
            raise _Stop(f"more than {VALUES} values", _line(event) if event is not None else 0)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _tag(event: Any) -> str:
    return str(event.tag).replace(_STANDARD, "!!")
