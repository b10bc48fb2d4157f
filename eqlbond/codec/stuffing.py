"""What byte-stuffed framings share: cutting a stream at its delimiters, and the escapes of SLIP and KISS.

Python is fast where one call works on the whole frame. So every function here knows two ways, one for data with
few escapes, whose cost grows with the escapes, and one for data full of them, whose cost is the same for any content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eqlbond.exceptions import ConfigurationError

END: Final = 0xC0
ESC: Final = 0xDB
ESC_END: Final = 0xDC
ESC_ESC: Final = 0xDD

_END: Final = bytes((END,))
_ESC: Final = bytes((ESC,))
_ESCAPED: Final = frozenset((END, ESC))
_ESCAPED_BYTES: Final = bytes((END, ESC))
_HEADS: Final = {ESC_END: _END, ESC_ESC: _ESC}


# Below this size, in bytes, looking for pairs is cheaper than taking a frame apart at its escapes.
_SMALL: Final = 200
# More frames than this in one read are not measured one by one if that can be helped.
_MANY: Final = 16


def _table(changes: dict[int, int], other: int | None = None) -> bytes:
    """A table for bytes.translate: `changes`, and every other byte to itself or to `other`."""
    return bytes(changes.get(byte, byte if other is None else other) for byte in range(256))


# Interleave and kill: each byte becomes a pair. Before a byte that is to be escaped stands ESC, before any other stands
# END, and then every END is deleted. That works because END never occurs inside an encoded frame.
_FIRST_OF_PAIR: Final = _table({END: ESC, ESC: ESC}, END)
_SECOND_OF_PAIR: Final = _table({END: ESC_END, ESC: ESC_ESC})

# What to XOR onto a byte behind an ESC; the ESC itself is marked 0xFF.
_MARK: Final = 0xFF
_MARK_BYTE: Final = bytes((_MARK,))
_CORRECTIONS: Final = _table({ESC_END: ESC_END ^ END, ESC_ESC: ESC_ESC ^ ESC, ESC: _MARK}, 0)
_MASK: Final = _table({ESC: 0xFF}, 0)


def is_dense(payload: bytes, escaped: bytes = _ESCAPED_BYTES) -> bool:
    """Whether so many of the bytes `escaped` are there that the cost by content is higher than the constant one.

    Too dear to ask for each packet. So callers ask only when the last byte is one to be escaped: likely in a dense
    payload, and once in 128 times in a random one.
    """
    size = len(payload)
    if size < 96:
        return False
    sample = payload[:: size // 48]
    return len(sample.translate(None, escaped)) * 4 < len(sample) * 3


def escape(payload: bytes) -> bytes:
    """The payload with END and ESC escaped (RFC 1055), without delimiters."""
    if payload and payload[-1] in _ESCAPED and is_dense(payload):
        return escape_dense(payload)
    return payload.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")


def escape_dense(payload: bytes) -> bytes:
    """What `escape` does, at a cost that does not depend on the content."""
    pairs = bytearray(2 * len(payload))
    pairs[::2] = payload.translate(_FIRST_OF_PAIR)
    pairs[1::2] = payload.translate(_SECOND_OF_PAIR)
    return bytes(pairs.translate(None, _END))


def escaped_size(payload: bytes) -> int:
    """len(escape(payload)), cheaper."""
    size = len(payload)
    if payload and payload[-1] in _ESCAPED and is_dense(payload):
        return 2 * size - len(payload.translate(None, _ESCAPED_BYTES))
    # Not payload.count(), which looks at each byte by itself: replace() finds the few with memchr.
    return len(payload.replace(b"\xdb", b"\xdb\xdd")) + len(payload.replace(b"\xc0", b"\xdb\xdc")) - size


def unescape(frame: bytes) -> bytes | None:
    """What `escape` was given, or None where an ESC is followed by neither ESC_END nor ESC_ESC."""
    size = len(frame)
    if size < _SMALL:
        payload = frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
        # Each pair lost one byte; an ESC that is left over belongs to no pair.
        return payload if size - len(payload) == frame.count(_ESC) else None
    most = 4 + (size >> 5)
    pieces = frame.split(_ESC, most)
    if len(pieces) > most:
        return _unescape_dense(frame)
    rest = iter(pieces)
    out = [next(rest)]
    try:
        for piece in rest:
            out.append(_HEADS[piece[0]])
            out.append(piece[1:])
    except (KeyError, IndexError):
        return None
    return b"".join(out)


def _unescape_dense(frame: bytes) -> bytes | None:
    # Big integers work on all bytes at once. `>> 8` moves each mask byte onto the byte behind it.
    size = len(frame)
    mask = int.from_bytes(frame.translate(_MASK), "big")
    corrections = (
        (int.from_bytes(frame.translate(_CORRECTIONS), "big") & (mask | mask >> 8))
        .to_bytes(size, "big")
        .translate(None, _MARK_BYTE)
    )
    stripped = frame.translate(None, _ESC)
    left = len(stripped)
    # Every ESC must have something behind it that was corrected.
    if left - corrections.count(0) != size - left:
        return None
    return (int.from_bytes(stripped, "big") ^ int.from_bytes(corrections, "big")).to_bytes(left, "big")


def _has_no_gap(data: bytes, delimiter: int, most: int) -> bool:
    """True only where no more than `most` bytes of data stand without a delimiter between them.

    Looks into windows of half that size, which is far less work than to measure many small pieces.
    """
    half = (most + 1) // 2
    for start in range(0, len(data) - half + 1, half or 1):
        if delimiter not in data[start : start + half]:
            return False
    return half > 0


class Splitter:
    """Cuts a stream at a delimiter, in time linear in the data and in memory bounded by `limit`.

    A piece that grows over `limit` bytes is given out at once, cut to `limit` + 1 bytes so that its length tells,
    and the rest up to the next delimiter is skipped. Thus the pieces do not depend on how the stream arrived.
    """

    __slots__ = ("_delimiter", "_limit", "_skipping", "_tail", "held")

    def __init__(self, delimiter: int, limit: int) -> None:
        self._delimiter = bytes((delimiter,))
        self._limit = limit
        self._tail: list[bytes] = []
        self._skipping = False
        self.held = 0
        """Bytes of the piece that is not complete yet."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take data and return the pieces that it completes, in order, empty ones too."""
        if type(data) is not bytes:
            data = bytes(data)
        pieces = data.split(self._delimiter)
        last = pieces.pop()
        if pieces:
            if self.held:
                pieces[0] = self._complete(pieces[0])
            elif self._skipping:
                self._skipping = False
                pieces[0] = b""
        if last and not self._skipping:
            self._tail.append(last)
            self.held += len(last)
            if self.held > self._limit:
                pieces.append(self._complete(b""))
                self._skipping = True
            elif len(self._tail) > 64:
                # Many small objects would take far more memory than their bytes.
                self._tail[:] = [b"".join(self._tail)]
        return pieces

    def _complete(self, end: bytes) -> bytes:
        self._tail.append(end)
        piece = b"".join(self._tail)
        self._tail.clear()
        self.held = 0
        return piece if len(piece) <= self._limit else piece[: self._limit + 1]


class StuffedDecoder:
    """Finds the payloads in a stream of END-delimited, escaped frames. It holds at most 2 * `max_frame` bytes.

    The root of the decoders of SLIP and KISS. Args: `max_frame`, the largest payload in bytes.
    """

    __slots__ = ("_limit", "_max_frame", "_opening", "_splitter", "_wary", "dropped")

    def __init__(self, max_frame: int) -> None:
        if max_frame < 1:
            raise ConfigurationError("max_frame", f"{max_frame} bytes hold no packet: at least 1")
        self.dropped: dict[str, int] = {}
        """Frames dropped, by reason; only reasons that occurred."""
        self._max_frame = max_frame
        self._limit = 2 * max_frame  # each byte of a payload escaped
        self._splitter = Splitter(END, self._limit)
        self._opening = True  # no END has come yet
        self._wary = True  # pieces must be looked at one by one

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete yet, as they came."""
        return self._splitter.held

    def feed(self, data: bytes) -> list[bytes]:
        """Take what the line delivered, in any cut, and return the payloads that it completes."""
        pieces = self._splitter.feed(data)
        if not pieces:
            return pieces
        if self._wary:
            return self._feed_warily(pieces)
        most = self._max_frame
        first = pieces[0]  # only this one can hold bytes that are not in data
        frames = list(filter(None, pieces))
        if (
            ESC not in data
            and ESC not in first
            and len(first) <= most
            and (_has_no_gap(data, END, most) if len(frames) > _MANY else max(map(len, pieces)) <= most)
        ):
            return frames
        finish = self._finish
        return [
            frame
            for piece in frames
            if (frame := piece if ESC not in piece and len(piece) <= most else finish(piece)) is not None
        ]

    def _feed_warily(self, pieces: list[bytes]) -> list[bytes]:
        self._opening = self._wary = False
        if pieces[0]:
            self.drop("preamble")
        return [frame for piece in pieces[1:] if piece and (frame := self._finish(piece))]

    def drop(self, reason: str) -> None:
        """Count a dropped frame."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _finish(self, piece: bytes) -> bytes | None:
        """The payload of a frame, or None and a count."""
        if len(piece) <= self._limit:
            frame = unescape(piece) if ESC in piece else piece
            if frame is None:
                self.drop("bad_escape")
                return None
            if len(frame) <= self._max_frame:
                return frame
        self.drop(self._too_long(piece))
        return None

    def _too_long(self, piece: bytes) -> str:
        return "too_long"


class StuffedFramer:
    """The root of the framers of SLIP and KISS: a decoder, and what it has counted."""

    __slots__ = ("_decoder", "_remedies")

    def __init__(self, decoder: StuffedDecoder, remedies: Mapping[str, str]) -> None:
        self._decoder = decoder
        self._remedies = remedies

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames dropped on receipt, by reason."""
        return self._decoder.dropped

    @property
    def remedies(self) -> Mapping[str, str]:
        """What a person can do about some of the reasons in `dropped`."""
        return self._remedies

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete yet."""
        return self._decoder.held
