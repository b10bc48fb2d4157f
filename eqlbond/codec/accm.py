"""The transparency of asynchronous PPP (RFC 1662 section 4.2): what is escaped on a line, and how.

An escaped octet is sent as 7D and the octet XOR 20. Flag (7E) and escape (7D) always are; of the control characters
00..1F, those are whose bit is set in the Async-Control-Character-Map (ACCM), a number of 32 bits.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from eqlbond.codec.stuffing import is_dense

FLAG: Final = 0x7E
ESCAPE: Final = 0x7D
FLIP: Final = 0x20
DEFAULT_ACCM: Final = 0xFFFFFFFF
"""All control characters are escaped, until LCP agrees on less."""
XON_XOFF: Final = 1 << 0x11 | 1 << 0x13
"""The map that escapes XON and XOFF, for lines with software flow control."""

_ESCAPE_BYTE: Final = bytes((ESCAPE,))
_FLAG_BYTE: Final = bytes((FLAG,))
# Above so many different octets one pass over pairs is cheaper than a replace() for each.
_MOST_REPLACES: Final = 10

_FLIPPED: Final = [bytes((byte ^ FLIP,)) for byte in range(256)]
# A 7D becomes 02, and half a byte further on, in the byte behind, 20: just what is to be XORed there.
_MARK: Final = 0x02
_MARK_BYTE: Final = bytes((_MARK,))
_MARK_TWICE: Final = _MARK | FLIP
_MARKS: Final = bytes(_MARK if byte == ESCAPE else 0 for byte in range(256))
_ESCAPED_PAIR: Final = re.compile(rb"\x7d(.)", re.DOTALL)


class Accm:
    """What one ACCM means, in the form in which it is used. Get it from `accm_tables`."""

    __slots__ = ("_first_of_pair", "_replaces", "_second_of_pair", "control", "escaped")

    def __init__(self, accm: int) -> None:
        self.control = bytes(byte for byte in range(32) if accm >> byte & 1)
        """The control characters that are mapped."""
        self.escaped = bytes((ESCAPE, FLAG)) + self.control
        """All octets that are escaped."""
        # The escape octet itself must be the first to be replaced.
        self._replaces = [(bytes((byte,)), bytes((ESCAPE, byte ^ FLIP))) for byte in self.escaped]
        # Each octet becomes a pair. Before one that is not escaped stands a flag; then all flags are deleted.
        self._first_of_pair = bytes(ESCAPE if byte in self.escaped else FLAG for byte in range(256))
        self._second_of_pair = bytes(byte ^ FLIP if byte in self.escaped else byte for byte in range(256))

    def escape(self, body: bytes) -> bytes:
        """The octets between two flags, escaped."""
        replaces = self._replaces
        if len(replaces) > _MOST_REPLACES or self._is_dense(body):
            pairs = bytearray(2 * len(body))
            pairs[::2] = body.translate(self._first_of_pair)
            pairs[1::2] = body.translate(self._second_of_pair)
            return bytes(pairs.translate(None, _FLAG_BYTE))
        for byte, pair in replaces:
            body = body.replace(byte, pair)
        return body

    def size(self, body: bytes) -> int:
        """len(escape(body)), cheaper."""
        if self.control or self._is_dense(body):
            return 2 * len(body) - len(body.translate(None, self.escaped))
        return len(body.replace(b"\x7d", b"\x7d\x5d")) + len(body.replace(b"\x7e", b"\x7d\x5e")) - len(body)

    def _is_dense(self, body: bytes) -> bool:
        # The last bytes of a body are its FCS and tell nothing; so the one in the middle is looked at.
        return len(body) > 0 and body[len(body) >> 1] in self.escaped and is_dense(body, self.escaped)


@lru_cache(maxsize=64)
def accm_tables(accm: int) -> Accm:
    """The tables of an ACCM; lines that use the same share them."""
    return Accm(accm)


def unescape(body: bytes) -> bytes | None:
    """What was escaped between two flags; None where it ends in the middle of an escape, which aborts a frame."""
    most = 4 + (len(body) >> 5)
    pieces = body.split(_ESCAPE_BYTE, most)
    if len(pieces) > most:
        return _unescape_dense(body)
    rest = iter(pieces)
    out = [next(rest)]
    for piece in rest:
        if not piece:
            return _unescape_any(body)
        out.append(_FLIPPED[piece[0]])
        out.append(piece[1:])
    return b"".join(out)


def _unescape_dense(body: bytes) -> bytes | None:
    # Big integers work on all octets at once.
    size = len(body)
    marks = int.from_bytes(body.translate(_MARKS), "big")
    corrections = (marks | marks >> 4).to_bytes(size, "big")
    if _MARK_TWICE in corrections or body[-1] == ESCAPE:
        return _unescape_any(body)
    corrections = corrections.translate(None, _MARK_BYTE)
    stripped = body.translate(None, _ESCAPE_BYTE)
    return (int.from_bytes(stripped, "big") ^ int.from_bytes(corrections, "big")).to_bytes(len(stripped), "big")


def _unescape_any(body: bytes) -> bytes | None:
    """The rare case: 7D 7D, an escaped 5D, which no peer needs to send, or 7D at the end."""
    # An odd number of 7D at the end: the last one escapes nothing.
    if (len(body) - len(body.rstrip(_ESCAPE_BYTE))) & 1:
        return None
    return _ESCAPED_PAIR.sub(lambda pair: _FLIPPED[pair[1][0]], body)
