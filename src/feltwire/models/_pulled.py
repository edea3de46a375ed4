"""Where bundles lie that `feltwire models pull` made of checkpoints on the Hugging Face hub."""

import re
from pathlib import Path
from typing import Final

from feltwire import config
from feltwire.errors import ConfigError

HUB: Final = "hf:"
_PART: Final = r"[A-Za-z0-9][\w.-]{0,95}"
_REFERENCE: Final = re.compile(rf"({_PART})/({_PART})(?:@([A-Za-z0-9][\w.-]{{0,95}}))?")


def reference(given: str) -> tuple[str, str | None]:
    """`org/name` and the revision (a branch, a tag, a commit) of `hf:org/name[@revision]`, with or without `hf:`.

    Raises ConfigError for anything else.
    """
    found = _REFERENCE.fullmatch(given.removeprefix(HUB))
    if found is None or ".." in given:
        raise ConfigError(f"{given!r} is no checkpoint of the hub: expected hf:org/name or hf:org/name@revision")
    return f"{found[1]}/{found[2]}", found[3]


def place(given: str, at: str = "") -> Path:
    """The folder of the bundle of a reference; `at` is the folder of all of them, unset the user's own cache."""
    name, revision = reference(given)
    root = Path(at).expanduser() if at else config.cache_folder() / "hf"
    return root / (f"{name}@{revision}" if revision else name)
