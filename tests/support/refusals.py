# SPDX-License-Identifier: Apache-2.0
"""Requests that a proxy must refuse, as bytes. Smuggling works where two parsers read one message
differently; so each of these gets the status named here and the origin sees nothing of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    name: str
    data: bytes
    statuses: tuple[int, ...] = (400,)
    # The head is sound and may have been passed on before the fault showed: then the origin must
    # never see a complete request.
    is_body_fault: bool = False
    # The framing is sound, so the connection may be kept.
    may_stay_open: bool = False


def _head(*fields: bytes, line: bytes = b"POST /x HTTP/1.1", host: bool = True) -> bytes:
    first = [line, b"Host: web.test"] if host else [line]
    return b"\r\n".join([*first, *fields, b"", b""])


_CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
_TE = b"Transfer-Encoding: chunked"


def _te(value: bytes) -> bytes:
    return _head(b"Transfer-Encoding: " + value) + _CHUNKED


def _cl(value: bytes) -> bytes:
    return _head(b"Content-Length: " + value) + b"hello"


def _chunks(data: bytes) -> bytes:
    return _head(_TE) + data


FRAMING = [
    Refusal("CL and TE", _head(b"Content-Length: 5", _TE) + _CHUNKED),
    Refusal("TE and CL", _head(_TE, b"Content-Length: 5") + _CHUNKED),
    Refusal("last coding is not chunked", _te(b"gzip")),
    Refusal("chunked is not last", _te(b"chunked, gzip"), (400, 501)),
    Refusal("unknown coding before chunked", _te(b"gzip, chunked"), (501,)),
    Refusal("chunked twice", _te(b"chunked, chunked")),
    Refusal("chunked twice in two lines", _head(_TE, _TE) + _CHUNKED),
    Refusal("xchunked", _te(b"xchunked"), (400, 501)),
    Refusal("chunked behind a vertical tab", _te(b"\x0bchunked")),
    Refusal("identity before chunked", _te(b"identity, chunked"), (400, 501)),
    Refusal("empty list member", _te(b", chunked")),
    Refusal("TE in HTTP/1.0", _head(_TE, line=b"POST /x HTTP/1.0") + _CHUNKED),
    Refusal(
        "two lengths that differ", _head(b"Content-Length: 5", b"Content-Length: 6") + b"hello"
    ),
    Refusal("the same length twice", _head(b"Content-Length: 5", b"Content-Length: 5") + b"hello"),
    Refusal("list of lengths", _cl(b"5, 5")),
    Refusal("length with plus", _cl(b"+5")),
    Refusal("length with minus", _cl(b"-5")),
    Refusal("length in hex", _cl(b"0x5")),
    Refusal("length with a blank inside", _cl(b"5 5")),
    Refusal("empty length", _cl(b"")),
    Refusal("length 2^63", _cl(b"9223372036854775808")),
    Refusal("length 2^64+5", _cl(b"18446744073709551621")),
]
CHUNKS = [
    Refusal("chunk size of 17 digits", _chunks(b"00000000000000005\r\nhello\r\n0\r\n\r\n")),
    Refusal("chunk size that wraps", _chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n")),
    Refusal("chunk size with plus", _chunks(b"+5\r\nhello\r\n0\r\n\r\n")),
    Refusal("chunk size with minus", _chunks(b"-5\r\nhello\r\n0\r\n\r\n")),
    Refusal("chunk size with 0x", _chunks(b"0x5\r\nhello\r\n0\r\n\r\n")),
    Refusal("chunk size behind a blank", _chunks(b" 5\r\nhello\r\n0\r\n\r\n")),
    Refusal("chunk size before a blank", _chunks(b"5 \r\nhello\r\n0\r\n\r\n")),
    Refusal("empty chunk size", _chunks(b"\r\nhello\r\n0\r\n\r\n")),
    Refusal("chunk size ended by LF", _chunks(b"5\nhello\r\n0\r\n\r\n")),
    Refusal("chunk longer than its size", _chunks(b"5\r\nhello!\r\n0\r\n\r\n")),
    Refusal("chunk ended by LF", _chunks(b"5\r\nhello\n0\r\n\r\n")),
    Refusal("last chunk ended by LF", _chunks(b"5\r\nhello\r\n0\n\n")),
    Refusal("extension of 8 KiB", _chunks(b"5;" + b"e" * 8192 + b"\r\nhello\r\n0\r\n\r\n")),
]
CHUNKS = [Refusal(one.name, one.data, is_body_fault=True) for one in CHUNKS]

_GET = b"GET /x HTTP/1.1"
FIELDS = [
    Refusal("blank before the colon", _head(b"Content-Length : 5") + b"hello"),
    Refusal("tab before the colon", _head(b"X-A\t: 5")),
    Refusal("blank before the first field", b"GET /x HTTP/1.1\r\n Host: web.test\r\n\r\n"),
    Refusal("folded field", _head(b"X-A: 1", b" 2")),
    Refusal("folded framing", _head(b"Transfer-Encoding:", b" chunked") + _CHUNKED),
    Refusal("LF ends a line", b"GET /x HTTP/1.1\nHost: web.test\n\n"),
    Refusal("LF ends one field", b"GET /x HTTP/1.1\r\nHost: web.test\nX-A: 1\r\n\r\n"),
    Refusal("LF ends the head", b"GET /x HTTP/1.1\r\nHost: web.test\r\n\n"),
    Refusal("CR alone after an empty value", _head(b"X:\rTransfer-Encoding: chunked") + _CHUNKED),
    Refusal("CR inside a value", _head(b"X-A: 1\r2")),
    Refusal("NUL in a value", _head(b"X-A: 1\x002")),
    Refusal("control character in a value", _head(b"X-A: 1\x012")),
    Refusal("DEL in a value", _head(b"X-A: 1\x7f2")),
    Refusal("empty field name", _head(b": 1")),
    Refusal("field without a colon", _head(b"X-A")),
    Refusal("illegal byte in a field name", _head(b"X(A): 1")),
    Refusal("NUL in a field name", _head(b"X\x00A: 1")),
    Refusal("no Host", _head(line=_GET, host=False)),
    Refusal("two Hosts", _head(b"Host: other.test", line=_GET)),
    Refusal("two Hosts that agree", _head(b"Host: web.test", line=_GET)),
    Refusal("illegal Host", _head(b"Host: web.test/evil", line=_GET, host=False)),
    Refusal("Host with a blank", _head(b"Host: web test", line=_GET, host=False)),
    Refusal("Host with user info", _head(b"Host: me@web.test", line=_GET, host=False)),
]
LINES = [
    Refusal("lower-case method", _head(line=b"get /x HTTP/1.1")),
    Refusal("illegal byte in the method", _head(line=b"GE(T /x HTTP/1.1")),
    Refusal("two blanks before the target", _head(line=b"GET  /x HTTP/1.1")),
    Refusal("two blanks behind the target", _head(line=b"GET /x  HTTP/1.1")),
    Refusal("tab in the request line", _head(line=b"GET\t/x\tHTTP/1.1")),
    Refusal("blank in the target", _head(line=b"GET /x y HTTP/1.1")),
    Refusal("control character in the target", _head(line=b"GET /x\x01y HTTP/1.1")),
    Refusal("NUL in the target", _head(line=b"GET /x\x00y HTTP/1.1")),
    Refusal("target byte above 0x7f", _head(line=b"GET /x\xffy HTTP/1.1")),
    Refusal("fragment in the target", _head(line=b"GET /x#y HTTP/1.1")),
    Refusal("encoded NUL in the target", _head(line=b"GET /x%00y HTTP/1.1"), may_stay_open=True),
    Refusal("authority form for GET", _head(line=b"GET web.test:80 HTTP/1.1")),
    Refusal("asterisk form for GET", _head(line=b"GET * HTTP/1.1")),
    Refusal("no version", _head(line=b"GET /x"), (400, 505)),
    Refusal("version 0.9", _head(line=b"GET /x HTTP/0.9"), (400, 505)),
    Refusal("version 1.2", _head(line=b"GET /x HTTP/1.2"), (505,)),
    Refusal("version 2.0", _head(line=b"GET /x HTTP/2.0"), (505,)),
    Refusal("lower-case version", _head(line=b"GET /x http/1.1")),
    Refusal("another protocol", _head(line=b"GET /x RTSP/1.0"), (400, 505)),
    Refusal("binary bytes as a head", b"\x16\x03\x01\x02\x00\x01" + b"\x00" * 64 + b"\r\n\r\n"),
    # No line end follows: the answer must not wait for one.
    Refusal("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Refusal("method of 33 bytes", b"M" * 33),
    Refusal("Redis array", b"*1\r"),
    Refusal("start line of another protocol", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", (400, 505)),
    Refusal("CONNECT", _head(line=b"CONNECT web.test:443 HTTP/1.1"), (405, 400, 404)),
]
LIMITS = [
    Refusal("target of 9 KiB", _head(line=b"GET /" + b"a" * 9216 + b" HTTP/1.1"), (414,)),
    Refusal("head of 64 KiB", _head(b"X-A: " + b"a" * 65536, line=_GET), (431,)),
    Refusal(
        "head of 64 KiB in many fields",
        _head(*[b"X-%d: " % index + b"a" * 700 for index in range(95)], line=_GET),
        (431,),
    ),
    Refusal("101 fields", _head(*[b"X-%d: 1" % index for index in range(101)], line=_GET), (431,)),
    Refusal(
        "unknown expectation",
        _head(b"Expect: the-unexpected", line=_GET),
        (417,),
        may_stay_open=True,
    ),
]
ALL = [*FRAMING, *CHUNKS, *FIELDS, *LINES, *LIMITS]
