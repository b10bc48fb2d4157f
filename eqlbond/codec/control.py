"""The packets of PPP's control protocols: code, identifier, length, data (RFC 1661 section 5).

LCP, the NCPs, PAP and CHAP share the form; each gives the codes their meaning.
"""

from __future__ import annotations

from typing import NamedTuple

CONFIGURE_REQUEST = 1
CONFIGURE_ACK = 2
CONFIGURE_NAK = 3
CONFIGURE_REJECT = 4
TERMINATE_REQUEST = 5
TERMINATE_ACK = 6
CODE_REJECT = 7
PROTOCOL_REJECT = 8
ECHO_REQUEST = 9
ECHO_REPLY = 10
DISCARD_REQUEST = 11
IDENTIFICATION = 12
"""RFC 1570 section 1.1."""
TIME_REMAINING = 13
"""RFC 1570 section 1.2."""

HEADER = 4
"""Bytes before the data."""

CODE_NAMES = {
    CONFIGURE_REQUEST: "Configure-Request",
    CONFIGURE_ACK: "Configure-Ack",
    CONFIGURE_NAK: "Configure-Nak",
    CONFIGURE_REJECT: "Configure-Reject",
    TERMINATE_REQUEST: "Terminate-Request",
    TERMINATE_ACK: "Terminate-Ack",
    CODE_REJECT: "Code-Reject",
    PROTOCOL_REJECT: "Protocol-Reject",
    ECHO_REQUEST: "Echo-Request",
    ECHO_REPLY: "Echo-Reply",
    DISCARD_REQUEST: "Discard-Request",
    IDENTIFICATION: "Identification",
    TIME_REMAINING: "Time-Remaining",
}


class ControlPacket(NamedTuple):
    """One control packet, as it stands in the information field of a frame."""

    code: int
    identifier: int
    data: bytes = b""

    def encode(self) -> bytes:
        """The packet's bytes. The data must fit the 16-bit length: at most 65531 bytes."""
        return bytes((self.code, self.identifier)) + (HEADER + len(self.data)).to_bytes(2, "big") + self.data


def parse_control(information: bytes) -> ControlPacket | None:
    """The control packet that a frame's information field holds, or None where its length cannot be true.

    Bytes beyond the length are padding and dropped; a length that reaches past the end, or that
    is shorter than the header, makes the packet one to discard silently (RFC 1661 section 5).
    """
    if len(information) < HEADER:
        return None
    length = information[2] << 8 | information[3]
    if not HEADER <= length <= len(information):
        return None
    return ControlPacket(information[0], information[1], bytes(information[HEADER:length]))
