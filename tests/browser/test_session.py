"""A session that has ended, and the pages that were open then."""

import urllib.parse
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest
from playwright.sync_api import BrowserContext, Page
from tests.browser.conftest import Server, settings_of

pytestmark = pytest.mark.slow


class _Stay(urllib.request.HTTPRedirectHandler):
    """Does not go where it is led."""

    def redirect_request(self, *_: object) -> None:
        return None


def session(server: Server, token: str) -> str:
    """The cookie that the form at /login gives for a token."""
    form = urllib.parse.urlencode({"token": token, "next": "/"}).encode()
    request = urllib.request.Request(f"{server.url}/login", data=form, headers={"Origin": server.url})
    try:
        urllib.request.build_opener(_Stay).open(request, timeout=10)
    except HTTPError as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0].partition("=")[2]
    raise AssertionError("nobody was signed in")


def test_an_ended_session_leads_to_the_form_and_keeps_the_view(
    page: Page, context: BrowserContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(
        tmp_path, settings_of(tmp_path, sources=["simulator:?rate=5&mess=0"], tracks={"Larkwing": "larkwing"})
    )
    monkeypatch.setenv("FELTWIRE_MODEL__URI", "lexicon:vader")
    monkeypatch.setenv("FELTWIRE_SERVE__TOKEN", "the-first-token-of-this-test")
    server.start()
    try:
        cookie = session(server, "the-first-token-of-this-test")
        context.add_cookies([{"name": "feltwire_session", "value": cookie, "url": server.url}])
        page.goto(f"{server.url}/?track=Larkwing&range=6h")
        page.wait_for_selector("html[data-drawn=true]", state="attached")
        server.kill()
        monkeypatch.setenv("FELTWIRE_SERVE__TOKEN", "another-token-which-ends-every-session")
        server.start()
        page.wait_for_url("**/login?**", timeout=60_000)
        wanted = urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query)["next"]
        assert wanted == ["/?track=Larkwing&range=6h"]
        page.get_by_label("Token").wait_for()
    finally:
        server.kill()
