"""Every view in both themes, checked by axe against WCAG 2.2 AA."""

import json
from pathlib import Path
from typing import Any

import axe_core_python  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import Browser, Page
from tests.browser.conftest import Server, opened

pytestmark = pytest.mark.slow

AXE = Path(axe_core_python.__file__).parent / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(page: Page) -> list[str]:
    """What axe finds, one line each."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES)
    return [
        f"{one['id']}: {node['target']} {json.dumps(node.get('failureSummary', ''))[:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("width", "query"),
    [
        (1440, "?track=Larkwing"),
        (1440, "?track=Larkwing&mode=shares&q=flight"),
        (1440, "?track=Larkwing&q=voucherxyz"),
        (390, "?track=Larkwing"),
    ],
)
def test_no_violation(browser: Browser, server: Server, theme: str, width: int, query: str) -> None:
    scheme: Any = theme
    window = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce", has_touch=width < 500
    )
    window.set_default_timeout(30_000)
    page = opened(window.new_page(), server, query)
    page.locator("#use .lr, #use .none").first.wait_for(state="attached")
    page.keyboard.press("p")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert violations(page) == []
    if width > 500:
        page.get_by_role("button", name="Show as table").click()
        assert violations(page) == []
    window.close()
