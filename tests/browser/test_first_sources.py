"""On the first start: which sources the first track is of."""

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import Server

from feltwire.web.dashboard import bars
from feltwire.web.dashboard.live import encode

pytestmark = pytest.mark.slow


def test_the_track_is_of_the_sources_that_are_chosen(page: Page, empty: Server) -> None:
    page.goto(empty.url)
    page.locator("#where .where").first.wait_for()
    page.get_by_role("button", name="is not set up: needs an API key").click()
    expect(page.locator("#firsttoml pre")).to_contain_text('uri = "x:stream"')
    page.evaluate("nodes => feltwire.apply('where', JSON.parse(nodes))", encode([bars.where(["bluesky", "simulator"])]))
    page.get_by_label("Subject").first.fill("none of these")
    page.locator("#field-firstquery").fill("larkwing OR quillo")
    bluesky, simulator = page.get_by_role("button", name="Bluesky"), page.get_by_role("button", name="Simulator")
    simulator.click()
    expect(simulator).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#firstmatch")).to_contain_text(", 0 of them match")
    bluesky.click()
    page.get_by_role("button", name="Start listening").first.click()
    expect(page.locator("#firsterror")).to_have_text("Choose one source at least.")
    simulator.click()
    expect(page.locator("#firstmatch")).not_to_contain_text(", 0 of them match")
    expect(page.locator("#firsterror")).to_have_text("")
