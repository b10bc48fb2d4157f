"""The simulator: the engine of eqlbond driven by discrete events, so that a claim about a scheduler is a number.

`simulate` runs one case, `compare` the same with several schedulers; lines are `SimLine`, traffic is a workload such as
`Bulk`, `Poisson` or `Tcp`. No root, no serial port, no waiting: an hour of traffic takes seconds, and the same seed
gives the same figures.
"""

from eqlbond.core.line_model import LineSpec
from eqlbond.sim.compare import Comparison, compare
from eqlbond.sim.engine import Run, simulate
from eqlbond.sim.line import SimLine
from eqlbond.sim.plot import PlotUnavailable
from eqlbond.sim.record import Placed
from eqlbond.sim.result import LineResult, Result
from eqlbond.sim.settings import Settings
from eqlbond.sim.stalled import SimulationStalled
from eqlbond.sim.tcp import Tcp
from eqlbond.sim.workload import (
    Bulk,
    Bursts,
    ConstantBitRate,
    OpenLoop,
    Poisson,
    RequestResponse,
    Trace,
    Workload,
)

__all__ = [
    "Bulk",
    "Bursts",
    "Comparison",
    "ConstantBitRate",
    "LineResult",
    "LineSpec",
    "OpenLoop",
    "Placed",
    "PlotUnavailable",
    "Poisson",
    "RequestResponse",
    "Result",
    "Run",
    "Settings",
    "SimLine",
    "SimulationStalled",
    "Tcp",
    "Trace",
    "Workload",
    "compare",
    "simulate",
]
