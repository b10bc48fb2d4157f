"""Asynchronous PPP framing: HDLC-like framing with octet stuffing (RFC 1662).

A frame is flag, address FF, control 03, protocol, information, frame check sequence, flag. What two peers agree on by
LCP changes how it is sent: the ACCM, the size of the FCS, and whether address and control (ACFC) and the first
octet of the protocol (PFC) are left out. On receipt both compressed forms are always understood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from eqlbond.codec.accm import DEFAULT_ACCM, ESCAPE, FLAG, XON_XOFF, accm_tables, unescape
from eqlbond.codec.fcs import FCS16_SIZE, FCS32_SIZE, fcs16_good, fcs16_trailer, fcs32_good, fcs32_trailer
from eqlbond.codec.ip import V6_HEADER, V6_PAYLOAD_LENGTH, is_ip_packet
from eqlbond.codec.limits import check_max_frame, receive_limit
from eqlbond.codec.stuffing import END, ESC, Splitter
from eqlbond.codec.stuffing import unescape as slip_unescape
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import IPV4, IPV6, Packet

LCP: Final = 0xC021
"""PPP protocol number of the Link Control Protocol (RFC 1661)."""

REMEDIES: Final[Mapping[str, str]] = {
    "looks_like_slip": "the peer speaks SLIP, and this line is set to PPP: set both ends to the same framing",
    "too_long": "if this goes on, the peer ignores this end's MRU: lower the peer's MTU or raise max_frame",
}

_ADDRESS: Final = 0xFF
_CONTROL: Final = 0x03
_ADDRESS_CONTROL: Final = bytes((_ADDRESS, _CONTROL))
# Address, control, two octets of protocol and the longest FCS.
_OVERHEAD: Final = 4 + FCS32_SIZE
_FLAG_BYTE: Final = bytes((FLAG,))


def _check_accm(instance: Any, attribute: attrs.Attribute[int], value: int) -> None:
    if not 0 <= value <= 0xFFFFFFFF:
        raise ConfigurationError(attribute.name, f"{value:#x} is no map of 32 bits: 0 to 0xffffffff")


def _check_fcs(instance: Any, attribute: attrs.Attribute[int], value: int) -> None:
    if value not in (16, 32):
        raise ConfigurationError(attribute.name, f"there is no FCS-{value}: 16 or 32")


@attrs.frozen
class HdlcOptions:
    """How frames look in one direction. The defaults are those of a connection before LCP has agreed on anything.

    Raises:
        ConfigurationError: an option has a value that cannot work.
    """

    accm: int = attrs.field(default=DEFAULT_ACCM, validator=_check_accm)
    """The control characters that are escaped, as a number of 32 bits: bit n stands for the octet n."""
    fcs: int = attrs.field(default=16, validator=_check_fcs)
    """Bits of the frame check sequence: 16 or 32."""
    acfc: bool = False
    """Whether address and control are left out."""
    pfc: bool = False
    """Whether the first octet of the protocol is left out where it is 0."""


DEFAULTS: Final = HdlcOptions()
"""The options before LCP has agreed on others (RFC 1662 section 7)."""


def _header(protocol: int, options: HdlcOptions) -> bytes:
    address = b"" if options.acfc else _ADDRESS_CONTROL
    return address + (bytes((protocol,)) if options.pfc and protocol < 0x100 else protocol.to_bytes(2, "big"))


def hdlc_encode(protocol: int, payload: bytes, options: HdlcOptions = DEFAULTS, leading_flag: bool = True) -> bytes:
    """The payload as a PPP frame.

    >>> hdlc_encode(0xC021, b"\\x09\\x01\\x00\\x04").hex(" ")
    '7e ff 7d 23 c0 21 7d 29 7d 21 7d 20 7d 24 7d 29 50 7e'
    """
    body = _header(protocol, options) + payload
    trailer = fcs16_trailer(body) if options.fcs == 16 else fcs32_trailer(body)
    escaped = accm_tables(options.accm).escape(body + trailer)
    return b"\x7e" + escaped + b"\x7e" if leading_flag else escaped + b"\x7e"


def default_protocol(payload: bytes) -> int:
    """The protocol of a packet that names none: IPv6 where it has such a header, version and length, else IPv4."""
    if len(payload) >= V6_HEADER and payload[0] >> 4 == 6:
        length = int.from_bytes(payload[V6_PAYLOAD_LENGTH], "big")
        if length + V6_HEADER == len(payload):
            return IPV6
    return IPV4


class HdlcFramer:
    """The PPP framing of one connection: a `Framer`. Both directions can be set anew at any time, by an LCP.

    Args:
        max_frame: the largest information field accepted, in bytes.
        send: how frames are sent.
        receive: how the peer sends them. Only its ACCM and FCS matter.
        leading_flag: whether a frame is sent with a flag before it, too, so that line noise does not damage it.

    LCP packets are always sent with the default ACCM and uncompressed (RFC 1661 section 6, RFC 1662 section 7.1).

    Frames that are dropped on receipt are counted in `dropped` by reason:

    - ``bad_fcs``: damaged.
    - ``aborted``: ended by 7D 7E.
    - ``too_long``: over `max_frame`. Decoding goes on at the next flag.
    - ``too_short``: no room for a protocol, any information and the FCS.
    - ``bad_address``: FF with another control than 03.
    - ``bad_protocol``: a number that breaks the rule of RFC 1661 section 2 (odd, and its first octet even).
    - ``preamble``: what came before the first flag.
    - ``looks_like_slip``: an IP packet framed by SLIP, from a peer that has not sent one good PPP frame yet.
    """

    __slots__ = (
        "_good",
        "_headers",
        "_leading_flag",
        "_limit",
        "_max_frame",
        "_opening",
        "_receive",
        "_remove",
        "_send",
        "_slip",
        "_splitter",
        "_tables",
        "_trailer",
        "_trailer_size",
        "dropped",
    )

    def __init__(
        self,
        max_frame: int,
        send: HdlcOptions = DEFAULTS,
        receive: HdlcOptions = DEFAULTS,
        leading_flag: bool = True,
    ) -> None:
        if max_frame < 1:
            raise ConfigurationError("max_frame", f"{max_frame} bytes hold no packet: at least 1")
        self.dropped: dict[str, int] = {}
        """Frames dropped on receipt, by reason; only reasons that occurred."""
        self._max_frame = max_frame
        self._limit = 2 * (max_frame + _OVERHEAD)
        self._leading_flag = leading_flag
        self._splitter = Splitter(FLAG, self._limit)
        self._opening = True
        # Until the first good frame the stream is also read as SLIP, to tell the user when it is that.
        self._slip: Splitter | None = Splitter(END, 2 * max_frame)
        self._use_to_send(send)
        self._use_to_receive(receive)

    @property
    def send(self) -> HdlcOptions:
        """How frames are sent."""
        return self._send

    @property
    def receive(self) -> HdlcOptions:
        """How the peer's frames are read. Both compressed forms are read whatever is set."""
        return self._receive

    def set_transmit(self, *, accm: int = DEFAULT_ACCM, fcs: int = 16, acfc: bool = False, pfc: bool = False) -> None:
        """How frames are sent from now on, with the fields of `HdlcOptions`.

        Raises:
            ConfigurationError: a value that cannot work.
        """
        self._use_to_send(HdlcOptions(accm=accm, fcs=fcs, acfc=acfc, pfc=pfc))

    def set_receive(self, *, accm: int = DEFAULT_ACCM, fcs: int = 16) -> None:
        """How the peer's frames are read from the next `feed` on: the ACCM it escapes by, and its FCS.

        Raises:
            ConfigurationError: a value that cannot work.
        """
        self._use_to_receive(HdlcOptions(accm=accm, fcs=fcs))

    def _use_to_send(self, options: HdlcOptions) -> None:
        self._send = options
        self._tables = accm_tables(options.accm)
        self._trailer: Callable[[bytes], bytes] = fcs16_trailer if options.fcs == 16 else fcs32_trailer
        self._trailer_size = FCS16_SIZE if options.fcs == 16 else FCS32_SIZE
        self._headers: dict[int, bytes] = {}

    def _use_to_receive(self, options: HdlcOptions) -> None:
        self._receive = options
        self._remove = accm_tables(options.accm).control
        self._good: Callable[[bytes], bool] = fcs16_good if options.fcs == 16 else fcs32_good

    @property
    def remedies(self) -> Mapping[str, str]:
        """What a person can do about ``looks_like_slip`` and ``too_long``."""
        return REMEDIES

    @property
    def held(self) -> int:
        """Bytes of what is not complete yet."""
        return self._splitter.held + (self._slip.held if self._slip is not None else 0)

    def encode(self, packet: Packet, defaults: bool = False) -> bytes:
        """The packet as one frame; with `defaults`, as if nothing had been negotiated."""
        payload = packet.payload
        protocol = packet.protocol
        if protocol is None:
            protocol = default_protocol(payload)
        if protocol == LCP or defaults:
            options = DEFAULTS if defaults else self._send_options(protocol)
            return hdlc_encode(protocol, payload, options, self._leading_flag)
        body = (self._headers.get(protocol) or self._add_header(protocol)) + payload
        escaped = self._tables.escape(body + self._trailer(body))
        return b"\x7e" + escaped + b"\x7e" if self._leading_flag else escaped + b"\x7e"

    def _add_header(self, protocol: int) -> bytes:
        if len(self._headers) >= 16:
            self._headers.clear()
        header = self._headers[protocol] = _header(protocol, self._send)
        return header

    def wire_size(self, packet: Packet) -> int:
        """How many bytes `encode` makes of the packet, with escapes in the FCS left out.

        So it is too small by 0 to 2 bytes with FCS-16 and by 0 to 4 with FCS-32, on the average by 0.02 and 0.03
        with an ACCM of 0, and by 0.3 and 0.5 with all control characters escaped.
        """
        protocol = packet.protocol
        if protocol is None:
            protocol = default_protocol(packet.payload)
        options = self._send
        tables = self._tables
        if protocol == LCP:
            options = self._send_options(protocol)
            tables = accm_tables(options.accm)
        header = _header(protocol, options)
        return tables.size(header) + tables.size(packet.payload) + self._trailer_size + 1 + self._leading_flag

    def _send_options(self, protocol: int) -> HdlcOptions:
        options = self._send
        if protocol == LCP and options != DEFAULTS:
            return HdlcOptions(fcs=options.fcs)
        return options

    def feed(self, data: bytes) -> list[Packet]:
        """Take what the line delivered, in any cut, and return the packets that it completes."""
        pieces = self._splitter.feed(data)
        packets: list[Packet] = []
        for piece in pieces:
            opening = self._opening
            self._opening = False
            if not piece:
                continue
            packet = self._read(piece)
            if isinstance(packet, Packet):
                packets.append(packet)
            elif packet:
                # A frame whose leading flag was lost would have been good all the same.
                self._drop("preamble" if opening else packet)
        if packets:
            self._slip = None
        elif self._slip is not None:
            self._look_for_slip(self._slip, data)
        return packets

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _look_for_slip(self, slip: Splitter, data: bytes) -> None:
        for piece in slip.feed(data):
            frame = slip_unescape(piece) if ESC in piece else piece
            if frame is not None and is_ip_packet(frame):
                self._drop("looks_like_slip")

    def _read(self, body: bytes) -> Packet | str | None:
        """The packet in what stood between two flags, or the reason to drop it; None when it was nothing at all."""
        if len(body) > self._limit:
            return "too_long"
        if self._remove:
            # Put in on the way: a control character that the peer would have escaped (RFC 1662 section 4.2).
            body = body.translate(None, self._remove)
            if not body:
                return None
        if ESCAPE in body:
            frame = unescape(body)
            if frame is None:
                return "aborted"
            body = frame
        receive = self._receive
        trailer = FCS16_SIZE if receive.fcs == 16 else FCS32_SIZE
        if len(body) < 2 + trailer:
            return "too_short"
        if not self._good(body):
            # A peer that starts LCP again does so with the defaults.
            if receive.fcs == 16 or not body.startswith(b"\xff\x03\xc0\x21") or not fcs16_good(body):
                return "bad_fcs"
            trailer = FCS16_SIZE
        start = 0
        if body[0] == _ADDRESS:
            if body[1] != _CONTROL:
                return "bad_address"
            start = 2
        protocol = body[start]
        if protocol & 1:
            start += 1
        else:
            protocol = protocol << 8 | body[start + 1]
            if not protocol & 1:
                return "bad_protocol"
            start += 2
        payload = body[start:-trailer]
        if len(payload) > self._max_frame:
            return "too_long"
        if not payload:
            return "too_short"
        return Packet(payload, protocol)


@attrs.frozen
class Hdlc:
    """PPP framing without PPP, for lines whose two ends are set alike by hand: a `Framing`.

    There is no LCP: what is set here is used in both directions at once. Packets carry their protocol; one that
    names none goes as IPv6 or IPv4 by its version field, and as IPv4 when it is neither.

    Args:
        max_frame: the largest payload accepted on receipt, in bytes; by default the MTU, and at least 1500.
        accm: the control characters to escape; 0xA0000 where the line does XON/XOFF.
        fcs: bits of the frame check sequence, 16 or 32; 32 is stronger and, here, cheaper.
        acfc: send without address and control: two bytes less a frame.
        pfc: send protocols below 0x100 in one byte.
        leading_flag: send a flag before each frame, too, so that line noise does not damage it.

    Raises:
        ConfigurationError: an option has a value that cannot work.
    """

    max_frame: int | None = attrs.field(default=None, kw_only=True)
    accm: int = attrs.field(default=0, kw_only=True, validator=_check_accm)
    fcs: int = attrs.field(default=16, kw_only=True, validator=_check_fcs)
    acfc: bool = attrs.field(default=False, kw_only=True)
    pfc: bool = attrs.field(default=False, kw_only=True)
    leading_flag: bool = attrs.field(default=True, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_max_frame(self.max_frame)

    @property
    def escapes_xonxoff(self) -> bool:
        """Whether the line may do software flow control."""
        return self.accm & XON_XOFF == XON_XOFF

    def framer(self, mtu: int) -> HdlcFramer:
        """A framer for one connection that carries packets of up to `mtu` bytes.

        Raises:
            ConfigurationError: `max_frame` is below `mtu`, or `mtu` below 1.
        """
        options = HdlcOptions(accm=self.accm, fcs=self.fcs, acfc=self.acfc, pfc=self.pfc)
        return HdlcFramer(receive_limit(self.max_frame, mtu), options, options, self.leading_flag)
