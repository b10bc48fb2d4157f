"""The phases of a link and what happens in them, as values (RFC 1661 section 3)."""

from __future__ import annotations

import enum

import attrs

from eqlbond.codec.options import EndpointDiscriminator


class Phase(enum.Enum):
    """RFC 1661 section 3.2."""

    DEAD = "dead"
    ESTABLISH = "establish"
    AUTHENTICATE = "authenticate"
    NETWORK = "network"
    TERMINATE = "terminate"


@attrs.frozen
class PeerIdentity:
    """Who the peer is, as far as it has shown: links with equal ones may share a bundle (RFC 1990 5.1.3)."""

    name: str | None
    """The name that it authenticated itself with; None where we did not ask."""
    endpoint: EndpointDiscriminator | None
    """Its endpoint discriminator; None where it sent none."""


@attrs.frozen
class LinkEvent:
    """The root of what a link tells. `time` is in seconds of the caller's clock."""

    time: float


@attrs.frozen
class LinkPhaseChanged(LinkEvent):
    """The link is in another phase."""

    phase: Phase
    reason: str | None = None
    """Why the link ends, on the way to TERMINATE and DEAD."""


@attrs.frozen
class LinkPeerAuthenticated(LinkEvent):
    """The peer proved who it is."""

    name: str


@attrs.frozen
class LinkOptionRefused(LinkEvent):
    """We refused an option of the peer's."""

    protocol: str
    option: str
    why: str


@attrs.frozen
class ProtocolRejected(LinkEvent):
    """The peer does not speak a protocol (Protocol-Reject). For an NCP: tell the `Network`."""

    protocol: int


@attrs.frozen
class LinkPeerSaid(LinkEvent):
    """The peer said what it is, or how much time remains (RFC 1570 section 1)."""

    text: str


@attrs.frozen
class NcpUp(LinkEvent):
    """A network protocol is open: its packets may flow."""

    protocol: int


@attrs.frozen
class NcpDown(LinkEvent):
    """A network protocol is closed."""

    protocol: int
    reason: str | None = None
