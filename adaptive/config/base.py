"""What all parts of the configuration share: frozen models that refuse unknown keys, and strict kinds of value."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


class Part(BaseModel):
    """A mapping of the configuration. Attributes cannot be set again; messages never quote the input, for it may be
    secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    # Keys that the YAML may have beside the fields: short forms, turned into fields before validation.
    short_keys: ClassVar[tuple[str, ...]] = ()


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e]*")


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    return name.lower()


def _header_value(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError("a header value holds printable ASCII only")
    return value.strip(" \t")


def _method(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{value!r} is not a method")
    return value.upper()


def one_or_many(value: Any) -> Any:
    """A list, where a single value may stand for a list of one."""
    return [value] if isinstance(value, (str, int, dict)) else value


# Names become labels of metrics and keys of slots ("cluster|host:port"), so they are short and plain.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Positive = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Number = Annotated[float, Field(strict=True, ge=0)]
Filename = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]+$")]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
Method = Annotated[str, AfterValidator(_method)]
Methods = Annotated[tuple[Method, ...], BeforeValidator(one_or_many)]
