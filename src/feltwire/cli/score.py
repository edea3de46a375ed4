"""`feltwire score`: texts and files, with the numbers that the stream would give them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feltwire.cli import common
from feltwire.cli.common import ConfigFile, ModelUri
from feltwire.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from feltwire.cli.tables import Chunk, Kind


def score(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT…]", help="Texts; a single `-` reads the standard input.")
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE", help="CSV, JSONL, Parquet, or a text a line."),
    ] = None,
    column: Annotated[str, typer.Option("--column", metavar="NAME", help="The column that holds the text.")] = "text",
    lang_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The column with each text's language; others than the model's go unscored."),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="Where to, the form by its ending; `-`: standard output.")
    ] = "-",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add `probabilities`: every label of every head with its p.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON lines, whatever came in.")] = False,
    model: ModelUri = None,
    config: ConfigFile = None,
) -> None:
    """Score texts: sentiment, and whatever else the model tells.

    \b
      feltwire score "Lost my bag. Again." "Thank you, crew!"
      feltwire score --file tweets.csv --column body --out scored.csv
      cat posts.jsonl | feltwire score - --probabilities > scored.jsonl

    A file keeps its order and its other columns; the new columns are named as those of the table `posts`. Any
    size will do: it is read and written in pieces.
    """
    uri = common.load_settings(config, model=model).model.uri
    if texts == ["-"]:
        texts, file = None, "-"
    if texts and file:
        raise ConfigError("came: both texts and a file; expected one of them")
    if not texts and file is None and sys.stdin.isatty():
        raise ConfigError("nothing to score: give texts, --file FILE, or - for the standard input")
    if texts:
        _score_texts(texts, uri, probabilities=probabilities, as_json=as_json, out=out)
    else:
        _score_file(file or "-", uri, column, lang_column, out, probabilities=probabilities, as_json=as_json)


def _score_texts(texts: list[str], uri: str, *, probabilities: bool, as_json: bool, out: str) -> None:
    import pyarrow as pa

    from feltwire import scoring
    from feltwire.cli import output
    from feltwire.cli.view import scored_texts

    scores = scoring.score_texts(texts, uri, probabilities=probabilities)
    batch = _with_scores(pa.record_batch([pa.array(texts, pa.string())], names=["text"]), scores, uri)
    if out != "-":
        _write_all(iter([batch]), out, None)
    elif as_json:
        for row in output.to_rows(batch):
            output.write_line(row)
    else:
        common.console().print(scored_texts(output.to_rows(batch)))


def _score_file(
    file: str, uri: str, column: str, lang_column: str | None, out: str, *, probabilities: bool, as_json: bool
) -> None:
    from feltwire import scoring
    from feltwire.cli import _scorers
    from feltwire.cli.tables import kind_of, read_chunks

    scoring.load(uri)  # what is wrong with the model is told before anything is read
    kind = None if file == "-" else kind_of(file)
    form: Kind | None = "jsonl" if as_json else (None if out != "-" else kind)

    def jobs() -> "Iterator[_scorers.Job]":
        for chunk in read_chunks(file, kind):
            langs = _texts_of(chunk, lang_column, file) if lang_column else None
            yield _scorers.Job(chunk, _texts_of(chunk, column, file), langs)

    found = _scorers.scored(jobs(), uri, probabilities=probabilities)
    _write_all((_with_scores(chunk, scores, uri) for chunk, scores in found), out, form)


def _texts_of(chunk: "Chunk", column: str, file: str) -> list[str | None]:
    """The texts of a chunk. Raises ConfigError where there is no such column."""
    if isinstance(chunk, list):
        if not any(column in row for row in chunk):
            raise ConfigError(f"{file} has no column {column!r}: it has {', '.join(chunk[0])}; name it by --column")
        values = [row.get(column) for row in chunk]
    else:
        if column not in chunk.schema.names:
            names = ", ".join(chunk.schema.names)
            raise ConfigError(f"{file} has no column {column!r}: it has {names}; name it by --column")
        values = chunk.column(column).to_pylist()
    return [None if value is None else str(value) for value in values]


def _with_scores(chunk: "Chunk", scores: "pa.RecordBatch", uri: str) -> "Chunk":
    """The chunk with the columns that the model fills; a column of that name that was there is replaced."""
    from feltwire import scoring
    from feltwire.cli.output import to_rows

    names = columns_of(scoring.load(uri).heads)
    scores = scores.select([*names, *(["probabilities"] if "probabilities" in scores.schema.names else [])])
    if isinstance(chunk, list):
        return [{**row, **new} for row, new in zip(chunk, to_rows(scores), strict=True)]
    for name in scores.schema.names:
        if name in chunk.schema.names:
            chunk = chunk.drop_columns([name])
    for name, array in zip(scores.schema.names, scores.columns, strict=True):
        chunk = chunk.append_column(name, array)
    return chunk


def columns_of(heads: Any) -> list[str]:
    """The columns of `schema.SCORES` that a model with these heads fills."""
    from feltwire.schema import SCORES, SENTIMENTS

    filled = {"scored", "truncated", "model", *heads, *(f"p_{head}" for head in heads)}
    if "sentiment" in heads:
        filled |= {"confidence", *(f"p_{label}" for label in SENTIMENTS)}
    return [name for name in SCORES.names if name in filled]


def _write_all(chunks: "Iterator[Chunk]", out: str, form: "Kind | None") -> None:
    """Write chunks; `form` None: by the name of `out`, JSONL where it says nothing."""
    import pyarrow as pa

    from feltwire.cli.output import to_json
    from feltwire.cli.progress import counting
    from feltwire.cli.tables import kind_of_out, open_lines, open_writer

    asked = kind_of_out(out)
    kind = form or asked or "jsonl"
    if asked not in (None, kind):
        raise ConfigError(f"--out {out!r} and --json contradict each other: expected a name that ends in .jsonl")
    with counting("scoring", unit="texts") as advance:
        if kind == "jsonl":
            with open_lines(out) as write_text:
                for chunk in chunks:
                    rows = chunk if isinstance(chunk, list) else _rows(chunk)
                    write_text("".join(to_json(row) + "\n" for row in rows))
                    advance(len(chunk))
            return
        first = next(chunks, None)
        if first is None:
            raise ConfigError(f"there is nothing to score, so --out {Path(out).name!r} is not written")
        batch = first if isinstance(first, pa.RecordBatch) else _batch(first, None)
        with open_writer(out, kind, batch.schema) as write:
            write(batch)
            advance(len(batch))
            for chunk in chunks:
                write(chunk if isinstance(chunk, pa.RecordBatch) else _batch(chunk, batch.schema))
                advance(len(chunk))


def _rows(batch: "pa.RecordBatch") -> list[dict[str, Any]]:
    from feltwire.cli.output import to_rows

    return to_rows(batch)


def _batch(rows: list[dict[str, Any]], schema: "pa.Schema | None") -> "pa.RecordBatch":
    """JSON rows as a batch, with the columns of the first ones. Raises ConfigError where they do not fit."""
    import pyarrow as pa

    try:
        if schema is None:
            names = list(dict.fromkeys(name for row in rows for name in row))
            found = pa.Table.from_pylist([dict.fromkeys(names), *rows]).slice(1).combine_chunks()
            fields = [pa.field(f.name, pa.string()) if pa.types.is_null(f.type) else f for f in found.schema]
            return found.cast(pa.schema(fields)).to_batches()[0]
        unknown = {name for row in rows for name in row} - set(schema.names)
        if not unknown:
            return pa.RecordBatch.from_pylist(rows, schema=schema)
    except (pa.ArrowException, TypeError) as error:
        raise ConfigError(f"the rows do not make a table: {error}; write JSON lines instead: --json") from error
    raise ConfigError(f"the key {min(unknown)!r} comes only in later rows; write JSON lines instead: --json")


add_to = common.adder({"score": score}, "Ask")
