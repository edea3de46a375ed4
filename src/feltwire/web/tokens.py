"""The tokens that a service asks for, and whether a page of another origin is asking."""

import hmac
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers

AccessScope: TypeAlias = Literal["read", "write", "admin"]
SCOPES: Final[tuple[AccessScope, ...]] = ("read", "write", "admin")
"""Each includes the ones before it."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What clients bring as `Authorization: Bearer …`, by what it allows. None of all: nobody needs one."""

    read: str | None = None
    write: str | None = None
    admin: str | None = None

    @property
    def any(self) -> bool:
        """Whether a token is asked for."""
        return any((self.read, self.write, self.admin))

    def token_of(self, scope: AccessScope) -> str | None:
        """The token of a scope; None where none is set."""
        return dict(zip(SCOPES, (self.read, self.write, self.admin), strict=True))[scope]

    def match(self, given: str) -> AccessScope | None:
        """What a token allows; None: it is none of them. Takes as long however wrong."""
        found: AccessScope | None = None
        for scope in SCOPES:
            token = self.token_of(scope)
            if hmac.compare_digest(given.encode(), (token or "").encode()) and token:
                found = scope
        return found

    def scope_of(self, headers: Headers) -> AccessScope | None:
        """What the token of a request allows; None: it brings none that is right. Takes as long however wrong."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        found = self.match(given.strip())
        return found if scheme.lower() == "bearer" else None


def is_foreign(headers: Headers) -> bool:
    """Whether a page of another origin sends a request: browsers say so, programs say nothing."""
    if headers.get("sec-fetch-site", "same-origin").lower() not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True
