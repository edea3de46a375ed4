"""The model card: `CARD.md` and its pictures, beside the bundle that they describe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from feltwire.lab import data as datasets
from feltwire.lab import plots
from feltwire.lab.interfaces import Dataset, Fitted
from feltwire.lab.metrics import Floats, Measures
from feltwire.models._bundle import Manifest

CARD: Final = "CARD.md"
PICTURES: Final = ("confusion.png", "roc.png", "calibration.png", "curve.png")

_LIMITS: Final = """\
- It saw the languages, subjects and years of its training texts, and no others; on other texts it will do worse
  than the figures say.
- The figures are of the validation set, which also set the temperature and, for some families, when to stop: on
  texts kept apart from all choices they are usually a little lower.
- It judges one text at a time, without its thread, pictures or author, and it takes over what annotators disagreed
  about or got wrong.
- Do not decide about a person by one text's label alone."""


@dataclass(frozen=True, slots=True)
class About:
    """What a card tells."""

    manifest: Manifest
    head: str
    preset: str
    family: str
    options: Mapping[str, Any]
    seed: int
    train: Dataset
    validation: Dataset
    fitted: Fitted
    measures: Measures
    p: Floats
    """What the bundle gave the validation texts."""
    remarks: Sequence[str] = ()


def write(folder: Path, about: About) -> None:
    """Write the card and its pictures."""
    names, labels = about.validation.names, about.validation.labels
    plots.confusion(folder / "confusion.png", about.measures, names)
    plots.roc(folder / "roc.png", labels, about.p, names)
    plots.calibration(folder / "calibration.png", labels, about.p)
    if about.fitted.curve:
        plots.curve(folder / "curve.png", about.fitted.curve)
    (folder / CARD).write_text(text(about), encoding="utf-8")


def text(about: About) -> str:
    """The card as Markdown."""
    manifest, head = about.manifest, about.manifest.heads[about.head]
    size = f", neutral band {head.neutral_band[0]:g} to {head.neutral_band[1]:g}" if head.neutral_band else ""
    facts = [
        ("preset", f"`{about.preset}` of the family `{about.family}`"),
        ("options", ", ".join(f"`{name}={_short(value)}`" for name, value in about.options.items())),
        ("seed", str(about.seed)),
        ("cleaning profile", f"`{manifest.profile}`"),
        ("format", f"`{manifest.format}`, at most {manifest.max_tokens} tokens"),
        ("head", f"`{about.head}`, temperature {head.temperature:g}{size}"),
        ("languages", ", ".join(sorted(manifest.languages)) if manifest.languages else "any"),
        ("licence", manifest.licence or "not stated"),
    ]
    parts = [
        f"# {manifest.name} {manifest.version}",
        manifest.description or about.fitted.note,
        table(("", ""), facts),
        *([about.fitted.note] if manifest.description and about.fitted.note else []),
        *about.remarks,
        "## Data",
        table(("set", "rows", "SHA-256"), _sets(about)),
        table(("class", "training rows", "validation rows"), _classes(about)),
        "## Figures",
        f"On {about.measures.rows:,} validation texts, through the code that serves the bundle.",
        table(("measure", "value"), _figures(about.measures)),
        table(("class", "precision", "recall", "F1", "rows"), _per_class(about.measures)),
        "![Confusion matrix](confusion.png)\n![ROC](roc.png)\n![Calibration](calibration.png)"
        + ("\n![Learning curve](curve.png)" if about.fitted.curve else ""),
        "## Limits",
        _LIMITS,
        "## Licence",
        _licence(about),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _sets(about: About) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(one.name, f"{one.rows:,}", f"`{one.sha256}`") for one in about.manifest.training]
    held = about.validation
    return [*rows, (f"{held.name} (validation)", f"{len(held):,}", f"`{held.sha256}`")]


def _classes(about: About) -> list[tuple[str, ...]]:
    train, held = datasets.counts(about.train), datasets.counts(about.validation)
    return [(name, f"{train.get(name, 0):,}", f"{held.get(name, 0):,}") for name in about.validation.names]


def _figures(measures: Measures) -> list[tuple[str, ...]]:
    return [(name.replace("_", " "), f"{value:.4f}") for name, value in measures.numbers().items()]


def _per_class(measures: Measures) -> list[tuple[str, ...]]:
    return [
        (name, f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}", f"{one.rows:,}")
        for name, one in measures.classes.items()
    ]


def _licence(about: About) -> str:
    lines = [f"Bundle: {about.manifest.licence or 'not stated'}."]
    if about.fitted.licence:
        lines.append(f"The weights that training started from: {about.fitted.licence}.")
    lines.append("The terms of the training texts are those of their publishers; no text is part of the bundle.")
    if about.manifest.format in ("linear", "trees"):
        lines.append("Its list of terms holds words and word groups of the training texts.")
    return " ".join(lines)


def _short(value: Any) -> str:
    said = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return said if len(said) <= 60 else said[:59] + "…"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
