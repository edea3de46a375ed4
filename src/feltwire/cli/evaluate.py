"""`feltwire evaluate`: what a model reaches on labelled texts."""

from pathlib import Path
from typing import Annotated

import typer

from feltwire.cli import _lab, common
from feltwire.cli._lab import Head, LabelColumn, LabelNames, TextColumn, Where
from feltwire.cli.common import AsJson


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's URI or folder: bundled:fast, ./mine.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled texts: CSV, JSONL or Parquet.")],
    *,
    text: TextColumn = "text",
    label: LabelColumn = "label",
    label_names: LabelNames = None,
    where: Where = None,
    head: Head = "sentiment",
    as_json: AsJson = False,
) -> None:
    """Measure a model on labelled texts: accuracy, precision, recall, F1, ROC, calibration, confusion.

    \b
      feltwire evaluate ./mine tweets.csv --text body --label mood
      feltwire evaluate lexicon:vader posts.jsonl --label-names pos=positive --label-names neg=negative --json

    Labels of the model that the data do not have are left out: the more probable of what is left counts.
    """
    from feltwire.cli.output import write_json
    from feltwire.cli.progress import counting
    from feltwire.lab import peers
    from feltwire.lab.data import read
    from feltwire.lab.evaluate import evaluate as measured

    scorer = peers.load(model)
    loaded = read(data.expanduser(), _lab.reading(text, label, label_names, where))
    with counting("scoring", unit="texts", total=len(loaded.data)) as advance:
        shown = 0

        def told(share: float) -> None:
            nonlocal shown
            now = round(share * len(loaded.data))
            advance(now - shown)
            shown = now

        measures = measured(scorer, loaded.data, head, told)
    if as_json:
        write_json({"model": scorer.name, "data": str(data), "sha256": loaded.data.sha256, **measures.to_json()})
        return
    common.talk(f"{scorer.name} on {loaded.data.name}, head {head}:")
    _lab.write_measures(measures)


add_to = common.adder({"evaluate": evaluate}, "Models")
