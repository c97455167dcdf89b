"""scripts/README.md tells of every script, and of none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_every_script_is_told_of() -> None:
    told = re.findall(r"^\| `(\S+\.py)` \|", (SCRIPTS / "README.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(path.name for path in SCRIPTS.glob("*.py"))


def test_its_links_and_targets_of_make_exist() -> None:
    text, makefile = (SCRIPTS / "README.md").read_text(), (SCRIPTS.parent / "Makefile").read_text()
    for target in re.findall(r"`make (\S+?)`", text):
        assert f"\n{target}:" in makefile, target
    for link in re.findall(r"\]\((\S+?)\)", text):
        assert (SCRIPTS / link).exists(), link
