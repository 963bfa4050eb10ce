"""What validation found, in the words of whoever wrote the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from adaptive.config.base import NAME, Part
from adaptive.config.document import Fault
from adaptive.config.suggest import suggestion

_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda _: "must be true or false",
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "string_type": lambda _: "must be text",
    "string_too_short": lambda _: "must not be empty",
    "model_type": lambda _: "must be a mapping (key: value)",
    "dict_type": lambda _: "must be a mapping (key: value)",
    "tuple_type": lambda _: "must be a list",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "greater_than": lambda context: f"must be more than {context['gt']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "less_than": lambda context: f"must be less than {context['lt']:g}",
    "too_short": lambda _: "must have at least one entry",
    "too_long": lambda context: f"must have at most {context['max_length']} entries",
}


def merged(error: ValidationError | None, faults: Iterable[Fault], root: type[BaseModel]) -> ValidationError | None:
    """All mistakes as one exception with the wording of this module; None where there are none."""
    found = error.errors(include_url=False) if error else []
    above = {each["loc"][:end] for each in found for end in range(len(each["loc"]))}
    # Of a list without one valid item validation says that it is too short, too.
    told = (each for each in found if each["type"] != "too_short" or each["loc"] not in above)
    details = [_detail(each["type"], each["loc"], describe(each, root)) for each in told]
    details += [_detail("contradiction", fault.path, fault.message) for fault in faults]
    return ValidationError.from_exception_data(root.__name__, details, hide_input=True) if details else None


def _detail(kind: str, path: tuple[str | int, ...], message: str) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(kind, "{text}", {"text": message}), loc=path, input=None)


def describe(error: ErrorDetails, root: type[BaseModel]) -> str:
    """One mistake in words. Input is never quoted here: it may be secret."""
    kind, path, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind == "missing":
        return "this key is required"
    if kind == "extra_forbidden":
        known = keys_at(root, path[:-1])
        return "unknown key" + (suggestion(str(path[-1]), known) or f"; known here: {', '.join(known)}")
    if kind == "literal_error":
        return f"must be one of {context['expected']}" + suggestion(str(error["input"]), _words(context["expected"]))
    if kind == "string_pattern_mismatch":
        if context["pattern"] == NAME:
            return "a name has up to 64 letters, digits, dots, dashes and underscores, first a letter or digit"
        return f"must match {context['pattern']}"
    text = _WORDS[kind](context) if kind in _WORDS else error["msg"]
    if error["input"] is None:
        return f"is empty, and {text}"
    if kind == "string_type" and isinstance(error["input"], (bool, int, float)):
        return f"{text}: write it in quotes"
    return text


def _words(expected: str) -> list[str]:
    return [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]


def keys_at(root: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """The keys that the mapping at this path may have, those of short forms too."""
    current: Any = root
    for part in path:
        current = _inner(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            # Of tuple[X, ...] the items are X, of dict[str, X] the values.
            kinds = get_args(current)
            current = None if not kinds else kinds[1] if get_origin(current) is dict else kinds[0]
    current = _inner(current)
    if not (isinstance(current, type) and issubclass(current, Part)):
        return []
    return [*current.model_fields, *(key for key in current.short_keys if key not in current.model_fields)]


def _inner(kind: Any) -> Any:
    """The kind itself, without None and annotations."""
    while get_origin(kind) in (Union, UnionType) or hasattr(kind, "__metadata__"):
        kind = next((arg for arg in get_args(kind) if arg is not type(None)), None)
    return kind
