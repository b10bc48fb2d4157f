"""The schedulers by name: none is forgotten, and commands and benchmarks have the same."""

import inspect

import pytest

import eqlbond.schedulers
from eqlbond.cli import options
from eqlbond.schedulers import Scheduler, check_scheduler
from eqlbond.schedulers.catalogue import SCHEDULERS


def test_every_scheduler_of_the_package_has_a_name():
    classes = [getattr(eqlbond.schedulers, name) for name in eqlbond.schedulers.__all__]
    policies = {c for c in classes if inspect.isclass(c) and hasattr(c, "place") and c is not Scheduler}
    assert policies == {type(make()) for make in SCHEDULERS.values()}


def test_commands_offer_them():
    assert options.SCHEDULERS is SCHEDULERS


@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_keeps_the_contract(name):
    check_scheduler(SCHEDULERS[name]())


def test_each_call_makes_a_new_one():
    assert all(make() is not make() for make in SCHEDULERS.values())
