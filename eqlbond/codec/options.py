"""Configuration options of PPP's control protocols: type, length, data (RFC 1661 section 6).

An `Option` is the raw form; an `OptionKind` gives one type its name and turns data into a value and back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

import attrs

from eqlbond.exceptions import ConfigurationError

T = TypeVar("T")


class Option(NamedTuple):
    """One option as it stands in a packet."""

    type: int
    data: bytes = b""

    def encode(self) -> bytes:
        """The option's bytes; the data is at most 253 bytes long."""
        return bytes((self.type, 2 + len(self.data))) + self.data


def parse_options(data: bytes) -> tuple[Option, ...] | None:
    """The options that a Configure packet lists, or None where their lengths do not add up."""
    options = []
    place = 0
    while place < len(data):
        if place + 2 > len(data):
            return None
        length = data[place + 1]
        if length < 2 or place + length > len(data):
            return None
        options.append(Option(data[place], bytes(data[place + 2 : place + length])))
        place += length
    return tuple(options)


def encode_options(options: Iterable[Option]) -> bytes:
    """The options as the data of a Configure packet."""
    return b"".join([option.encode() for option in options])


@attrs.frozen
class OptionKind(Generic[T]):
    """A type of option: `make` a value into an option, `read` an option's value."""

    type: int
    name: str
    """As its RFC calls it."""
    _encode: Callable[[T], bytes] = attrs.field(repr=False)
    _decode: Callable[[bytes], T | None] = attrs.field(repr=False)

    def make(self, value: T) -> Option:
        """The option that carries the value."""
        return Option(self.type, self._encode(value))

    def read(self, option: Option) -> T | None:
        """The value, or None where the option's length or content does not fit its type."""
        return self._decode(option.data)


def _number(type_: int, name: str, size: int) -> OptionKind[int]:
    def encode(value: int) -> bytes:
        return value.to_bytes(size, "big")

    def decode(data: bytes) -> int | None:
        return int.from_bytes(data, "big") if len(data) == size else None

    return OptionKind(type_, name, encode, decode)


def _flag(type_: int, name: str) -> OptionKind[bool]:
    def encode(value: bool) -> bytes:
        return b""

    def decode(data: bytes) -> bool | None:
        return None if data else True

    return OptionKind(type_, name, encode, decode)


def _address(type_: int, name: str) -> OptionKind[ipaddress.IPv4Address]:
    def encode(value: ipaddress.IPv4Address) -> bytes:
        return value.packed

    def decode(data: bytes) -> ipaddress.IPv4Address | None:
        return ipaddress.IPv4Address(data) if len(data) == 4 else None

    return OptionKind(type_, name, encode, decode)


class AuthenticationProtocol(NamedTuple):
    """What Authentication-Protocol asks for: the protocol's number and what it adds, such as CHAP's algorithm."""

    protocol: int
    parameters: bytes = b""


PAP_PROTOCOL = 0xC023
CHAP_PROTOCOL = 0xC223
USE_PAP = AuthenticationProtocol(PAP_PROTOCOL)
"""RFC 1334 section 2.1."""
USE_CHAP_MD5 = AuthenticationProtocol(CHAP_PROTOCOL, b"\x05")
"""RFC 1994 section 3; algorithm 5 is MD5."""


def _encode_authentication(value: AuthenticationProtocol) -> bytes:
    return value.protocol.to_bytes(2, "big") + value.parameters


def _decode_authentication(data: bytes) -> AuthenticationProtocol | None:
    if len(data) < 2:
        return None
    return AuthenticationProtocol(int.from_bytes(data[:2], "big"), data[2:])


_CLASS_NAMES = ("null", "local", "IPv4", "MAC", "magic", "phone")
_CLASS_SIZES = (
    range(1),
    range(1, 21),
    range(4, 5),
    range(6, 7),
    range(4, 21, 4),
    range(1, 16),
)


@attrs.frozen(repr=False)
class EndpointDiscriminator:
    """Who a system says that it is, so that lines to the same system can be told to belong together (RFC 1990 5.1.3).

    Make one with `null`, `local`, `ipv4`, `mac`, `magic` or `phone`. Raises `ConfigurationError` where the address
    does not fit its class. Classes above 5 are read from a peer and compared, and mean nothing else here.
    """

    kind: int
    """The class: 0 null, 1 locally assigned, 2 IPv4, 3 IEEE 802.1 MAC, 4 magic-number block, 5 phone number."""
    address: bytes

    def __attrs_post_init__(self) -> None:
        if not self.fits(self.kind, self.address):
            raise ConfigurationError(
                "endpoint", f"{len(self.address)} bytes do not fit the class {_class_name(self.kind)} (RFC 1990 5.1.3)"
            )

    @staticmethod
    def fits(kind: int, address: bytes) -> bool:
        """Whether the address has a size that RFC 1990 allows for its class."""
        if not 0 <= kind <= 255:
            return False
        sizes = _CLASS_SIZES[kind] if kind < len(_CLASS_SIZES) else range(21)
        return len(address) in sizes

    @classmethod
    def null(cls) -> EndpointDiscriminator:
        """Class 0: says nothing."""
        return cls(0, b"")

    @classmethod
    def local(cls, address: bytes | str) -> EndpointDiscriminator:
        """Class 1: 1 to 20 bytes that the systems' owner keeps unique."""
        return cls(1, address.encode() if isinstance(address, str) else address)

    @classmethod
    def ipv4(cls, address: str) -> EndpointDiscriminator:
        """Class 2: an IPv4 address of the system's own."""
        try:
            return cls(2, ipaddress.IPv4Address(address).packed)
        except ipaddress.AddressValueError:
            raise ConfigurationError("endpoint", f"{address!r} is no IPv4 address") from None

    @classmethod
    def mac(cls, address: str) -> EndpointDiscriminator:
        """Class 3: a MAC address of the system, written as 02:00:5e:10:00:01."""
        try:
            return cls(3, bytes.fromhex(address.replace(":", "").replace("-", "")))
        except ValueError:
            raise ConfigurationError("endpoint", f"{address!r} is no MAC address such as 02:00:5e:10:00:01") from None

    @classmethod
    def magic(cls, numbers: bytes) -> EndpointDiscriminator:
        """Class 4: one to five 32-bit random numbers."""
        return cls(4, numbers)

    @classmethod
    def phone(cls, number: str) -> EndpointDiscriminator:
        """Class 5: an international (E.164) phone number, up to 15 digits, without the access prefix."""
        return cls(5, number.encode())

    def __str__(self) -> str:
        if self.kind == 2:
            text = str(ipaddress.IPv4Address(self.address))
        elif self.kind == 3:
            text = self.address.hex(":")
        elif self.kind in (1, 5) and self.address.isascii() and self.address.decode("ascii").isprintable():
            text = self.address.decode("ascii")
        else:
            text = self.address.hex()
        return f"{_class_name(self.kind)}:{text}"

    def __repr__(self) -> str:
        return f"<EndpointDiscriminator {self}>"


def _class_name(kind: int) -> str:
    return _CLASS_NAMES[kind] if 0 <= kind < len(_CLASS_NAMES) else str(kind)


def _encode_endpoint(value: EndpointDiscriminator) -> bytes:
    return bytes((value.kind,)) + value.address


def _decode_endpoint(data: bytes) -> EndpointDiscriminator | None:
    if not data or not EndpointDiscriminator.fits(data[0], data[1:]):
        return None
    return EndpointDiscriminator(data[0], data[1:])


# LCP: RFC 1661 section 6, RFC 1662 section 7.1, RFC 1570 section 2, RFC 1990 section 5.1.
MRU = _number(1, "Maximum-Receive-Unit", 2)
ACCM = _number(2, "Async-Control-Character-Map", 4)
AUTHENTICATION = OptionKind(3, "Authentication-Protocol", _encode_authentication, _decode_authentication)
MAGIC = _number(5, "Magic-Number", 4)
PFC = _flag(7, "Protocol-Field-Compression")
ACFC = _flag(8, "Address-and-Control-Field-Compression")
FCS = _number(9, "FCS-Alternatives", 1)
MRRU = _number(17, "Multilink-MRRU", 2)
SHORT_SEQUENCE = _flag(18, "Multilink-Short-Sequence-Number-Header")
ENDPOINT = OptionKind(19, "Endpoint-Discriminator", _encode_endpoint, _decode_endpoint)

FCS_NULL = 1
FCS_16 = 2
FCS_32 = 4
"""Bits of FCS-Alternatives."""

# IPCP: RFC 1332 section 3, RFC 1877 section 1.
IP_COMPRESSION = _number(2, "IP-Compression-Protocol", 2)
IP_ADDRESS = _address(3, "IP-Address")
PRIMARY_DNS = _address(129, "Primary-DNS-Server-Address")
SECONDARY_DNS = _address(131, "Secondary-DNS-Server-Address")

# IPV6CP: RFC 5072 section 4.1.
INTERFACE_IDENTIFIER = _number(1, "Interface-Identifier", 8)
