"""The frame check sequences of PPP (RFC 1662 appendix C): FCS-16 and FCS-32.

Both are computed over address, control, protocol and information as they are before escaping, and sent complemented,
the least significant octet first. FCS-32 is not only stronger; here it costs a tenth of FCS-16.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final
from zlib import crc32

FCS16_SIZE: Final = 2
FCS32_SIZE: Final = 4

# crc_hqx is the same polynomial as FCS-16, x**16 + x**12 + x**5 + 1, run from the other end of each octet.
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_INITIAL: Final = 0xFFFF
_FCS16_RESIDUE: Final = 0x1D0F  # F0B8 of the RFC with its bits reversed
_FCS32_RESIDUE: Final = 0x2144DF1C  # DEBB20E3 of the RFC, complemented as crc32 has it


def fcs16(data: bytes) -> int:
    """The FCS-16 of the data, as the number that is sent.

    >>> f"{fcs16(b'123456789'):04x}"
    '906e'
    """
    return int.from_bytes(fcs16_trailer(data), "little")


def fcs16_trailer(data: bytes) -> bytes:
    """The FCS-16 of the data as the two octets that follow it on the wire."""
    return (crc_hqx(data.translate(_REVERSED), _INITIAL) ^ 0xFFFF).to_bytes(2, "big").translate(_REVERSED)


def fcs16_good(frame: bytes) -> bool:
    """Whether a frame that ends with its FCS-16 is undamaged."""
    return crc_hqx(frame.translate(_REVERSED), _INITIAL) == _FCS16_RESIDUE


def fcs32(data: bytes) -> int:
    """The FCS-32 of the data, as the number that is sent.

    >>> f"{fcs32(b'123456789'):08x}"
    'cbf43926'
    """
    return crc32(data)


def fcs32_trailer(data: bytes) -> bytes:
    """The FCS-32 of the data as the four octets that follow it on the wire."""
    return crc32(data).to_bytes(4, "little")


def fcs32_good(frame: bytes) -> bool:
    """Whether a frame that ends with its FCS-32 is undamaged."""
    return crc32(frame) == _FCS32_RESIDUE
