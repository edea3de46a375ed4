"""The page as people use it, against an engine that runs."""

import csv
import io
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from tests.browser.conftest import Server, opened

from feltwire.lake import open_lake

pytestmark = pytest.mark.slow


def until(check: Callable[[], bool], page: Page, seconds: float = 60.0) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        page.wait_for_timeout(200)
    return False


def scored(page: Page) -> int:
    """The scored posts that the chart speaks of."""
    found = re.search(r"([\d,]+) scored posts", page.inner_text("#charthead .details"))
    return int(found[1].replace(",", "")) if found else -1


def answered(page: Page) -> bool:
    """Whether all that the page last asked for has come."""
    return not page.evaluate("window.feltwire.fresh")


def test_numbers_move_and_a_pause_holds_them(page: Page, server: Server) -> None:
    opened(page, server)
    before = scored(page)
    assert until(lambda: scored(page) > before, page)
    shares = [float(text.split()[0]) for text in page.locator("#now .share .value").all_inner_texts()]
    assert len(shares) == 4
    assert sum(round(10 * share) for share in shares) == 1_000
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#livetext")).to_have_text("Paused")
    page.wait_for_timeout(1_500)
    held = scored(page)
    page.wait_for_timeout(3_000)
    assert scored(page) == held
    page.get_by_role("button", name="Go on").click()
    assert until(lambda: scored(page) > held, page)


def test_a_click_filters_and_a_second_takes_it_back(page: Page, server: Server) -> None:
    opened(page, server)
    row = page.locator("#use section[aria-label=Terms] .lr").nth(4)  # the first are in nearly every post
    row.wait_for()
    before, term = scored(page), str(row.get_attribute("data-filter"))
    row.click()
    chip = page.locator("#scope .chip")
    expect(chip).to_have_count(1)
    assert "f=word:" in page.url
    assert until(lambda: 0 < scored(page) < before, page)
    expect(page.locator(f'#use .lr[data-filter="{term}"]')).to_have_attribute("aria-pressed", "true")
    chip.click()
    expect(chip).to_have_count(0)
    assert "f=" not in page.url
    page.go_back()
    expect(page.locator("#scope .chip")).to_have_count(1)


def test_what_was_asked_for_is_shown_under_the_pointer_however_late(page: Page, server: Server) -> None:
    """What only comes by itself is held while the pointer is on it; the answer to a click is not."""
    page.add_init_script("""
        window.lateMs = 0;
        const mine = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
        Object.defineProperty(WebSocket.prototype, "onmessage", {
            set(take) { mine.set.call(this, (event) => setTimeout(() => take(event), window.lateMs)); },
        });
    """)
    opened(page, server)
    row = page.locator("#use section[aria-label=Terms] .lr").nth(4)
    row.wait_for()
    assert until(lambda: answered(page), page)
    row.hover()
    page.wait_for_timeout(300)
    held = page.locator("#use").inner_text()
    page.wait_for_timeout(3_000)
    assert page.locator("#use").inner_text() == held
    page.evaluate("window.lateMs = 4000")
    row.click()
    assert until(lambda: page.locator("#use").inner_text() != held, page)
    assert page.evaluate("document.querySelector('#use').matches(':hover')")
    assert until(lambda: answered(page), page)
    shown = page.locator("#use").inner_text()
    page.wait_for_timeout(6_000)
    assert page.locator("#use").inner_text() == shown


def test_an_address_restores_the_whole_view(page: Page, server: Server) -> None:
    opened(
        page,
        server,
        "?track=Larkwing&track=Quillo&range=15m&window=5m&lang=en&mode=shares&terms=tags&emoji=felt&q=flight",
    )
    expect(page.locator("#tracks summary")).to_contain_text("Larkwing")
    for text in ("15 min", "Shares", "tags", "felt"):
        expect(page.locator("[aria-pressed=true]", has_text=re.compile(f"^{text}$"))).to_have_count(1)
    expect(page.locator("#window summary")).to_contain_text("5 min")
    expect(page.locator("#menu-lang summary")).to_contain_text("English")
    expect(page.locator("#search")).to_have_value("flight")
    for text in page.locator("#feed article .tx").all_inner_texts():
        assert "flight" in text.lower()


def test_a_correction_can_be_taken_back_and_is_stored(page: Page, server: Server) -> None:
    opened(page, server)
    lake = open_lake(str(server.lake))

    def corrections() -> int:
        return int(lake.sql("select 1 from corrections").num_rows)

    page.get_by_role("button", name="Pause").click()  # of two seconds that still fill another post may be chosen
    before = corrections()
    article = page.locator("#feed article[data-label=negative]").first
    post = str(article.get_attribute("data-id"))
    article.focus()
    article.get_by_role("button", name="This label is wrong").click()
    page.locator("#wrong").get_by_role("button", name="Neutral").click()
    page.locator("#toast").get_by_role("button", name="Undo").click()
    page.wait_for_timeout(300)
    same = page.locator(f'#feed article[data-id="{post}"]')
    same.focus()
    same.get_by_role("button", name="This label is wrong").click()
    page.locator("#wrong").get_by_role("button", name="Positive").click()
    assert until(lambda: corrections() == before + 1, page)
    rows = lake.sql('select post_id, field, value, "by" from corrections').to_pylist()
    assert {"post_id": post, "field": "sentiment", "value": "positive", "by": "page"} in rows


def test_why_marks_words(page: Page, server: Server) -> None:
    opened(page, server)
    page.get_by_role("button", name="Pause").click()
    article = page.locator("#feed article[data-label=negative]").first
    post = str(article.get_attribute("data-id"))
    text = article.locator(".tx").inner_text()
    article.focus()
    article.get_by_role("button", name="Why this label").click()
    same = page.locator(f'#feed article[data-id="{post}"]')
    same.locator("mark").first.wait_for()
    assert same.locator(".tx").inner_text() == text


def test_hostile_posts_are_text(page: Page, server: Server) -> None:
    opened(page, server, "?track=hostile&range=24h")
    expect(page.locator("#feed article")).to_have_count(3)
    assert "<script>window.pwned = 1</script>" in page.inner_text("#feed")
    page.locator("#use .lr").first.wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("window.pwned") is None
    assert page.locator("#feed").locator("script, img, svg, iframe, b, a[href^='javascript']").count() == 0
    assert page.locator("#feed a").count() == 0
    for article in page.locator("#feed article").all():
        article.focus()
        article.get_by_role("button", name="Why this label").click()
    page.wait_for_timeout(1_500)
    assert page.evaluate("window.pwned") is None


def test_no_request_leaves_the_machine_and_the_policy_holds(page: Page, server: Server) -> None:
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: broken.append(str(error)))
    opened(page, server)
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    assert broken == []


def test_exports(page: Page, server: Server) -> None:
    opened(page, server)
    page.locator("#export summary").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Windows as CSV").click()
    rows = list(csv.reader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8"))))
    assert rows[0][0] == "window"
    assert len(rows) == 61
    page.locator("#export summary").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Chart as PNG").click()
    picture = Path(saved.value.path()).read_bytes()
    assert picture.startswith(b"\x89PNG")
    height = page.locator("#plot").bounding_box()["height"]  # type: ignore[index]
    assert int.from_bytes(picture[20:24], "big") > 2 * height  # the heading stands above, where it is from below


def test_the_table_behind_the_chart(page: Page, server: Server) -> None:
    opened(page, server)
    page.get_by_role("button", name="Show as table").click()
    rows = page.locator("#charttable tbody tr")
    expect(rows.first).to_be_visible()
    assert rows.count() == 60
    page.get_by_role("button", name="Show as table").click()
    expect(page.locator("#charttable")).to_be_hidden()


def test_the_list_is_held_while_it_is_read(page: Page, server: Server) -> None:
    opened(page, server)
    page.locator("#feed article").first.hover()
    page.wait_for_timeout(300)
    first = page.locator("#feed article").first.get_attribute("data-id")
    held = page.locator("#held")
    expect(held).to_be_visible()
    expect(held).to_contain_text("new post")
    assert page.locator("#feed article").first.get_attribute("data-id") == first
    held.click()
    page.mouse.move(5, 5)
    assert until(lambda: page.locator("#feed article").first.get_attribute("data-id") != first, page)


def test_nothing_found_says_what_empties_it(page: Page, server: Server) -> None:
    opened(page, server, "?track=Larkwing&q=voucherxyz")
    expect(page.locator("#feed .state")).to_contain_text("No post matches “voucherxyz”")
    page.get_by_role("button", name="Clear the search").click()
    page.locator("#feed article").first.wait_for()


def test_the_whole_page_by_keyboard(page: Page, server: Server) -> None:
    opened(page, server)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.matches('#feed article:nth-of-type(2)')")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.matches('#feed article:nth-of-type(1)')")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.get_by_role("button", name="Keys of one letter").click()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("p")
    expect(page.locator("#livetext")).to_have_text("Live")
    page.get_by_role("button", name="Keys and help").click()
    page.get_by_role("button", name="Keys of one letter").click()
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    expect(page.locator("#livetext")).to_have_text("Paused")
    page.keyboard.press("p")
    page.locator("#window summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert "window=" in page.url
    reached = set()
    page.locator(".brand").focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("(document.activeElement.closest('header,#scope,#chart,#use,#posts') || {}).className")
        )
    assert len(reached) >= 4


def test_phone_width(server: Server, context: BrowserContext) -> None:
    phone = context.browser
    assert phone is not None
    window = phone.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = opened(window.new_page(), server)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nav = page.locator("#phonenav")
    expect(nav).to_be_visible()
    nav.get_by_text("Posts").click()
    page.locator("#feed article").first.wait_for(state="visible")
    assert page.evaluate("document.querySelector('main').scrollWidth") <= 390
    nav.get_by_text("Now").click()
    expect(page.locator("#net")).to_be_visible()
    page.get_by_role("button", name="Filters and custom range").click()
    expect(page.locator("#window summary")).to_be_visible()
    window.close()


def test_first_start(page: Page, empty: Server) -> None:
    page.goto(empty.url)
    expect(page.get_by_role("heading", name="What do you want to listen to?")).to_be_visible()
    expect(page.locator("#tabs")).not_to_contain_text("Tickets")
    page.get_by_label("Subject").first.fill("Larkwing")
    page.locator("#field-firstquery").fill("larkwing")
    expect(page.locator("#firstmatch")).to_contain_text("of them match")
    page.get_by_role("button", name="Start listening").first.click()
    page.wait_for_url("**track=Larkwing*")
    expect(page.locator("#first")).to_be_hidden()
    page.locator("#feed article").first.wait_for()


def test_signing_in_and_out(page: Page, guarded: Server) -> None:
    page.goto(guarded.url + "/?page=health")
    expect(page).to_have_title(re.compile("^Sign in"))
    page.get_by_label("Token").fill("sesame")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This is not the token.")
    page.get_by_label("Token").fill(guarded.token)
    page.keyboard.press("Enter")
    expect(page).to_have_url(guarded.url + "/?page=health")
    expect(page.locator("#live")).to_contain_text("Live")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(guarded.url + "/login")
    page.goto(guarded.url + "/?page=health")
    expect(page).to_have_title(re.compile("^Sign in"))


def test_reconnects_after_the_server_restarts(page: Page, server: Server) -> None:
    opened(page, server)
    assert until(lambda: any(map(str.isdigit, page.inner_text("#net"))), page)
    server.kill()
    page.wait_for_timeout(500)  # what was under way is drawn
    net = page.inner_text("#net")
    expect(page.locator("#banner")).to_contain_text("Not live since")
    assert any(map(str.isdigit, net))
    assert page.inner_text("#net") == net
    server.start()
    expect(page.locator("#banner .bar")).to_have_count(0, timeout=60_000)
    expect(page.locator("#livetext")).to_have_text("Live")
    before = scored(page)
    assert until(lambda: scored(page) != before, page, 60)
