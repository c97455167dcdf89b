"""What a person does in the view *Make*, for the tests of it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

__all__ = ["card", "made", "write"]


def write(page: Page, prompt: str, *, seconds: float | None = None, loop: bool | None = None) -> None:
    """Fill the form in."""
    page.get_by_label("What do you want to hear?").fill(prompt)
    if seconds is not None:
        page.get_by_label("Seconds", exact=True).fill(f"{seconds:g}")
    if loop is not None:
        page.get_by_role("switch", name="Loop").set_checked(loop)


def card(page: Page, prompt: str) -> Locator:
    """The newest sound of these words."""
    return page.get_by_role("article", name=prompt, exact=True).first


def made(page: Page, prompt: str, *, seconds: float | None = None, loop: bool | None = None) -> Locator:
    """Ask for a sound by the keyboard's Enter; its card once it is there."""
    write(page, prompt, seconds=seconds, loop=loop)
    before = page.get_by_role("article").count()
    page.get_by_label("What do you want to hear?").press("Enter")
    expect(page.get_by_role("article")).to_have_count(before + 1)
    found = card(page, prompt)
    expect(found.get_by_role("radiogroup")).to_be_visible()
    return found
