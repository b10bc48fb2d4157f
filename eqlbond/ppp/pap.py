"""The Password Authentication Protocol, both roles (RFC 1334 section 2).

The password goes over the line in clear: where the peer speaks CHAP, use that.
"""

from __future__ import annotations

import hmac

import attrs

from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.codec.options import PAP_PROTOCOL, USE_PAP
from eqlbond.ppp.basics import RandomSource, Timing
from eqlbond.ppp.role import Role, refusal
from eqlbond.ppp.secret import Secrets, as_secret, check_credentials, printable, secret_of

AUTHENTICATE_REQUEST = 1
AUTHENTICATE_ACK = 2
AUTHENTICATE_NAK = 3


@attrs.frozen
class Pap:
    """How we prove who we are where the peer asks for PAP: `Pap("site7", "secret")`.

    The secret never shows in a repr. Raises `ConfigurationError` where name or secret is empty or over 255 bytes.
    """

    name: str
    secret: bytes = attrs.field(converter=as_secret, repr=False)

    protocol = USE_PAP

    def __attrs_post_init__(self) -> None:
        check_credentials(self.name, self.secret, "PAP carries")


class PapPeer(Role):
    """Proves ourselves by PAP: repeats the request until it is answered."""

    protocol = PAP_PROTOCOL

    def __init__(self, credentials: Pap, random: RandomSource, timing: Timing) -> None:
        super().__init__(timing)
        self._credentials = credentials
        self._identifier = random.randbytes(1)[0]
        self._ids: set[int] = set()

    def start(self, now: float) -> None:
        """Begin: the link is in the Authenticate phase."""
        self._request(now)

    def _time_out(self, now: float) -> None:
        self._send_again(self._request, now, "PAP requests")

    def receive(self, information: bytes, now: float) -> None:
        """Take one packet. Never raises."""
        packet = parse_control(information)
        if packet is None or self._deadline is None or packet.identifier not in self._ids:
            return
        if packet.code == AUTHENTICATE_ACK:
            self.done = True
            self._deadline = None
        elif packet.code == AUTHENTICATE_NAK:
            said = printable(packet.data[1 : 1 + packet.data[0]]) if packet.data else ""
            self._fail(refusal(self._credentials.name, "PAP", said))

    def _request(self, now: float) -> None:
        """Each request has a fresh identifier (RFC 1334 section 2.2.1); an answer to any of them counts, so that a
        round trip longer than the restart timer does no harm."""
        self._identifier = self._identifier + 1 & 0xFF
        self._ids.add(self._identifier)
        name, secret = self._credentials.name.encode(), self._credentials.secret
        data = bytes((len(name),)) + name + bytes((len(secret),)) + secret
        self._send(ControlPacket(AUTHENTICATE_REQUEST, self._identifier, data), now)


class PapAuthenticator(Role):
    """Demands that the peer proves itself by PAP.

    One wrong request ends it: there is no second guess on the same connection. After the verdict every repeated
    request gets the same reply again, for the reply may have been lost (RFC 1334 section 2.2.1).
    """

    protocol = PAP_PROTOCOL

    def __init__(self, secrets: Secrets, timing: Timing) -> None:
        super().__init__(timing)
        self.peer_name: str | None = None
        self._secrets = secrets
        self._verdict: tuple[int, bytes] | None = None

    def start(self, now: float) -> None:
        """Begin to wait for the peer's request."""
        self._await_peer(now)

    def _time_out(self, now: float) -> None:
        self._fail("the peer did not authenticate itself by PAP in time")

    def receive(self, information: bytes, now: float) -> None:
        """Take one packet. Never raises."""
        packet = parse_control(information)
        if packet is None or packet.code != AUTHENTICATE_REQUEST:
            return
        if self._verdict is None and self._deadline is not None:
            self._judge(packet.data)
        if self._verdict is not None:
            code, text = self._verdict
            data = bytes((len(text),)) + text
            self._output.append(ControlPacket(code, packet.identifier, data).encode())

    def _judge(self, data: bytes) -> None:
        fields = _fields(data)
        if fields is None:
            return
        name, password = printable(fields[0]), fields[1]
        secret, trouble = secret_of(self._secrets, name)
        good = hmac.compare_digest(password, secret if secret is not None else b"")
        self._deadline = None
        if secret and good:
            self.done = True
            self.peer_name = name
            self._verdict = AUTHENTICATE_ACK, b""
        else:
            self._fail(f"the peer calls itself {name!r} and gave a wrong name or secret (PAP){trouble}")
            self._verdict = AUTHENTICATE_NAK, b"wrong name or secret"


def _fields(data: bytes) -> tuple[bytes, bytes] | None:
    """Name and password of a request, or None where the lengths lie."""
    if not data:
        return None
    name, rest = data[1 : 1 + data[0]], data[1 + data[0] :]
    if len(name) != data[0] or not rest or len(rest) < 1 + rest[0]:
        return None
    return name, rest[1 : 1 + rest[0]]
