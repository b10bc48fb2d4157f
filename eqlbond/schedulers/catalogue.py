"""The schedulers by name: what commands offer and benchmarks compare. A new policy is added here, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from eqlbond.schedulers.active_backup import ActiveBackup
from eqlbond.schedulers.base import Scheduler
from eqlbond.schedulers.deficit_round_robin import DeficitRoundRobin
from eqlbond.schedulers.earliest_delivery import EarliestDelivery
from eqlbond.schedulers.eql import Eql
from eqlbond.schedulers.flow_hash import FlowHash
from eqlbond.schedulers.redundant import Redundant
from eqlbond.schedulers.round_robin import RoundRobin


def _never_hold() -> Scheduler:
    return EarliestDelivery(hold="never")


def _strict() -> Scheduler:
    return EarliestDelivery(hold="strict")


SCHEDULERS: Final[Mapping[str, Callable[[], Scheduler]]] = MappingProxyType(
    {
        "earliest": EarliestDelivery,
        "earliest-never-hold": _never_hold,
        "earliest-strict": _strict,
        "eql": Eql,
        "round-robin": RoundRobin,
        "deficit-round-robin": DeficitRoundRobin,
        "flow-hash": FlowHash,
        "active-backup": ActiveBackup,
        "redundant": Redundant,
    }
)
"""What makes each scheduler, with the settings that it has by default or that its name tells."""
