"""KISS, the framing between a computer and a packet-radio TNC (M. Chepponis, P. Karn: The KISS TNC, 1987).

A frame is FEND (0xC0), a type byte, the data, FEND; inside, FEND and FESC are escaped by the very bytes of SLIP. The
type's high nibble is the TNC's port, its low nibble the command: 0 for data in both directions; the others set the TNC.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import attrs

from eqlbond.codec.limits import check_max_frame, receive_limit
from eqlbond.codec.stuffing import StuffedDecoder, StuffedFramer, escape, escaped_size
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet

REMEDIES: Final[Mapping[str, str]] = {
    "other_port": "the TNC sends from another of its ports: set Kiss(port=...) to the port of the radio",
    "too_long": "if this goes on, the peer's MTU is larger than max_frame: lower that MTU or raise max_frame",
}

_TICK: Final = 0.01  # the TNC's unit of time, seconds


class KissCommand(IntEnum):
    """The low nibble of the type byte."""

    DATA = 0
    TXDELAY = 1
    PERSISTENCE = 2
    SLOTTIME = 3
    TXTAIL = 4
    FULLDUPLEX = 5
    SETHARDWARE = 6
    RETURN = 15
    """With all bits of the type byte set; for the whole TNC."""


def _check_port(instance: Any, attribute: attrs.Attribute[int] | None, port: int) -> None:
    if not 0 <= port <= 15:
        raise ConfigurationError("port", f"a TNC has no port {port}: 0 to 15")


def kiss_encode(payload: bytes, port: int = 0, command: int = KissCommand.DATA) -> bytes:
    """A KISS frame. The type byte is escaped, too, where it must be (that of port 12 is a FEND).

    Raises:
        ConfigurationError: `port` or `command` is not within 0 to 15.

    >>> kiss_encode(b"hi").hex(" ")
    'c0 00 68 69 c0'
    """
    _check_port(None, None, port)
    if not 0 <= command <= 15:
        raise ConfigurationError("command", f"KISS has no command {command}: 0 to 15")
    return b"\xc0" + escape(bytes((port << 4 | command,)) + payload) + b"\xc0"


def _ticks(field: str, seconds: float) -> bytes:
    if not 0.0 <= seconds <= 255 * _TICK:
        raise ConfigurationError(field, f"{seconds} s is out of a TNC's range: 0 to 2.55 s")
    return bytes((round(seconds / _TICK),))


def tx_delay(seconds: float, port: int = 0) -> bytes:
    """The frame that sets the time between keying the transmitter and the first data: 0 to 2.55 s in steps of 10 ms.

    A TNC starts with 0.5 s. Raises `ConfigurationError`, as the others here do, for a value that cannot be sent.
    """
    return kiss_encode(_ticks("tx_delay", seconds), port, KissCommand.TXDELAY)


def persistence(probability: float, port: int = 0) -> bytes:
    """The frame that sets how likely the TNC sends when the channel is free, in each slot: 1/256 to 1.

    A TNC starts with 0.25.
    """
    if not 0.0 < probability <= 1.0:
        raise ConfigurationError("persistence", f"{probability} is no chance to send: above 0, at most 1")
    return kiss_encode(bytes((max(round(probability * 256) - 1, 0),)), port, KissCommand.PERSISTENCE)


def slot_time(seconds: float, port: int = 0) -> bytes:
    """The frame that sets the time between two looks at the channel: 0 to 2.55 s in steps of 10 ms.

    A TNC starts with 0.1 s.
    """
    return kiss_encode(_ticks("slot_time", seconds), port, KissCommand.SLOTTIME)


def tx_tail(seconds: float, port: int = 0) -> bytes:
    """The frame that sets how long the transmitter stays on behind a frame: 0 to 2.55 s in steps of 10 ms."""
    return kiss_encode(_ticks("tx_tail", seconds), port, KissCommand.TXTAIL)


def full_duplex(on: bool, port: int = 0) -> bytes:
    """The frame that lets the TNC send while it receives, or not. It starts with half duplex."""
    return kiss_encode(bytes((on,)), port, KissCommand.FULLDUPLEX)


def set_hardware(data: bytes, port: int = 0) -> bytes:
    """The frame that sets what only this make of TNC knows; see its manual."""
    return kiss_encode(data, port, KissCommand.SETHARDWARE)


def leave_kiss() -> bytes:
    """The frame that takes the TNC out of KISS mode (RETURN)."""
    return b"\xc0\xff\xc0"


class KissFramer(StuffedFramer):
    """The KISS of one connection: a `Framer`. Made by `Kiss.framer`.

    Frames that are dropped on receipt are counted in `dropped` by reason: ``too_long``, ``bad_escape``, ``preamble``
    (what came before the first FEND), ``other_port``, ``other_command`` (no data), ``empty`` (data of no bytes).
    """

    __slots__ = ("_type", "_type_size")

    def __init__(self, max_frame: int, port: int = 0) -> None:
        _check_port(None, None, port)
        super().__init__(StuffedDecoder(max_frame + 1), REMEDIES)
        self._type = bytes((port << 4 | KissCommand.DATA,))
        self._type_size = escaped_size(self._type)

    def encode(self, packet: Packet) -> bytes:
        """The packet as one data frame."""
        return b"\xc0" + escape(self._type + packet.payload) + b"\xc0"

    def wire_size(self, packet: Packet) -> int:
        """Exactly how many bytes `encode` makes of the packet."""
        return escaped_size(packet.payload) + self._type_size + 2

    def feed(self, data: bytes) -> list[Packet]:
        """Take what the TNC delivered, in any cut, and return the packets that it completes."""
        frames = self._decoder.feed(data)
        if not frames:
            return []
        wanted = self._type[0]
        return [Packet(frame[1:]) for frame in frames if (frame[0] == wanted and len(frame) > 1) or self._skip(frame)]

    def _skip(self, frame: bytes) -> bool:
        of_data = "empty" if frame[0] == self._type[0] else "other_port"
        self._decoder.drop("other_command" if frame[0] & 15 else of_data)
        return False


@attrs.frozen
class Kiss:
    """KISS framing, for packet-radio TNCs: a `Framing`.

    Args:
        port: the TNC's port, 0 to 15; what comes from other ports is dropped.
        max_frame: the largest payload accepted on receipt, in bytes; by default the MTU, and at least 1500.

    A payload is what the TNC sends as one frame on the air, commonly an AX.25 frame. The functions of this module
    that set the TNC (`tx_delay` and others) make frames to write to the port before the bond uses it.

    Raises:
        ConfigurationError: an option has a value that cannot work.
    """

    port: int = attrs.field(default=0, validator=_check_port)
    max_frame: int | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_max_frame(self.max_frame)

    def framer(self, mtu: int) -> KissFramer:
        """A framer for one connection that carries packets of up to `mtu` bytes.

        Raises:
            ConfigurationError: `max_frame` is below `mtu`, or `mtu` below 1.
        """
        return KissFramer(receive_limit(self.max_frame, mtu), self.port)
