"""Schedulers and framings that another distribution brings: named in a file by entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eqlbond.config import Config, ConfigurationErrors

MODULE = """
from eqlbond import Placement, Slip


class Patient:
    def __init__(self, taste: int = 3, *, bitter: bool = False) -> None:
        self.taste, self.bitter = taste, bitter

    def place(self, packet, lines, now):
        return Placement(lines[0])


def salty():
    return Patient(7)


class Radio(Slip):
    pass


number = 3
"""
ENTRIES = """
[eqlbond.schedulers]
patient = brought_parts:Patient
salty = brought_parts:salty
number = brought_parts:number
absent = brought_parts:Absent
unbuilt = brought_nothing:Patient
earliest = brought_parts:Patient

[eqlbond.framings]
radio = brought_parts:Radio
no-framing = brought_parts:Patient
"""


@pytest.fixture(autouse=True)
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution, as pip leaves one."""
    (tmp_path / "brought_parts.py").write_text(MODULE)
    info = tmp_path / "brought_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("brought_parts", None)


def scheduler(text: str) -> object:
    return Config.parse(f"[bond]\nscheduler = {text}").bond.scheduler.make()


@pytest.mark.parametrize(
    ("text", "taste", "bitter"),
    [
        ('"patient"', 3, False),
        ('{ name = "patient", taste = 5, bitter = true }', 5, True),
        ('"salty"', 7, False),
        ('"brought_parts:Patient"', 3, False),
    ],
)
def test_a_scheduler(text: str, taste: int, bitter: bool) -> None:
    made = scheduler(text)
    assert type(made).__name__ == "Patient"
    assert (made.taste, made.bitter) == (taste, bitter)  # type: ignore[attr-defined]


def test_what_comes_with_eqlbond_is_not_replaced() -> None:
    assert type(scheduler('"earliest"')).__name__ == "EarliestDelivery"


def test_a_framing() -> None:
    [slave] = Config.parse('[[slave]]\ndevice = "/dev/x"\nframing = { name = "radio", max_frame = 1600 }').make_slaves()
    assert type(slave.member.framing).__name__ == "Radio"
    assert slave.member.framing.max_frame == 1600


@pytest.mark.parametrize(
    ("table", "key", "problem"),
    [
        ('[bond]\nscheduler = "patent"', "bond.scheduler", "did you mean 'patient'?"),
        ('[bond]\nscheduler = "quick"', "bond.scheduler", "an entry point of the group eqlbond.schedulers, or package"),
        ('[bond]\nscheduler = "quick"', "bond.scheduler", "'patient', 'salty', 'unbuilt', an entry point"),
        ('[bond]\nscheduler = "radio"', "bond.scheduler", "not 'radio'"),  # of the other group
        ('[bond]\nscheduler = "number"', "bond.scheduler", "number is no class, but int"),
        ('[bond]\nscheduler = "absent"', "bond.scheduler", "absent cannot be imported: AttributeError"),
        ('[bond]\nscheduler = "unbuilt"', "bond.scheduler", "unbuilt cannot be imported: ModuleNotFoundError"),
        ('[bond]\nscheduler = { name = "patient", tast = 1 }', "bond.scheduler.tast", "did you mean 'taste'?"),
        ('[bond]\nscheduler = { name = "patient", taste = "x" }', "bond.scheduler.taste", "a number, not 'x'"),
        ('[[slave]]\ndevice = "/a"\nframing = "raido"', "slave[1].framing", "did you mean 'radio'?"),
        ('[[slave]]\ndevice = "/a"\nframing = "no-framing"', "slave[1].framing", "no-framing is no Framing"),
    ],
)
def test_what_is_none(table: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        Config.parse(table)
    (error,) = caught.value.exceptions
    assert getattr(error, "field", None) == key
    assert problem in str(error)
