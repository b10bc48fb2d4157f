"""The configuration file of a router: one TOML file, checked as a whole before anything is opened.

::

    config = Config.load("bond.toml")

`ConfigurationErrors` holds everything that is wrong with it, with keys and lines. docs/router.md describes the file.
"""

from eqlbond.config.errors import ConfigError, ConfigurationErrors
from eqlbond.config.load import Config
from eqlbond.config.model import (
    BondConfig,
    ControlConfig,
    LogConfig,
    ModemConfig,
    QueueConfig,
    SlaveConfig,
    SupervisionConfig,
    TunConfig,
)
from eqlbond.config.parts import Part

__all__ = [
    "BondConfig",
    "Config",
    "ConfigError",
    "ConfigurationErrors",
    "ControlConfig",
    "LogConfig",
    "ModemConfig",
    "Part",
    "QueueConfig",
    "SlaveConfig",
    "SupervisionConfig",
    "TunConfig",
]
