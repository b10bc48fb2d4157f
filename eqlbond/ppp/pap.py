"""The Password Authentication Protocol, both roles (RFC 1334 section 2).

The password goes over the line in clear: where the peer speaks CHAP, use that.
"""

from __future__ import annotations

import hmac

import attrs

from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.codec.options import PAP_PROTOCOL, USE_PAP
from eqlbond.exceptions import ConfigurationError
from eqlbond.ppp.basics import RandomSource, Timing
from eqlbond.ppp.secret import Secrets, as_secret, printable, secret_of

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
        for field, size in (("name", len(self.name.encode())), ("secret", len(self.secret))):
            if not 1 <= size <= 255:
                raise ConfigurationError(field, f"PAP carries 1 to 255 bytes, this has {size}")


class PapPeer:
    """Proves ourselves by PAP: repeats the request until it is answered."""

    protocol = PAP_PROTOCOL

    def __init__(self, credentials: Pap, random: RandomSource, timing: Timing) -> None:
        self.done = False
        self.failure: str | None = None
        self._credentials = credentials
        self._timing = timing
        self._identifier = random.randbytes(1)[0]
        self._sent = 0
        self._ids: set[int] = set()
        self._output: list[bytes] = []
        self._deadline: float | None = None

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due, or None."""
        return self._deadline

    def take_output(self) -> list[bytes]:
        """The packets to send."""
        output, self._output = self._output, []
        return output

    def start(self, now: float) -> None:
        """Begin: the link is in the Authenticate phase."""
        self._request(now)

    def tick(self, now: float) -> None:
        """Do what is due at `now`."""
        if self._deadline is None or now < self._deadline:
            return
        if self._sent >= self._timing.max_configure:
            self._deadline = None
            self.failure = f"the peer did not answer {self._sent} PAP requests"
        else:
            self._request(now)

    def receive(self, information: bytes, now: float) -> None:
        """Take one packet. Never raises."""
        packet = parse_control(information)
        if packet is None or self._deadline is None or packet.identifier not in self._ids:
            return
        if packet.code == AUTHENTICATE_ACK:
            self.done = True
            self._deadline = None
        elif packet.code == AUTHENTICATE_NAK:
            self._deadline = None
            said = printable(packet.data[1 : 1 + packet.data[0]]) if packet.data else ""
            self.failure = f"the peer refused our name {self._credentials.name!r} or its secret (PAP)" + (
                f": {said}" if said else ""
            )

    def _request(self, now: float) -> None:
        """Each request has a fresh identifier (RFC 1334 section 2.2.1); an answer to any of them counts, so that a
        round trip longer than the restart timer does no harm."""
        self._identifier = self._identifier + 1 & 0xFF
        self._ids.add(self._identifier)
        name, secret = self._credentials.name.encode(), self._credentials.secret
        data = bytes((len(name),)) + name + bytes((len(secret),)) + secret
        self._output.append(ControlPacket(AUTHENTICATE_REQUEST, self._identifier, data).encode())
        self._sent += 1
        self._deadline = now + self._timing.restart


class PapAuthenticator:
    """Demands that the peer proves itself by PAP.

    One wrong request ends it: there is no second guess on the same connection. After the verdict every repeated
    request gets the same reply again, for the reply may have been lost (RFC 1334 section 2.2.1).
    """

    protocol = PAP_PROTOCOL

    def __init__(self, secrets: Secrets, timing: Timing) -> None:
        self.done = False
        self.failure: str | None = None
        self.peer_name: str | None = None
        self._secrets = secrets
        self._timing = timing
        self._output: list[bytes] = []
        self._deadline: float | None = None
        self._verdict: tuple[int, bytes] | None = None

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due, or None."""
        return self._deadline

    def take_output(self) -> list[bytes]:
        """The packets to send."""
        output, self._output = self._output, []
        return output

    def start(self, now: float) -> None:
        """Begin to wait for the peer's request."""
        self._deadline = now + self._timing.restart * self._timing.max_configure

    def tick(self, now: float) -> None:
        """Do what is due at `now`."""
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self.failure = "the peer did not authenticate itself by PAP in time"

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
            self.failure = f"the peer calls itself {name!r} and gave a wrong name or secret (PAP){trouble}"
            self._verdict = AUTHENTICATE_NAK, b"wrong name or secret"


def _fields(data: bytes) -> tuple[bytes, bytes] | None:
    """Name and password of a request, or None where the lengths lie."""
    if not data:
        return None
    name, rest = data[1 : 1 + data[0]], data[1 + data[0] :]
    if len(name) != data[0] or not rest or len(rest) < 1 + rest[0]:
        return None
    return name, rest[1 : 1 + rest[0]]
