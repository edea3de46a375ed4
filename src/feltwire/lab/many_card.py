"""The model card of a bundle with many heads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from feltwire.lab.card import CARD, table
from feltwire.lab.examples import Examples
from feltwire.models._bundle import Manifest

_LIMITS: Final = """\
- English alone. Posts in other languages are kept unscored.
- The figures are of sets that were kept back from training and used to choose and calibrate; on texts kept apart
  from all choices they are usually a little lower.
- `category` learns from labels of a topic model over airline posts, which agree with people's reasons only in part,
  and from invented sentences. `complaint` learns from proxies: angry airline posts, and inbound support posts.
- Irony, hate and offence are what the annotators of a few thousand posts took for such; groups that they wrote about
  more often are flagged more often. Do not decide about a person by one post's label alone."""

_LICENCE: Final = """\
The encoder it started from is Apache-2.0. The sets named above were used for training and are not part of the
bundle; some of them are for research or non-commercial use by their publishers' terms: ask before you rely on the
weights commercially."""


def write(
    folder: Path,
    manifest: Manifest,
    examples: Examples,
    figures: Mapping[str, Mapping[str, float]],
    how: Mapping[str, Any],
) -> None:
    """Write `CARD.md`."""
    heads = [
        (f"`{name}`", head.kind, str(len(head.names)), f"{head.temperature:g}") for name, head in manifest.heads.items()
    ]
    measured = [
        (
            f"`{key}`",
            str(len(examples.validation[key])),
            ", ".join(f"{name} {value:.3f}" for name, value in part.items()),
        )
        for key, part in figures.items()
    ]
    parts = [
        f"# {manifest.name} {manifest.version}",
        manifest.description,
        "## Heads",
        table(("head", "kind", "labels", "temperature"), heads),
        "## Figures",
        "On texts kept back from training, through the code that serves the bundle.",
        table(("set and head", "rows", "measures"), measured),
        "## Data",
        table(
            ("set", "rows", "SHA-256"),
            [(f"`{one.name}`", f"{one.rows:,}", f"`{one.sha256[:16]}…`") for one in manifest.training],
        ),
        "## Training",
        ", ".join(f"`{name}={value}`" for name, value in how.items()),
        "## Limits",
        _LIMITS,
        "## Licence",
        _LICENCE,
    ]
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")
