"""The Challenge Handshake Authentication Protocol with MD5, both roles (RFC 1994).

The secret never goes over the line. Give each direction its own secret: with the same one on several lines, a
peer could pass our challenge on as its own and have us answer it.
"""

from __future__ import annotations

import hashlib
import hmac

import attrs

from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.codec.options import CHAP_PROTOCOL, USE_CHAP_MD5
from eqlbond.ppp.basics import RandomSource, Timing
from eqlbond.ppp.role import Role, refusal
from eqlbond.ppp.secret import Secrets, as_secret, check_credentials, printable, secret_of

CHALLENGE = 1
RESPONSE = 2
SUCCESS = 3
FAILURE = 4

CHALLENGE_SIZE = 16
"""Bytes of a challenge: as many as the digest has (RFC 1994 section 2.3)."""


@attrs.frozen
class Chap:
    """How we prove who we are where the peer asks for CHAP: `Chap("site7", "secret")`.

    The secret never shows in a repr. Raises `ConfigurationError` where name or secret is empty or over 255 bytes.
    """

    name: str
    secret: bytes = attrs.field(converter=as_secret, repr=False)

    protocol = USE_CHAP_MD5

    def __attrs_post_init__(self) -> None:
        check_credentials(self.name, self.secret, "CHAP names and secrets have")


def response_value(identifier: int, secret: bytes, challenge: bytes) -> bytes:
    """The answer to a challenge: MD5 over identifier, secret and challenge (RFC 1994 section 4.1)."""
    return hashlib.md5(bytes((identifier,)) + secret + challenge, usedforsecurity=False).digest()


def _value_and_name(data: bytes) -> tuple[bytes, bytes] | None:
    """The value and the name of a Challenge or Response, or None where the lengths lie."""
    if not data or len(data) < 1 + data[0]:
        return None
    return data[1 : 1 + data[0]], data[1 + data[0] :]


class ChapPeer(Role):
    """Proves ourselves by CHAP: answers challenges, at the start and whenever the peer sends another."""

    protocol = CHAP_PROTOCOL

    def __init__(self, credentials: Chap, timing: Timing) -> None:
        super().__init__(timing)
        self.authenticator_name: str | None = None
        self.own_challenges: list[bytes] = []
        """Challenges that we have sent on this link: one that comes back is not answered (it would be our proof)."""
        self._credentials = credentials
        self._response: ControlPacket | None = None
        self._answered: set[int] = set()

    def start(self, now: float) -> None:
        """Begin to wait for the peer's challenge."""
        self._await_peer(now)

    def _time_out(self, now: float) -> None:
        if self._response is None:
            self._fail("the peer sent no CHAP challenge")
        else:
            self._send_again(self._respond, now, "CHAP responses")

    def receive(self, information: bytes, now: float) -> None:
        """Take one packet. Never raises."""
        packet = parse_control(information)
        if packet is None or self.failure is not None:
            return
        if packet.code == CHALLENGE:
            self._challenged(packet, now)
        elif packet.identifier in self._answered:
            if packet.code == SUCCESS:
                self.done = True
                self._deadline = None
                self._answered = {packet.identifier}
            elif packet.code == FAILURE:
                self._fail(refusal(self._credentials.name, "CHAP", printable(packet.data)))

    def _challenged(self, packet: ControlPacket, now: float) -> None:
        fields = _value_and_name(packet.data)
        if fields is None or not fields[0] or fields[0] in self.own_challenges:
            return
        self.authenticator_name = printable(fields[1])
        secret, name = self._credentials.secret, self._credentials.name.encode()
        value = response_value(packet.identifier, secret, fields[0])
        self._response = ControlPacket(RESPONSE, packet.identifier, bytes((len(value),)) + value + name)
        self._answered.add(packet.identifier)
        self._sent = 0
        self._respond(now)

    def _respond(self, now: float) -> None:
        """The peer allows repeated responses, since its Success may have been lost (RFC 1994 section 4.2)."""
        assert self._response is not None
        self._send(self._response, now)
        if self.done:  # in the Network phase a Success that is lost ends nothing: the session goes on
            self._deadline = None


class ChapAuthenticator(Role):
    """Demands that the peer proves itself by CHAP.

    Each transmission has a fresh identifier and challenge (RFC 1994 section 4.1), and a response to any of the
    latest few counts, so that a round trip longer than the restart timer does no harm. One wrong response ends it.
    """

    protocol = CHAP_PROTOCOL

    def __init__(
        self,
        name: str,
        secrets: Secrets,
        random: RandomSource,
        timing: Timing,
        again_every: float | None = None,
    ) -> None:
        super().__init__(timing)
        self.peer_name: str | None = None
        self.challenges: list[bytes] = []
        """The challenges that were sent, the latest last; the list is shared with our own `ChapPeer`."""
        self._name = name.encode()
        self._secrets = secrets
        self._random = random
        self._again_every = again_every
        self._identifier = random.randbytes(1)[0]
        self._open: dict[int, bytes] = {}
        self._answered: dict[int, tuple[int, bytes]] = {}

    def start(self, now: float) -> None:
        """Send the first challenge."""
        self._challenge(now)

    def _time_out(self, now: float) -> None:
        self._send_again(self._challenge, now, "CHAP challenges")

    def receive(self, information: bytes, now: float) -> None:
        """Take one packet. Never raises."""
        packet = parse_control(information)
        if packet is None or packet.code != RESPONSE:
            return
        if packet.identifier in self._open and self.failure is None:
            self._judge(packet, now)
        elif packet.identifier in self._answered:
            # The same reply to the same identifier, whatever the response says now (RFC 1994 section 4.2).
            code, message = self._answered[packet.identifier]
            self._output.append(ControlPacket(code, packet.identifier, message).encode())

    def _judge(self, packet: ControlPacket, now: float) -> None:
        fields = _value_and_name(packet.data)
        if fields is None:
            return
        value, name = fields[0], printable(fields[1])
        challenge = self._open.pop(packet.identifier)
        secret, trouble = secret_of(self._secrets, name)
        known = secret is not None and len(fields[1]) <= 255
        expected = response_value(packet.identifier, secret or b"\0", challenge)
        good = hmac.compare_digest(value, expected)
        self._sent = 0
        if self.peer_name is not None and name != self.peer_name:
            known, trouble = False, f"; it was {self.peer_name!r} before"
        if known and secret and good:
            self.done = True
            self.peer_name = name
            self._reply(packet.identifier, SUCCESS, b"")
            self._deadline = None if self._again_every is None else now + self._again_every
        else:
            self._fail(f"the peer calls itself {name!r} and gave a wrong name or secret (CHAP){trouble}")
            self._reply(packet.identifier, FAILURE, b"wrong name or secret")

    def _reply(self, identifier: int, code: int, message: bytes) -> None:
        self._answered[identifier] = code, message
        self._output.append(ControlPacket(code, identifier, message).encode())

    def _challenge(self, now: float) -> None:
        if self.done and not self._sent:
            self._open.clear()  # A new round: what was left open in the one before is void.
            self._answered.clear()
        self._identifier = self._identifier + 1 & 0xFF
        challenge = self._random.randbytes(CHALLENGE_SIZE)
        self._open[self._identifier] = challenge
        self.challenges.append(challenge)
        del self.challenges[: -self._timing.max_configure]
        data = bytes((len(challenge),)) + challenge + self._name
        self._send(ControlPacket(CHALLENGE, self._identifier, data), now)
