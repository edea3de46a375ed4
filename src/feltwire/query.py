"""The query language of tracks: what a query says, from text and back. What it means for a post: `tracks.py`.

The grammar is that of X's search rules: terms side by side are joined by AND, which binds more tightly than OR.
It is read by lark (MIT), an LALR parser: time linear in the length of the query, and no recursion while parsing.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from feltwire import language
from feltwire.errors import ConfigError

MAX_QUERY_CHARS: Final = 4_096
MAX_NESTING: Final = 50

IS: Final = ("repost", "reply", "quote", "verified")
HAS: Final = ("links", "hashtags", "emoji", "mentions")


@dataclass(frozen=True)
class Term:
    """One condition. `kind` is `word`, `phrase`, `hashtag`, `mention` or the name of an operator (`from`, …).

    `value` is in Unicode's composed form (NFC); `prefix`: a word or hashtag that ended in `*`.
    """

    kind: str
    value: str
    prefix: bool = False


@dataclass(frozen=True)
class And:
    """Every part holds; two parts or more."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True)
class Or:
    """At least one part holds; two parts or more."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True)
class Not:
    """The part, which is no Not itself, does not hold."""

    part: "Expression"


Expression: TypeAlias = Term | And | Or | Not

_GRAMMAR: Final = r"""
    ?start: either
    either: all_of (_OR all_of)*
    all_of: one (_AND? one)*
    one: (MINUS | NOT)* (_LEFT either _RIGHT | OPERATOR | PHRASE | HASHTAG | MENTION | WORD)
    _LEFT: "("
    _RIGHT: ")"
    _OR.9: /OR(?=[\s()"]|$)/
    _AND.9: /AND(?=[\s()"]|$)/
    NOT.9: /NOT(?=[\s()"]|$)/
    MINUS.9: /-(?=[^\s)])/
    OPERATOR.8: /[A-Za-z_]+:(?:"(?:[^"\\]|\\.)*"|[^\s()"]*)/
    PHRASE.8: /"(?:[^"\\]|\\.)*"/
    HASHTAG.7: /[#＃][^\s()"]*/
    MENTION.7: /[@＠][^\s()"]*/
    WORD: /[^\s()"#＃@＠-][^\s()"]*/
    %ignore /\s+/
"""

_SHOWN: Final = {"_LEFT": "(", "_RIGHT": ")", "_OR": "OR", "_AND": "AND", "$END": "the end"}
_A_TERM: Final = "a word, a \"phrase\", #hashtag, @mention, operator:value, '-' or '('"
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


def parse(query: str) -> Expression:
    """The query as an expression. Raises ConfigError with one line: the position, what came, what is allowed."""
    if len(query) > MAX_QUERY_CHARS:
        raise ConfigError(f"a query of {len(query):,} characters came; at most {MAX_QUERY_CHARS:,} are allowed")
    try:
        tree = _parser().parse(query)
    except UnexpectedInput as error:
        raise _refused(query, *_complaint(query, error)) from None
    if _nesting(query) > MAX_NESTING:
        raise ConfigError(f"a query nested more than {MAX_NESTING} parentheses deep came; write it flatter")
    return _expression(query, tree)


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="basic")


def _nesting(query: str) -> int:
    depth = deepest = 0
    for char in _QUOTED.sub("", query):
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    return deepest


def _refused(query: str, position: int, came: str, allowed: str) -> ConfigError:
    shown = query if len(query) <= 80 else query[:77] + "..."
    return ConfigError(f"query {shown!r}, position {position + 1}: {came}; allowed: {allowed}")


def _complaint(query: str, error: UnexpectedInput) -> tuple[int, str, str]:
    """Where the parser stopped, what came there, and what may stand there."""
    if isinstance(error, UnexpectedCharacters):
        position = cast(int, error.pos_in_stream)  # the library declares it as None
        if query[position] == '"':
            return position, "a quotation mark came that no other one closes", 'a phrase as in "exact words"'
        return position, f"{query[position]!r} came", _A_TERM
    token = error.token if isinstance(error, UnexpectedToken) else Token("$END", "")
    expected = set(error.accepts or error.expected) if isinstance(error, UnexpectedToken) else set()
    at_end = token.type == "$END"
    position = len(query) if at_end else (token.start_pos or 0)
    came = "the query ended" if at_end else f"{str(token)!r} came"
    if "WORD" in expected:
        return position, came, _A_TERM + (" or ')'" if "_RIGHT" in expected else "")
    return position, came, " or ".join(sorted(_SHOWN.get(name, name) for name in expected))


def _expression(query: str, tree: Tree[Token]) -> Expression:
    """`either` and `all_of` with one part are that part; `one` is negated by an odd number of minuses."""
    if tree.data == "one":
        *signs, last = tree.children
        inner = _expression(query, last) if isinstance(last, Tree) else _term(query, last)
        return _negated(inner) if len(signs) % 2 else inner
    parts = tuple(_expression(query, child) for child in tree.children if isinstance(child, Tree))
    if len(parts) == 1:
        return parts[0]
    return Or(parts) if tree.data == "either" else And(parts)


def _negated(expression: Expression) -> Expression:
    return expression.part if isinstance(expression, Not) else Not(expression)


def _term(query: str, token: Token) -> Term:
    """One term; raises ConfigError where its value is not one of those that are allowed."""
    position = token.start_pos or 0
    raw = unicodedata.normalize("NFC", str(token))
    if token.type == "PHRASE":
        return _phrase(query, position, raw)
    if token.type == "OPERATOR":
        name, _, value = raw.partition(":")
        return _operator(query, position, name.lower(), _unquoted(value) if value.startswith('"') else value)
    if token.type == "MENTION":
        return Term("mention", _name(query, position, raw[1:], "@"))
    kind, body = ("hashtag", raw[1:]) if token.type == "HASHTAG" else ("word", raw)
    prefix = body.endswith("*")
    body = body.removesuffix("*")
    if not body or "*" in body:
        raise _refused(query, position, f"{raw!r} came", "letters, and one '*' at the end for any continuation")
    if kind == "hashtag" and not any(map(str.isalpha, body)):
        raise _refused(query, position, f"{raw!r} came", "a hashtag with a letter in it")
    return Term(kind, body, prefix)


def _unquoted(raw: str) -> str:
    return " ".join(re.sub(r"\\(.)", r"\1", raw[1:-1], flags=re.DOTALL).split())


def _phrase(query: str, position: int, raw: str) -> Term:
    value = _unquoted(raw)
    if not value:
        raise _refused(query, position, "empty quotation marks came", "words between them")
    return Term("phrase", value)


def _name(query: str, position: int, value: str, before: str) -> str:
    name = value.removeprefix("@").lower()
    if not name:
        raise _refused(query, position, f"{before!r} without a name came", f"{before}name")
    return name


def _from(query: str, position: int, value: str) -> str:
    return _name(query, position, value, "from:")


def _lang(query: str, position: int, value: str) -> str:
    code = language.normalise(value)
    if code is None and value.lower() != "und":
        raise _refused(query, position, f"'lang:{value}' came", "an ISO 639-1 code as in lang:en, or lang:und for none")
    return code or "und"


def _some(name: str) -> Callable[[str, int, str], str]:
    def checked(query: str, position: int, value: str) -> str:
        if not value:
            raise _refused(query, position, f"'{name}:' without a value came", f"{name}:value")
        return value if name == "place" else value.lower()

    return checked


def _one_of(name: str, values: tuple[str, ...]) -> Callable[[str, int, str], str]:
    def checked(query: str, position: int, value: str) -> str:
        if value.lower() not in values:
            allowed = ", ".join(f"{name}:{one}" for one in values)
            raise _refused(query, position, f"'{name}:{value}' came", allowed)
        return value.lower()

    return checked


def _url(query: str, position: int, value: str) -> str:
    domain = re.sub(r"^[a-z]+://", "", value.lower()).partition("/")[0].removeprefix("www.").strip(".")
    if not domain:
        raise _refused(query, position, f"'url:{value}' came", "a domain as in url:example.org")
    return domain


OPERATORS: Final[dict[str, Callable[[str, int, str], str]]] = {
    "from": _from,
    "lang": _lang,
    "place": _some("place"),
    "source": _some("source"),
    "is": _one_of("is", IS),
    "has": _one_of("has", HAS),
    "url": _url,
}
"""The operators, each with the function that checks its value."""


def _operator(query: str, position: int, name: str, value: str) -> Term:
    check = OPERATORS.get(name)
    if check is None:
        known = ", ".join(f"{known}:" for known in OPERATORS)
        raise _refused(query, position, f"the operator '{name}:' came", f'{known} or "{name}:…" in quotation marks')
    return Term(name, check(query, position, value))


def to_string(expression: Expression) -> str:
    """The query in its shortest form; `parse(to_string(e)) == e` for every e that `parse` gives."""
    match expression:
        case Term():
            return _term_string(expression)
        case Not(part):
            return f"-{_bracketed(part, And, Or)}"
        case And(parts):
            return " ".join(_bracketed(part, And, Or) for part in parts)
        case Or(parts):
            return " OR ".join(_bracketed(part, Or) for part in parts)


def _bracketed(expression: Expression, *kinds: type[And] | type[Or]) -> str:
    inner = to_string(expression)
    return f"({inner})" if isinstance(expression, kinds) else inner


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _term_string(term: Term) -> str:
    star = "*" if term.prefix else ""
    match term.kind:
        case "word":
            return term.value + star
        case "phrase":
            return _quoted(term.value)
        case "hashtag":
            return f"#{term.value}{star}"
        case "mention":
            return f"@{term.value}"
        case name:
            bare = not re.search(r'[\s()"]', term.value)
            return f"{name}:{term.value if bare else _quoted(term.value)}"


def leaves(expression: Expression) -> Iterator[tuple[Term, bool]]:
    """Every term of the expression, with whether it is wanted (true) or excluded by a Not (false)."""
    stack = [(expression, True)]
    while stack:
        here, wanted = stack.pop()
        match here:
            case Term():
                yield here, wanted
            case Not(part):
                stack.append((part, not wanted))
            case And(parts) | Or(parts):
                stack.extend((part, wanted) for part in reversed(parts))
