"""What `Ppp` and its parts take, and what they name when they do not."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from eqlbond.codec.options import USE_CHAP_MD5, USE_PAP
from eqlbond.exceptions import ConfigurationError
from eqlbond.ppp.config import IpOptions, Ipv6Options, Ppp


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("mru", {"mru": 127}),
        ("mru", {"mru": 65536}),
        ("mru", {"mru": "1500"}),
        ("accm", {"accm": -1}),
        ("accm", {"accm": 1 << 32}),
        ("mrru", {"mrru": 1499}),
        ("mrru", {"mrru": 1 << 16}),
        ("short_sequence", {"short_sequence": True}),
        ("echo_interval", {"echo_interval": -1}),
        ("echo_failure", {"echo_failure": 0}),
        ("restart", {"restart": 0}),
        ("restart", {"restart": float("nan")}),
        ("establish_timeout", {"establish_timeout": 0}),
        ("max_configure", {"max_configure": 0}),
        ("max_terminate", {"max_terminate": 0}),
        ("max_failure", {"max_failure": 0}),
        ("rechallenge", {"rechallenge": 0}),
        ("role", {"role": "server"}),
        ("require", {"require": "eap"}),
        ("require", {"require": ("chap", "CHAP")}),
        ("require", {"secrets": {}}),
        ("secrets", {"require": "chap"}),
        ("name", {"name": ""}),
        ("name", {"name": "x" * 256}),
        ("min_mtu", {"min_mtu": 0}),
        ("min_mrru", {"min_mrru": 0}),
        ("auth", {"auth": ("site7", "hush")}),
        ("endpoint", {"endpoint": "site7"}),
        ("identification", {"identification": b"x"}),
        ("ip", {"ip": "10.0.0.1"}),
        ("ipv6", {"ipv6": True}),
    ],
)
def test_bad_options_are_named(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Ppp(**options)
    assert caught.value.field == field
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("local", lambda: IpOptions(local="10.0.0")),
        ("peer", lambda: IpOptions(peer="::1")),
        ("peer", lambda: IpOptions(peer="0.0.0.0")),
        ("peer", lambda: IpOptions(local="10.0.0.1", peer="10.0.0.1")),
        ("dns", lambda: IpOptions(dns=["1.1.1.1", "2.2.2.2", "3.3.3.3"])),
        ("dns", lambda: IpOptions(dns="nobody")),
        ("interface_id", lambda: Ipv6Options(interface_id="10.0.0.1")),
        ("interface_id", lambda: Ipv6Options(interface_id=0)),
        ("interface_id", lambda: Ipv6Options(interface_id=1 << 64)),
        ("interface_id", lambda: Ipv6Options(interface_id="fe80::")),
        ("peer_interface_id", lambda: Ipv6Options(1, 1)),
    ],
)
def test_bad_addresses_are_named(field: str, make: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field


def test_misspelt_option() -> None:
    with pytest.raises(TypeError):
        Ppp(mur=1500)  # type: ignore[call-arg]


def test_conversions() -> None:
    assert Ppp(require="chap", secrets={}).demands == (USE_CHAP_MD5,)
    assert Ppp(require=("pap", "chap"), secrets={}).demands == (USE_PAP, USE_CHAP_MD5)
    assert IpOptions(local="10.0.0.1", dns="1.1.1.1") == IpOptions(IPv4Address("10.0.0.1"), None, ("1.1.1.1",))
    assert Ipv6Options("fe80::1:2").interface_id == 0x10002
    assert Ppp() == Ppp()
    assert Ppp(restart=1.5, max_failure=3).timing.restart == 1.5
