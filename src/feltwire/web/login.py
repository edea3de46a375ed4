"""Signing in: a form that takes a token and gives a browser a session, so that it can open the page.

The session is a cookie that no script can read and that goes with no request of another origin. It holds its scope, its
end and a random number, signed with a key that is made of the token of its scope: the token itself is not in it, and a
session ends when its token is changed. Signing out forgets it, in the browser and, while this process lives, here.
"""

import hashlib
import hmac
import html
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from feltwire.web.limits import Buckets
from feltwire.web.tokens import SCOPES, AccessScope, Tokens, is_foreign

LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
COOKIE: Final = "feltwire_session"
LASTS_S: Final = 7 * 86_400
MAX_FORM_BYTES: Final = 8_192
TRIES_A_SECOND: Final = 0.2
TRIES_AT_ONCE: Final = 10.0

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sign in · Feltwire</title>
<style>
:root { --canvas: #F7F8FA; --surface: #FFF; --line: #E4E7EC; --ctl: #868F9C; --ink: #14181F; --ink2: #4A5361;
  --on: #FFF; --bad: #A93F06; }
@media (prefers-color-scheme: dark) { :root { --canvas: #0E1116; --surface: #15191F; --line: #252B34; --ctl: #6C7684;
  --ink: #EEF1F5; --ink2: #B2BAC6; --on: #0E1116; --bad: #F5A263; } }
* { box-sizing: border-box; margin: 0; }
body { font: 400 14px/20px Inter, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; background: var(--canvas);
  color: var(--ink); min-height: 100vh; display: grid; place-items: center; padding: 24px; }
main { width: min(400px, 100%%); background: var(--surface); border: 1px solid var(--line); border-radius: 8px;
  padding: 24px; }
h1 { font-size: 20px; line-height: 28px; letter-spacing: -.014em; margin-bottom: 4px; }
p { color: var(--ink2); margin-bottom: 16px; }
p.bad { color: var(--bad); font-weight: 500; }
label { display: block; font-weight: 500; margin-bottom: 4px; }
input { font: inherit; color: inherit; width: 100%%; height: 44px; padding: 0 12px; border: 1px solid var(--ctl);
  border-radius: 6px; background: var(--surface); margin-bottom: 16px; }
button { font: inherit; font-weight: 500; height: 44px; width: 100%%; border: 0; border-radius: 6px;
  background: var(--ink); color: var(--on); cursor: pointer; }
:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
code { font-size: 13px; }
</style>
</head>
<body>
<main>
<h1>Sign in to Feltwire</h1>
<p>This page asks for a token, <code>serve.token</code> of the settings.</p>
%(error)s<form method="post" action="/login">
<input type="hidden" name="next" value="%(next)s">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Sign in</button>
</form>
</main>
</body>
</html>
"""


class Login:
    """`/login` and `/logout` as an ASGI application, and what the session of a request allows."""

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._clock = clock
        self._ended: dict[str, float] = {}
        self._buckets = Buckets(TRIES_A_SECOND, TRIES_AT_ONCE)

    def takes(self, scope: Scope) -> bool:
        """Whether a request is for the form."""
        return scope["type"] == "http" and scope["path"] in (LOGIN, LOGOUT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(scope, receive)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Cache-Control"] = "no-store"
        # Under "no-referrer" a browser sends the form with "Origin: null", which is no proof of where it came from.
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Content-Type-Options"] = "nosniff"
        await response(scope, receive, send)

    def scope_of(self, headers: Headers) -> AccessScope | None:
        """What the session that comes with a request allows; None: there is none, or one that is over."""
        value = _cookie(headers)
        parts = value.split(".")
        if len(parts) != 4 or value in self._ended:
            return None
        name, until, nonce, signature = parts
        for scope in SCOPES:
            key = self._tokens.token_of(scope)
            if key and name == scope and hmac.compare_digest(signature.encode(), _sign(key, scope, until, nonce)):
                return scope if until.isdecimal() and self._clock() < int(until) else None
        return None

    def session(self, scope: AccessScope) -> str:
        """A new session of a scope whose token is set."""
        until, nonce = str(int(self._clock()) + LASTS_S), secrets.token_urlsafe(12)
        signature = _sign(self._tokens.token_of(scope) or "", scope, until, nonce).decode()
        return f"{scope}.{until}.{nonce}.{signature}"

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers, method = Headers(scope=scope), scope["method"]
        secure = scope.get("scheme") == "https"
        if scope["path"] == LOGOUT:
            return self._logout(headers, method, secure=secure)
        if method in ("GET", "HEAD"):
            query = parse_qs(scope["query_string"].decode("latin-1"))
            return _form(query.get("next", ["/"])[0])
        if method != "POST":
            return Response(status_code=405, headers={"Allow": "GET, HEAD, POST"})
        if is_foreign(headers):
            return _form("/", "This came from a page of another origin. Sign in here.", status=403)
        if self._buckets.take((scope.get("client") or ("",))[0]):
            return _form("/", "Too many tries. Wait a few seconds.", status=429)
        return self._sign_in(await _body(receive), secure=secure)

    def _sign_in(self, body: bytes | None, *, secure: bool) -> Response:
        given = parse_qs((body or b"").decode("utf-8", "replace"), keep_blank_values=True)
        to = given.get("next", ["/"])[0]
        access = self._tokens.match(given.get("token", [""])[0].strip())
        if access is None:
            return _form(to, "This is not the token.", status=403)
        response = RedirectResponse(_local(to), 303)
        response.set_cookie(
            COOKIE, self.session(access), max_age=LASTS_S, httponly=True, samesite="strict", secure=secure
        )
        return response

    def _logout(self, headers: Headers, method: str, *, secure: bool) -> Response:
        if method != "POST" or is_foreign(headers):
            return Response(status_code=405, headers={"Allow": "POST"})
        now = self._clock()
        self._ended = {value: until for value, until in self._ended.items() if until > now}
        if self.scope_of(headers) is not None:
            value = _cookie(headers)
            self._ended[value] = float(value.split(".")[1])
        response = RedirectResponse(LOGIN, 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=secure)
        return response


def _sign(key: str, scope: str, until: str, nonce: str) -> bytes:
    made = hmac.new(key.encode(), b"feltwire session 1", hashlib.sha256).digest()
    return hmac.new(made, f"{scope}.{until}.{nonce}".encode(), hashlib.sha256).hexdigest().encode()


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


async def _body(receive: Receive) -> bytes | None:
    """The body of a small form; None of one that is larger."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += bytes(message.get("body", b""))
        if len(body) > MAX_FORM_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _local(to: str) -> str:
    """An address of this server; `/` for any other."""
    plain = to.startswith("/") and not to.startswith(("//", "/\\")) and all(32 < ord(char) < 127 for char in to)
    return to if plain else "/"


def _form(to: str, error: str = "", *, status: int = 200) -> HTMLResponse:
    said = f'<p class="bad" role="alert">{html.escape(error)}</p>\n' if error else ""
    return HTMLResponse(_PAGE % {"error": said, "next": html.escape(_local(to), quote=True)}, status)
