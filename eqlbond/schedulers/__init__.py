"""Policies: which line carries which packet.

`EarliestDelivery` is the default. `Eql` is the rule of the 1995 driver; `RoundRobin` is there to compare.
`DeficitRoundRobin` shares the bytes by weight, `FlowHash` keeps each flow on one line, `Redundant` sends copies, and
`ActiveBackup` keeps lines in reserve.
One's own scheduler is a class with a method `place`; `check_scheduler` tells whether it keeps the contract.
"""

from eqlbond.schedulers.active_backup import ActiveBackup
from eqlbond.schedulers.base import Line, Placement, Scheduler
from eqlbond.schedulers.check import check_scheduler
from eqlbond.schedulers.deficit_round_robin import DeficitRoundRobin
from eqlbond.schedulers.earliest_delivery import EarliestDelivery
from eqlbond.schedulers.eql import Eql
from eqlbond.schedulers.flow_hash import FlowHash
from eqlbond.schedulers.redundant import Redundant
from eqlbond.schedulers.round_robin import RoundRobin

__all__ = [
    "ActiveBackup",
    "DeficitRoundRobin",
    "EarliestDelivery",
    "Eql",
    "FlowHash",
    "Line",
    "Placement",
    "Redundant",
    "RoundRobin",
    "Scheduler",
    "check_scheduler",
]
