"""The files in docs/router.md and docs/peers are good."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from eqlbond.config import Config
from eqlbond.config.model import BondConfig, SlaveConfig, TunConfig
from eqlbond.ppp.config import Ppp

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "router.md").read_text()
PAGES = [PAGE, *(path.read_text() for path in sorted((DOCS / "peers").glob("*.md")))]
FILES = [text for page in PAGES for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]


@pytest.mark.parametrize("text", FILES, ids=lambda text: text.split("\n", 1)[0])
def test_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    text = re.sub(r'file = "/etc/eqlbond/\w+"', f'file = "{tmp_path}/secret"', text)
    config = Config.parse(text, environment={"HUB_SECRET": "secret"})
    assert len(config.slaves) == text.count("[[slave]]")


def test_all_keys_are_described() -> None:
    """Each option of the file stands in the page."""
    names = {field.name for kind in (BondConfig, SlaveConfig, TunConfig, Ppp) for field in attrs.fields(kind)}
    names -= {"settings", "supervision", "short_sequence", "mrru"}  # not keys; the last two are the bond's
    assert len(names) > 40
    missing = sorted(name for name in names if f"`{name}`" not in PAGE and not re.search(rf"^{name} = ", PAGE, re.M))
    assert not missing
