"""What a TUN interface may be told to be."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from eqlbond.exceptions import ConfigurationError
from eqlbond.tun import Route, TunInterface
from eqlbond.tun.settings import check_addresses, check_name, check_routes


@pytest.mark.parametrize("name", ["eql0", "tun%d", "a" * 15, "bond-1.2"])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", "a/b", "a:b", ".", "..", "%d%d", "%s", None, 3])
def test_names_that_cannot_be(name: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_name(name)
    assert caught.value.field == "name"


@pytest.mark.parametrize(
    ("addresses", "peers", "found"),
    [
        ((), (), []),
        ("10.0.0.1/30", (), [("10.0.0.1/30", None, 30)]),
        ("10.0.0.1", "10.0.0.2", [("10.0.0.1/32", "10.0.0.2", 32)]),
        ("10.0.0.1/30", ["10.0.0.2"], [("10.0.0.1/30", "10.0.0.2", 32)]),
        (["fd00::1/64", "10.0.0.1"], "10.0.0.2", [("fd00::1/64", None, 64), ("10.0.0.1/32", "10.0.0.2", 32)]),
        (["10.0.0.1", "10.0.1.1/24"], "10.0.0.2", [("10.0.0.1/32", "10.0.0.2", 32), ("10.0.1.1/24", None, 24)]),
        ([ip_interface("fd00::1")], [ip_address("fd00::2")], [("fd00::1/128", "fd00::2", 128)]),
    ],
)
def test_addresses(addresses, peers, found) -> None:
    assigned = check_addresses(addresses, peers)
    assert [(str(a.address), None if a.peer is None else str(a.peer), a.prefix) for a in assigned] == found


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("addresses", {"addresses": "10.0.0.300"}),
        ("addresses", {"addresses": 5}),
        ("addresses", {"addresses": ["10.0.0.1/33"]}),
        ("peers", {"addresses": "10.0.0.1", "peers": "10.0.0.2/30"}),
        ("peers", {"addresses": "10.0.0.1", "peers": "fd00::2"}),
        ("peers", {"peers": "10.0.0.2"}),
        ("peers", {"addresses": "10.0.0.1", "peers": ["10.0.0.2", "10.0.0.3"]}),
        ("routes", {"routes": "10.0.0.1/8"}),
        ("routes", {"routes": "everywhere"}),
        ("routes", {"routes": [5]}),
        ("mtu", {"mtu": 67}),
        ("mtu", {"mtu": True}),
        ("mtu", {"mtu": 65536}),
        ("mtu", {"mtu": 576, "addresses": "fd00::1/64"}),
        ("mtu", {"mtu": 1279, "routes": "::/0"}),
        ("clamp_mss", {"clamp_mss": 1}),
        ("namespace", {"namespace": ""}),
        ("namespace", {"namespace": 3}),
    ],
)
def test_values_that_cannot_work(field: str, values: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TunInterface(**values)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_routes() -> None:
    routes = check_routes(["default", "::/0", Route("10.1.0.0/16", metric=5)])
    assert [str(route.network) for route in routes] == ["0.0.0.0/0", "::/0", "10.1.0.0/16"]
    assert [route.metric for route in check_routes(Route("default", 7))] == [7]
    with pytest.raises(ConfigurationError, match="metric"):
        Route("default", -1)
