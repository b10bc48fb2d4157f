"""What holds for the project as a whole: what is packaged, what the README promises, what is documented."""

from __future__ import annotations

import ast
import re
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import eqlbond
import eqlbond.control

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = sorted((ROOT / "eqlbond").rglob("*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    [artifact] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")))
    return zipfile.ZipFile(artifact)


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def commands(heading: str) -> list[str]:
    """The command lines of the first shell fence under the heading of README.md."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", readme, flags=re.MULTILINE)
    [section] = [section for section in sections if section.splitlines()[0] == heading]
    fence = re.search(r"^```bash\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    assert fence, f"no command under {heading}"
    lines = fence[1].replace("\\\n", "").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_versions_agree(metadata):
    assert PROJECT["version"] == eqlbond.__version__ == metadata["Version"]


def test_the_changelog_has_a_place_for_what_comes():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_embedders_get_two_packages(metadata):
    required = [value for value in metadata.get_all("Requires-Dist", []) if "extra ==" not in value]
    assert {re.split(r"[^\w-]", value)[0] for value in required} == {"attrs", "pyserial-asyncio"}
    assert len(required) == 2


def test_dev_is_every_extra():
    extras = PROJECT["optional-dependencies"]
    [dev] = extras["dev"]
    named = re.fullmatch(r"eqlbond\[(.+)\]", dev)
    assert named
    assert set(named[1].split(",")) == extras.keys() - {"dev"}


def test_the_wheel_is_typed_and_holds_the_library_alone(wheel):
    names = wheel.namelist()
    assert "eqlbond/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"eqlbond"}
    assert {ROOT / name for name in names if name.endswith(".py")} == set(MODULES)


def test_the_wheel_names_its_licence(wheel, metadata):
    assert metadata["License-Expression"] == "MIT"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_supported_pythons_are_classified(version):
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


@pytest.mark.parametrize(("heading", "ending"), [("Try it", "eqlbond demo"), ("Run the tests", "pytest -q")])
def test_the_readme_has_one_command(heading, ending):
    [command] = commands(heading)
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")
    assert command.endswith(ending)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_into_the_project_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (ROOT / target).exists()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_modules_have_docstrings(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring or (path.name.startswith("_") and path.name != "__init__.py")


def test_public_names_are_there_when_they_are_asked_for():
    assert set(eqlbond.__all__) <= set(dir(eqlbond))
    assert all(getattr(eqlbond, name) is not None for name in eqlbond.__all__)
    assert all(getattr(eqlbond.control, name) is not None for name in eqlbond.control.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Masters'"):
        _ = eqlbond.Masters  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        _ = eqlbond.control.Server  # type: ignore[attr-defined]


def test_a_public_class_shares_its_name_with_no_other():
    classes = [
        (node.name, path.relative_to(ROOT))
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    for name in eqlbond.__all__:
        assert len([path for other, path in classes if other == name]) <= 1, name
