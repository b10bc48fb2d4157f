"""The commands that steer a bond: what they ask of it, and what they do not let pass."""

from __future__ import annotations

from typing import Any, Self

import pytest

from eqlbond.cli import main, steer

PORT = "/dev/ttyS1"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Slaves that a bond is asked to enslave; it does what it is asked."""
    tables: list[dict[str, Any]] = []

    class Client:
        def __init__(self, path: str | None) -> None:
            pass

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *reason: object) -> None:
            pass

        async def enslave(self, slave: dict[str, Any]) -> dict[str, Any]:
            tables.append(slave)
            return {"name": "it", "rate": slave["rate"]}

    monkeypatch.setattr(steer, "ControlClient", Client)
    return tables


@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        ([PORT, "28800"], {"device": PORT, "rate": 28800, "baudrate": 38400}),
        (["ttyS1", "57600"], {"device": "ttyS1", "rate": 57600, "baudrate": 57600}),
        (
            ["socket://10.1.1.7:3001", "14400"],
            {"url": "socket://10.1.1.7:3001", "rate": 14400, "baudrate": 19200},
        ),
        (
            ["rfc2217://[fe80::1]:4001", "9600", "--baudrate", "115200", "-o", "rtscts=true"],
            {"url": "rfc2217://[fe80::1]:4001", "rate": 9600, "baudrate": 115200, "rtscts": True},
        ),
        ([PORT, "4000000.5"], {"device": PORT, "rate": 4000000.5, "baudrate": 4000001}),
        (
            [PORT, "9600", "--framing", "ppp", "--name", "a", "--latency", "0.1", "-o", "stall=off"],
            {
                "device": PORT, "rate": 9600, "baudrate": 9600, "framing": "ppp", "name": "a", "latency": 0.1,
                "stall": "off",
            },
        ),
    ],
)  # fmt: skip
def test_enslaving(arguments: list[str], table: dict[str, Any], asked: list[dict[str, Any]]) -> None:
    assert main.main(["enslave", *arguments]) == 0
    assert asked == [table]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([PORT, "0"], "SPEED: bit/s above 0, such as 28800, not '0'"),
        ([PORT, "-9600"], "SPEED"),
        ([PORT, "nan"], "not 'nan'"),
        ([PORT, "inf"], "not 'inf'"),
        ([PORT, "fast"], "not 'fast'"),
        (["9600", PORT], f"SPEED: bit/s above 0, such as 28800, not '{PORT}'"),
        ([" ", "9600"], "DEVICE: the path of a port, such as /dev/ttyS0, not an empty text"),
        (["attic:4001", "9600"], "socket://attic:4001 or rfc2217://attic:4001"),
    ],
)
def test_what_is_no_line(
    arguments: list[str], problem: str, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["enslave", *arguments])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err
    assert asked == []
