"""SLIP, the Serial Line Internet Protocol (RFC 1055).

A frame is the packet, with END (0xC0) behind it; inside, END is sent as 0xDB 0xDC and ESC (0xDB) as 0xDB 0xDD. There is
no checksum, no length and no type: what is corrupted on the line arrives as a corrupted packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from eqlbond.codec.ip import ip_packet_at_end, ip_version, is_ip_packet, is_uncompressed_tcp
from eqlbond.codec.limits import check_max_frame, receive_limit
from eqlbond.codec.stuffing import (
    END,
    ESC,
    StuffedDecoder,
    StuffedFramer,
    escape,
    escape_dense,
    escaped_size,
    is_dense,
    unescape,
)
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet

REMEDIES: Final[Mapping[str, str]] = {
    "compressed": (
        "the peer compresses TCP headers (CSLIP, RFC 1144), which a bond cannot carry: "
        "switch it off there, e.g. protocol slip in place of cslip, or the option -vj"
    ),
    "looks_like_ppp": "the peer speaks PPP, and this line is set to SLIP: set both ends to the same framing",
    "too_long": "if this goes on, the peer's MTU is larger than max_frame: lower that MTU or raise max_frame",
}

# The start of a PPP frame as it stands before LCP is up (RFC 1662): flag, address, escaped control. Every
# LCP frame goes on with the protocol number C0 21, so that SLIP sees an END behind these four bytes.
_PPP_START: Final = b"\x7e\xff\x7d\x23"
# So many frames are looked at closely after a connection that did not begin with an END or a good packet.
_DOUBTFUL: Final = 8


def slip_encode(payload: bytes) -> bytes:
    """The payload as a SLIP frame, with an END before it, too, that flushes line noise.

    >>> slip_encode(bytes.fromhex("45 c0 db 00")).hex(" ")
    'c0 45 db dc db dd 00 c0'
    """
    # `escape`, repeated here: the call would cost as much as an escape or two.
    if payload and ((last := payload[-1]) == END or last == ESC) and is_dense(payload):
        return b"\xc0" + escape_dense(payload) + b"\xc0"
    return b"\xc0" + payload.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def slip_size(payload: bytes) -> int:
    """len(slip_encode(payload)), without building the frame."""
    return escaped_size(payload) + 2


class SlipDecoder(StuffedDecoder):
    """Finds the payloads in a stream of SLIP frames. It holds at most 2 * `max_frame` bytes.

    Args:
        max_frame: the largest payload, in bytes.

    Frames that are dropped are counted in `dropped` by reason:

    - ``too_long``: over `max_frame`. Decoding goes on at the next END.
    - ``bad_escape``: an ESC with neither ESC_END nor ESC_ESC behind it.
    - ``preamble``: what came before the first END, unless it is surely an IP packet (version, length and header
      checksum). Some peers send no leading END, and terminal servers print a text first; an IP packet
      that follows directly on such a text is found.
    - ``looks_like_ppp``: what came from a peer that speaks asynchronous PPP.

    Empty frames are not counted.
    """

    __slots__ = ("_doubt", "_ppp")

    def __init__(self, max_frame: int) -> None:
        super().__init__(max_frame)
        self._doubt = 0
        self._ppp = False

    def _too_long(self, piece: bytes) -> str:
        return "looks_like_ppp" if _PPP_START in piece else "too_long"

    def _feed_warily(self, pieces: list[bytes]) -> list[bytes]:
        frames = []
        for piece in pieces:
            if self._opening:
                self._opening = False
                frame = self._judge_preamble(piece)
            elif not piece:
                continue
            elif self._doubt:
                frame = self._judge_doubtful(piece)
            else:
                frame = self._finish(piece)
            if frame:
                frames.append(frame)
        self._wary = self._doubt > 0
        return frames

    def _judge_preamble(self, piece: bytes) -> bytes | None:
        if not piece:
            return None
        frame = unescape(piece) if len(piece) <= self._limit else None
        if frame is not None and (is_ip_packet(frame) or is_uncompressed_tcp(frame)):
            return self._finish(piece)
        self._doubt = _DOUBTFUL
        self._ppp = _PPP_START in piece
        self.drop("looks_like_ppp" if self._ppp else "preamble")
        return None if self._ppp or frame is None else ip_packet_at_end(frame)

    def _judge_doubtful(self, piece: bytes) -> bytes | None:
        # Here SLIP payloads that are no IP packets must pass, and PPP that happens to have an END inside must not.
        if _PPP_START in piece:
            frame = unescape(piece) if len(piece) <= self._limit else None
            if frame is None or not is_ip_packet(frame):
                self._doubt = _DOUBTFUL
                self._ppp = True
                self.drop("looks_like_ppp")
                return None
        frame = self._finish(piece)
        if frame is not None and is_ip_packet(frame):
            self._doubt = 0
            return frame
        self._doubt -= 1
        if self._ppp and frame is not None:
            self.drop("looks_like_ppp")
            return None
        return frame


class SlipFramer(StuffedFramer):
    """The SLIP of one connection: a `Framer`. Made by `Slip.framer`.

    Frames that are dropped on receipt are counted in `dropped`: by the reasons of `SlipDecoder`, ``compressed`` and
    ``not_ip``.
    """

    __slots__ = ("_compressing", "_ip_only", "_leading_end", "_sift")

    def __init__(self, max_frame: int, ip_only: bool, leading_end: bool) -> None:
        super().__init__(SlipDecoder(max_frame), REMEDIES)
        self._ip_only = ip_only
        self._leading_end = leading_end
        self._compressing = False
        self._sift = ip_only  # look at every frame, not only at those that could start compression

    def encode(self, packet: Packet) -> bytes:
        """The packet as one frame."""
        payload = packet.payload
        return slip_encode(payload) if self._leading_end else escape(payload) + b"\xc0"

    def wire_size(self, packet: Packet) -> int:
        """Exactly how many bytes `encode` makes of the packet."""
        # To make the frame costs hardly more than to find its size; so it is kept for the port.
        payload = packet.payload
        frame = packet.frame = slip_encode(payload) if self._leading_end else escape(payload) + b"\xc0"
        return len(frame)

    def feed(self, data: bytes) -> list[Packet]:
        """Take what the line delivered, in any cut, and return the packets that it completes."""
        frames = self._decoder.feed(data)
        if not frames:
            return []
        # Asked for each frame anew, because the frame before may have shown that the peer compresses.
        return [Packet(frame) for frame in frames if (frame[0] >> 4 != 7 and not self._sift) or self._passes(frame)]

    def _passes(self, frame: bytes) -> bool:
        if self._ip_only:
            if ip_version(frame) is not None:
                return True
            compressed = frame[0] & 0x80 or frame[0] >> 4 == 7  # COMPRESSED_TCP, UNCOMPRESSED_TCP of RFC 1144
        elif is_uncompressed_tcp(frame):
            # From now on the peer will send COMPRESSED_TCP: nothing but its first bit tells it.
            compressed = self._compressing = self._sift = True
        else:
            compressed = self._compressing and frame[0] & 0x80
            if not compressed:
                return True
        self._decoder.drop("compressed" if compressed else "not_ip")
        return False


@attrs.frozen
class Slip:
    """SLIP framing (RFC 1055): a `Framing`.

    Args:
        max_frame: the largest payload accepted on receipt, in bytes; by default the MTU, and at least 1500.
        ip_only: drop what is neither IPv4 nor IPv6. Use it where only IP is carried: it catches much line noise.
        leading_end: send an END before each frame, too, so that line noise is not taken for its beginning. A
            peer that cannot stand empty frames needs False.
        outfill: seconds without sending after which an END goes, so that the far end hears that the line lives; None:
            never. As with Linux's SLIP it may take two such periods.
        keepalive: seconds without receiving after which the line is taken for dead; None: never. The far end needs
            an outfill of less than half of it. The line carries packets again when something was heard on it.

    Raises:
        ConfigurationError: an option has a value that cannot work.
    """

    max_frame: int | None = attrs.field(default=None, kw_only=True)
    ip_only: bool = attrs.field(default=False, kw_only=True)
    leading_end: bool = attrs.field(default=True, kw_only=True)
    outfill: float | None = attrs.field(default=None, kw_only=True)
    keepalive: float | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_max_frame(self.max_frame)
        for field, value in (("outfill", self.outfill), ("keepalive", self.keepalive)):
            good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
            if value is not None and not good:
                raise ConfigurationError(field, f"seconds above 0, or None, not {value!r}")
        if self.outfill is not None and not self.leading_end:
            raise ConfigurationError("outfill", "sends empty frames, which leading_end=False is to avoid")

    @property
    def idle_frame(self) -> bytes:
        """An END: a frame without content, which receivers drop (RFC 1055); none where `leading_end` is False."""
        return b"\xc0" if self.leading_end else b""

    def framer(self, mtu: int) -> SlipFramer:
        """A framer for one connection that carries packets of up to `mtu` bytes.

        Raises:
            ConfigurationError: `max_frame` is below `mtu`, or `mtu` below 1.
        """
        return SlipFramer(receive_limit(self.max_frame, mtu), self.ip_only, self.leading_end)
