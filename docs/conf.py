"""Sphinx configuration. Build: sphinx-build -W --keep-going -n docs docs/_build/html"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "eqlbond"
author = copyright = "The eqlbond authors"
release = version = _project["version"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

# Single backquotes in docstrings link where they name something public, and are plain code otherwise.
default_role = "py:obj"
nitpicky = True
# Inventories of other projects would need the network, so only references into eqlbond are held to exist.
nitpick_ignore_regex = [
    (r"py:obj", r".*"),
    (r"py:.*", r"(?!eqlbond\.).*"),
    # Parts of signatures that are not documented by themselves.
    (r"py:class", r"eqlbond\.(aio\.slave\._BaudRate|aio\._wire\..*|codec\.stuffing\..*|codec\.options\..*)"),
    (
        r"py:class",
        r"eqlbond\.(ppp\.(basics|phases|negotiation|secret)\..*|core\.ppp_connection\..*|config\.section\..*)",
    ),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks are kept without outputs and run here; one that raises fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

html_theme = "furo"
html_title = f"eqlbond {version}"
html_static_path = ["_static"]
html_theme_options = {"navigation_with_keys": True}
