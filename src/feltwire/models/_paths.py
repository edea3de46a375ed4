"""Where things stand in a JSON document: `results[*].scores.positive`, `[0][label=POSITIVE].score`."""

import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from feltwire.errors import ConfigError

EACH: Final = "*"
Step: TypeAlias = "str | int | tuple[str, str]"
"""A member's name, an element's number, or (member, value): the first element whose member has that value."""
Path: TypeAlias = tuple[Step, ...]

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(?:(\*)|(\d+)|([^\]=]+)=([^\]]+))\]")
MISSING: Final = object()


def parse(text: str, option: str) -> tuple[Path | None, Path]:
    """The path to the list of all texts' answers, and the one to the value within an answer.

    The first is None where `text` has no `[*]`: it then speaks of one answer. Raises ConfigError, naming the option.
    """
    steps: list[Step] = []
    before: Path | None = None
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ConfigError(f"{option}: {text!r} is no path; expected one as results[*].scores.positive")
        name, each, number, member, value = match.groups()
        if each and before is not None:
            raise ConfigError(f"{option}: {text!r} has [*] twice; it stands for the texts of a call, once")
        if each:
            before, steps = tuple(steps), []
        else:
            steps.append(name if name is not None else int(number) if number is not None else (member, value))
        at = match.end()
    return before, tuple(steps)


def find(document: Any, path: Sequence[Step]) -> Any:
    """What stands there; MISSING where nothing does."""
    for step in path:
        match step, document:
            case str(), dict():
                document = document.get(step, MISSING)
            case int(), list():
                document = document[step] if step < len(document) else MISSING
            case (member, value), list():
                chosen = (one for one in document if isinstance(one, dict) and str(one.get(member)) == value)
                document = next(chosen, MISSING)
            case _:
                return MISSING
    return document


def put(text_path: str, value: Any) -> dict[str, Any]:
    """A document in which `value` stands under a dotted path."""
    document: Any = value
    for name in reversed(text_path.split(".")):
        document = {name: document}
    result: dict[str, Any] = document
    return result
