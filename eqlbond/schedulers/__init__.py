"""Policies: which line carries which packet.

`EarliestDelivery` is the default. `Eql` is the rule of the 1995 driver; `RoundRobin` is there to compare.
One's own scheduler is a class with a method `place`; `check_scheduler` tells whether it keeps the contract.
"""

from eqlbond.schedulers.base import Line, Placement, Scheduler
from eqlbond.schedulers.check import check_scheduler
from eqlbond.schedulers.earliest_delivery import EarliestDelivery
from eqlbond.schedulers.eql import Eql
from eqlbond.schedulers.round_robin import RoundRobin

__all__ = ["EarliestDelivery", "Eql", "Line", "Placement", "RoundRobin", "Scheduler", "check_scheduler"]
