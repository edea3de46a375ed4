"""Every view in both themes, checked by axe against WCAG 2.2 AA."""

import json
from pathlib import Path
from typing import Any

import axe_core_python  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import Server, opened

pytestmark = pytest.mark.slow

AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]


def violations(page: Page, rules: list[str], kind: str = "tag") -> list[str]:
    """What axe finds, one line each."""
    if not page.evaluate("!!window.axe"):
        page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate(
        "only => axe.run(document, {runOnly: only, resultTypes: ['violations']})", {"type": kind, "values": rules}
    )
    return [
        f"{one['id']}: {node['target']} {json.dumps(node.get('failureSummary', ''))[:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def check_both_themes(page: Page) -> None:
    """All rules in the light theme; in the dark one, which differs by its colours alone, those about colours."""
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert violations(page, RULES) == []
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(150)
    assert violations(page, COLOURS, "rule") == []


def calm(browser: Browser, width: int = 1440, **options: Any) -> Page:
    """A tab whose motion is off."""
    window = browser.new_context(
        viewport={"width": width, "height": 900}, reduced_motion="reduce", color_scheme="light", **options
    )
    window.set_default_timeout(60_000)
    return window.new_page()


def test_overview(browser: Browser, server: Server) -> None:
    page = opened(calm(browser), server)
    page.locator("#use .lr").first.wait_for(state="attached")
    page.keyboard.press("p")
    check_both_themes(page)
    page.get_by_role("button", name="Show as table").click()
    page.locator("#charttable tbody tr").first.wait_for()
    assert violations(page, RULES) == []
    page.context.close()


def test_shares_and_nothing_found(browser: Browser, server: Server) -> None:
    page = opened(calm(browser), server, "?track=Larkwing&mode=shares&q=voucherxyz")
    page.locator("#use .none").first.wait_for(state="attached")
    check_both_themes(page)
    page.context.close()


def test_explanation(browser: Browser, server: Server) -> None:
    page = opened(calm(browser), server)
    page.locator("#flags .flag").last.click()
    expect(page.locator("#aside .xbody")).to_be_visible(timeout=60_000)
    page.keyboard.press("p")
    check_both_themes(page)
    page.context.close()


@pytest.mark.parametrize(
    ("query", "there"), [("?page=compare&track=Larkwing&track=Quillo", ".compare"), ("?page=health", ".health")]
)
def test_compare_and_health(browser: Browser, server: Server, query: str, there: str) -> None:
    page = calm(browser)
    page.goto(f"{server.url}/{query}")
    page.locator(f"#other {there}").wait_for()
    page.wait_for_selector("html[data-drawn=true]", state="attached")
    check_both_themes(page)
    page.context.close()


def test_phone(browser: Browser, server: Server) -> None:
    page = opened(calm(browser, 390, has_touch=True), server)
    check_both_themes(page)
    page.locator("#phonenav").get_by_text("Posts").click()
    page.locator("#feed article").first.wait_for(state="visible")
    assert violations(page, RULES) == []
    page.context.close()


def test_first_start(browser: Browser, empty: Server) -> None:
    page = calm(browser)
    page.goto(empty.url)
    expect(page.get_by_role("heading", name="What do you want to listen to?")).to_be_visible()
    check_both_themes(page)
    page.context.close()
