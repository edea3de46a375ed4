"""Signing in at /login: the form, the session, what it opens and what it does not."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers
from tests.web.serving import served, serving

from feltwire.web.app import State
from feltwire.web.login import COOKIE, LASTS_S, Login
from feltwire.web.tokens import Tokens

HTML = {"Accept": "text/html,*/*"}


@pytest.fixture
def locked(lake: Path) -> Iterator[httpx.Client]:
    """A server that asks for a token."""
    with serving(State(lake=served(lake), read_token="r-secret", token="a-secret")) as client:
        yield client


def sign_in(client: httpx.Client, token: str = "a-secret", to: str = "/", **headers: str) -> httpx.Response:
    return client.post("/login", data={"token": token, "next": to}, headers=headers)


def test_a_browser_is_led_to_the_form_and_back(locked: httpx.Client) -> None:
    led = locked.get("/?track=a&q=b", headers=HTML)
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=%2F%3Ftrack%3Da%26q%3Db")
    form = locked.get(led.headers["location"], headers=HTML)
    assert form.status_code == 200
    assert 'value="/?track=a&amp;q=b"' in form.text
    assert "form-action 'self'" in form.headers["content-security-policy"]
    back = sign_in(locked, to="/?track=a&q=b")
    assert (back.status_code, back.headers["location"]) == (303, "/?track=a&q=b")
    cookie = back.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "a-secret" not in cookie
    assert locked.get("/", headers=HTML).status_code == 200
    assert locked.get("/_page/windows.csv").status_code == 200


def test_the_session_never_opens_the_api(locked: httpx.Client) -> None:
    sign_in(locked)
    for path in ("/api/v1/tracks", "/metrics", "/openapi.json"):
        assert locked.get(path, headers=HTML).status_code == 401


def test_programs_are_told_rather_than_led(locked: httpx.Client) -> None:
    assert locked.get("/").status_code == 401
    assert locked.get("/_page/windows.csv", headers=HTML).status_code == 401
    assert locked.get("/", headers={"Authorization": "Bearer r-secret"}).status_code == 200


def test_a_wrong_token_and_another_origin(locked: httpx.Client) -> None:
    wrong = sign_in(locked, token="a-secre")
    assert wrong.status_code == 403
    assert "set-cookie" not in wrong.headers
    assert "a-secre" not in wrong.text.replace("serve", "")
    assert sign_in(locked, Origin="https://elsewhere.example").status_code == 403
    assert locked.post("/login", content=b"token=" + b"a" * 10_000).status_code == 403
    assert locked.put("/login").status_code == 405
    assert [sign_in(locked, token="x").status_code for _ in range(12)][-1] == 429


@pytest.mark.parametrize("to", ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere.example", "/\n", ""])
def test_nobody_is_led_elsewhere(locked: httpx.Client, to: str) -> None:
    assert sign_in(locked, to=to).headers["location"] == "/"


def test_signing_out_ends_the_session(locked: httpx.Client) -> None:
    value = sign_in(locked).cookies[COOKIE]
    assert locked.get("/logout").status_code == 405
    out = locked.post("/logout")
    assert (out.status_code, out.headers["location"]) == (303, "/login")
    locked.cookies.clear()
    assert locked.get("/_page/windows.csv", headers={"Cookie": f"{COOKIE}={value}"}).status_code == 401


def test_without_tokens_nobody_signs_in(lake: Path) -> None:
    with serving(State(lake=served(lake))) as client:
        assert client.post("/login", data={"token": ""}).status_code in (404, 405)


def allowed(login: Login, value: str) -> str | None:
    return login.scope_of(Headers({"cookie": f"{COOKIE}={value}"}))


def test_a_session_holds_its_scope_and_ends() -> None:
    now = [1_000.0]
    login = Login(Tokens(read="r", admin="a"), clock=lambda: now[0])
    read, admin = login.session("read"), login.session("admin")
    assert (allowed(login, read), allowed(login, admin)) == ("read", "admin")
    _, until, nonce, signature = read.split(".")
    for forged in (
        f"admin.{until}.{nonce}.{signature}",
        f"read.{int(until) + 1}.{nonce}.{signature}",
        f"read.{until}.{nonce}.",
        f"write.{until}.{nonce}.{signature}",
        "read",
        "",
    ):
        assert allowed(login, forged) is None
    assert allowed(Login(Tokens(read="other", admin="a"), clock=lambda: now[0]), read) is None
    assert allowed(Login(Tokens(), clock=lambda: now[0]), read) is None
    now[0] += LASTS_S
    assert allowed(login, admin) is None
