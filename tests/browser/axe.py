"""axe-core, run in a page: what a person who cannot see, hear or point would stumble over.

Owns: how it is brought into the page, which rules count. Must not know: views.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

__all__ = ["stumbles"]

_AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def stumbles(page: Page) -> list[str]:
    """Return what the page does wrong, one line for each element. Skips where npm has not brought axe-core."""
    if not _AXE.exists():
        pytest.skip("npm has not brought axe-core")
    page.evaluate(_AXE.read_text() + ";0")  # by the debugger: the page's own policy stays as it is
    told = page.evaluate("rules => axe.run(document, {runOnly: rules})", list(_RULES))
    return [
        f"{wrong['id']} ({wrong['impact']}): {node['html'][:160]} {node['failureSummary']}"
        for wrong in told["violations"]
        for node in wrong["nodes"]
    ]
