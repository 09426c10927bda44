# SPDX-License-Identifier: Apache-2.0
"""What a document of spans must look like, checked without mercy, and the spans in it in one form.

Zipkin v2 JSON and OTLP/JSON. Stricter than the real collectors where those repair or ignore: an unknown
field, a key twice, a number for a text, milliseconds for microseconds are all refused. A document
that is refused raises Violation, which names the place."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# Wall time from 2001 to 2286: another unit does not fit.
EPOCH_US_MIN, EPOCH_US_MAX = 10**15, 10**16
EPOCH_NS_MIN, EPOCH_NS_MAX = 10**18, 10**19
INT64 = 2**63


class Violation(Exception):
    """The document breaks its format."""


@dataclass
class Span:
    """A span as either format tells it. `trace_id` has 32 digits, a short one is filled from the left;
    `parent` is "" for a root; `kind` is a word of Zipkin's, or INTERNAL; values of tags are text."""

    trace_id: str
    id: str
    parent: str
    name: str
    kind: str
    service: str
    start_us: int
    duration_us: int
    tags: dict[str, str] = field(default_factory=dict)
    error: bool = False


# ---- checks: each takes a value and the words for its place --------------------------------------

Check = Callable[[object, str], None]


def require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise Violation(f"{where}: {what}")


def text(value: object, where: str) -> None:
    require(isinstance(value, str), where, f"{value!r} is no text")


def filled(value: object, where: str) -> None:
    require(isinstance(value, str) and value != "", where, f"{value!r} is no text, or empty")


def boolean(value: object, where: str) -> None:
    require(isinstance(value, bool), where, f"{value!r} is neither true nor false")


def number(value: object, where: str) -> None:
    require(isinstance(value, (int, float)) and not isinstance(value, bool), where, f"{value!r} is no number")


def integer(least: int, most: int) -> Check:
    def check(value: object, where: str) -> None:
        require(type(value) is int and least <= value <= most, where, f"{value!r} is no integer {least}..{most}")

    return check


def decimal(least: int, most: int) -> Check:
    """An integer of 64 bits as JSON of protocol buffers has it: as text."""

    def check(value: object, where: str) -> None:
        is_decimal = isinstance(value, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,19}", value) is not None
        require(is_decimal and least <= int(str(value)) <= most, where,
                f"{value!r} is no decimal text {least}..{most}")

    return check


def hexadecimal(*lengths: int, digits: str = "0-9a-f") -> Check:
    pattern = re.compile("|".join(f"[{digits}]{{{length}}}" for length in lengths))

    def check(value: object, where: str) -> None:
        is_hex = isinstance(value, str) and pattern.fullmatch(value) is not None
        lengths_text = " or ".join(str(length) for length in lengths)
        require(is_hex, where, f"{value!r} is not {lengths_text} digits of {digits}")
        require(str(value).strip("0") != "", where, "all zero")

    return check


def one_of(*values: str) -> Check:
    def check(value: object, where: str) -> None:
        require(value in values, where, f"{value!r} is none of {', '.join(values)}")

    return check


def address(version: int) -> Check:
    def check(value: object, where: str) -> None:
        try:
            is_address = isinstance(value, str) and ipaddress.ip_address(value).version == version
        except ValueError:
            is_address = False
        require(is_address, where, f"{value!r} is no IPv{version} address")

    return check


def each(check_one: Check) -> Check:
    def check(value: object, where: str) -> None:
        require(isinstance(value, list), where, "no list")
        assert isinstance(value, list)
        for index, one in enumerate(value):
            check_one(one, f"{where}[{index}]")

    return check


def texts(value: object, where: str) -> None:
    require(isinstance(value, dict), where, "no object")
    assert isinstance(value, dict)
    for key, one in value.items():
        filled(key, f"{where}: a key")
        text(one, f"{where}.{key}")


def record(required: dict[str, Check], optional: dict[str, Check]) -> Check:
    known = required | optional

    def check(value: object, where: str) -> None:
        require(isinstance(value, dict), where, "no object")
        assert isinstance(value, dict)
        for key, one in value.items():
            require(key in known, where, f"unknown field {key!r}")
            known[key](one, f"{where}.{key}")
        for key in required:
            require(key in value, where, f"no field {key!r}")

    return check


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    for key in keys:
        require(keys.count(key) == 1, "the document", f"{key!r} twice in one object")
    return dict(pairs)


def _no_constant(name: str) -> object:
    raise Violation(f"the document: {name} is not JSON")


def parse(body: bytes) -> object:
    try:
        return json.loads(body.decode(), object_pairs_hook=_object_of, parse_constant=_no_constant)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Violation(f"the document is no JSON: {error}") from None


# ---- Zipkin v2 -----------------------------------------------------------------------------------

PLACE: dict[str, Check] = {"ipv4": address(4), "ipv6": address(6), "port": integer(1, 65535)}
ZIPKIN_SPANS = each(record(
    {
        "traceId": hexadecimal(16, 32),
        "id": hexadecimal(16),
        "name": filled,
        "kind": one_of("CLIENT", "SERVER", "PRODUCER", "CONSUMER"),
        "timestamp": integer(EPOCH_US_MIN, EPOCH_US_MAX),
        "duration": integer(1, EPOCH_US_MAX),
        "localEndpoint": record({"serviceName": filled}, PLACE),
    },
    {
        "parentId": hexadecimal(16),
        "remoteEndpoint": record({}, {"serviceName": filled} | PLACE),
        "tags": texts,
        "annotations": each(record({"timestamp": integer(EPOCH_US_MIN, EPOCH_US_MAX), "value": filled}, {})),
        "shared": boolean,
        "debug": boolean,
    },
))


def _zipkin_span(one: dict, where: str) -> Span:
    require(one.get("parentId") != one["id"], where, "is its own parent")
    require(one.get("remoteEndpoint") != {}, where, "an empty remoteEndpoint")
    tags = dict(one.get("tags", {}))
    # Zipkin's rule: a span with the tag `error` has failed, whatever the tag's value.
    return Span(one["traceId"].rjust(32, "0"), one["id"], one.get("parentId", ""), one["name"], one["kind"],
                one["localEndpoint"]["serviceName"], one["timestamp"], one["duration"], tags, "error" in tags)


def zipkin_spans(body: bytes) -> list[Span]:
    document = parse(body)
    ZIPKIN_SPANS(document, "spans")
    assert isinstance(document, list)
    return [_zipkin_span(one, f"spans[{index}]") for index, one in enumerate(document)]


# ---- OTLP/JSON -----------------------------------------------------------------------------------

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
STATUS_ERROR = 2
ANY_HEX = "0-9a-fA-F"
OTLP_TRACE_ID, OTLP_SPAN_ID = hexadecimal(32, digits=ANY_HEX), hexadecimal(16, digits=ANY_HEX)
UINT32 = integer(0, 2**32 - 1)
TIME = decimal(EPOCH_NS_MIN, EPOCH_NS_MAX)
VALUE = record({}, {
    "stringValue": text,
    "intValue": decimal(-INT64, INT64 - 1),
    "boolValue": boolean,
    "doubleValue": number,
})


def _value(value: object, where: str) -> None:
    VALUE(value, where)
    assert isinstance(value, dict)
    require(len(value) == 1, where, f"{len(value)} values instead of one")


ATTRIBUTE_LIST = each(record({"key": filled, "value": _value}, {}))


def _attributes(value: object, where: str) -> None:
    ATTRIBUTE_LIST(value, where)
    assert isinstance(value, list)
    keys = [one["key"] for one in value]
    for key in keys:
        require(keys.count(key) == 1, where, f"the key {key!r} twice")


def _parent(value: object, where: str) -> None:
    if value != "":
        OTLP_SPAN_ID(value, where)


ATTRIBUTES: dict[str, Check] = {"attributes": _attributes, "droppedAttributesCount": UINT32}
OTLP_SPAN = record(
    {
        "traceId": OTLP_TRACE_ID,
        "spanId": OTLP_SPAN_ID,
        "name": filled,
        "kind": integer(min(KINDS), max(KINDS)),
        "startTimeUnixNano": TIME,
        "endTimeUnixNano": TIME,
    },
    {
        "parentSpanId": _parent,
        "traceState": text,
        "flags": UINT32,
        "status": record({}, {"code": integer(0, STATUS_ERROR), "message": text}),
        "events": each(record({"timeUnixNano": TIME, "name": filled}, ATTRIBUTES)),
        "droppedEventsCount": UINT32,
        "links": each(record({"traceId": OTLP_TRACE_ID, "spanId": OTLP_SPAN_ID},
                             {"traceState": text, "flags": UINT32} | ATTRIBUTES)),
        "droppedLinksCount": UINT32,
    } | ATTRIBUTES,
)
OTLP_DOCUMENT = record({
    "resourceSpans": each(record({
        "resource": record({"attributes": _attributes}, {"droppedAttributesCount": UINT32}),
        "scopeSpans": each(record({
            "scope": record({"name": filled}, {"version": text} | ATTRIBUTES),
            "spans": each(OTLP_SPAN),
        }, {"schemaUrl": text})),
    }, {"schemaUrl": text})),
}, {})


def _tags(attributes: Iterable[dict]) -> dict[str, str]:
    """Values as text: an integer is text already, true and false as in JSON."""
    tags = {}
    for one in attributes:
        (value,) = one["value"].values()
        tags[one["key"]] = value if isinstance(value, str) else json.dumps(value)
    return tags


def _otlp_span(one: dict, service: str, where: str) -> Span:
    start, end = int(one["startTimeUnixNano"]), int(one["endTimeUnixNano"])
    identity, parent = one["spanId"].lower(), one.get("parentSpanId", "").lower()
    require(end >= start, where, "ends before it starts")
    require(parent != identity, where, "is its own parent")
    is_error = one.get("status", {}).get("code", 0) == STATUS_ERROR
    return Span(one["traceId"].lower(), identity, parent, one["name"], KINDS[one["kind"]], service, start // 1000,
                (end - start) // 1000, _tags(one.get("attributes", [])), is_error)


def otlp_spans(body: bytes) -> list[Span]:
    document = parse(body)
    OTLP_DOCUMENT(document, "the document")
    assert isinstance(document, dict)
    spans = []
    for index, resource_spans in enumerate(document["resourceSpans"]):
        where = f"resourceSpans[{index}]"
        service = _tags(resource_spans["resource"]["attributes"]).get("service.name", "")
        require(service != "", where, "the resource has no service.name")
        for scope_spans in resource_spans["scopeSpans"]:
            for one in scope_spans["spans"]:
                spans.append(_otlp_span(one, service, f"{where}, span {one['spanId']}"))
    return spans
