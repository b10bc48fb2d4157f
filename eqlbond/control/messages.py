"""The values of the protocol: requests, answers, and how events and statistics are written in JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import attrs

from eqlbond.control.errors import RequestRefused
from eqlbond.control.version import VERSION
from eqlbond.events import Event


@attrs.frozen
class Request:
    """One request."""

    id: str | int | None
    do: str
    arguments: Mapping[str, Any]


def parse(line: bytes) -> Request:
    """A line as a request.

    Raises:
        RequestRefused: it is none; the message says what a request looks like.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestRefused("BadRequest", 'a request is one line of JSON: {"v": 1, "id": 1, "do": "status"}') from None
    if not isinstance(value, dict):
        raise RequestRefused("BadRequest", f"a request is an object, not {type(value).__name__}")
    arguments = dict(value)
    version, identifier, do = (arguments.pop(key, None) for key in ("v", "id", "do"))
    if isinstance(identifier, bool) or not isinstance(identifier, str | int | None):
        raise RequestRefused("BadRequest", "id is a text or a whole number")
    if version != VERSION or isinstance(version, bool):
        raise _Refused(identifier, "BadVersion", f"this is version {VERSION} of the protocol: v must be {VERSION}")
    if not isinstance(do, str):
        raise _Refused(identifier, "BadRequest", "do names what is to be done")
    return Request(identifier, do, arguments)


class _Refused(RequestRefused):
    """A request that is refused and has an id."""

    def __init__(self, identifier: str | int | None, kind: str, problem: str) -> None:
        super().__init__(kind, problem)
        self.identifier = identifier


def answer(identifier: str | int | None, result: Any) -> bytes:
    """The line that says that it is done."""
    return _line({"id": identifier, "ok": True, "result": plain(result)})


def refusal(identifier: str | int | None, kind: str, problem: str) -> bytes:
    """The line that says that it is not done."""
    return _line({"id": identifier, "ok": False, "error": {"kind": kind, "text": problem}})


def event_line(identifier: str | int | None, event: Event, time: float, missed: int) -> bytes:
    """The line of an event. `time` is in seconds since 1970, `missed` the events left out before it."""
    value = {"id": identifier, "event": event_values(event, time)}
    if missed:
        value["missed"] = missed
    return _line(value)


def end_line(identifier: str | int | None) -> bytes:
    """The line behind the last event."""
    return _line({"id": identifier, "end": True})


def event_values(event: Event, time: float) -> dict[str, Any]:
    """An event as JSON has it: its name as `event`, the slave's name as `slave`, errors as text."""
    values: dict[str, Any] = {"event": type(event).__name__, "time": round(time, 3)}
    for field in attrs.fields(type(event)):
        if field.name != "time":
            value = getattr(event, field.name)
            values[field.name] = getattr(value, "name", None) if field.name == "slave" else plain(value)
    return values


def plain(value: Any) -> Any:
    """A value as JSON can have it: attrs classes are objects, what is not finite is null, anything else its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if attrs.has(type(value)):
        return {field.name.lstrip("_"): plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return str(value)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
