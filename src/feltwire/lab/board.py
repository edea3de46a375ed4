"""A leaderboard as people read it: a table in Markdown, JSON, and a picture."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from feltwire.lab import plots, tasks
from feltwire.lab.leaderboard import Board, Cell
from feltwire.lab.plots import Place

TABLE: Final = "leaderboard.md"
DATA: Final = "leaderboard.json"
PICTURE: Final = "leaderboard.png"
_COLUMNS: Final = {
    "accuracy": "accuracy",
    "macro_precision": "P",
    "macro_recall": "R (macro-recall)",
    "macro_f1": "F1",
    "roc_auc": "ROC AUC",
    "calibration_error": "calibration error",
}
TITLES: Final = ("model", *_COLUMNS.values(), "posts/s, 1 core", "posts/s, 2 cores", "size")


def write(out: Path, board: Board, command: str) -> None:
    """Write the three files beside the cells; `command` is the one that made them."""
    (out / TABLE).write_text(text(board, command), encoding="utf-8")
    given = {"command": command, "cells": [asdict(cell) for cell in board.cells], "skipped": board.skipped}
    (out / DATA).write_text(json.dumps(given, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    boards = [
        (name, measure, [Place(cell.name, cell.rates.get("1"), cell.value(measure) or 0.0) for cell in cells])
        for name, measure, cells in by_task(board)
    ]
    plots.leaderboard(out / PICTURE, boards)


def by_task(board: Board) -> list[tuple[str, str, list[Cell]]]:
    """(task, the measure it is ranked by, its cells, the best first)."""
    found = []
    for name in dict.fromkeys(cell.task for cell in board.cells):
        measure = tasks.measure_of(name)
        cells = [cell for cell in board.cells if cell.task == name]
        found.append((name, measure, sorted(cells, key=lambda cell: -(cell.value(measure) or 0.0))))
    return found


def text(board: Board, command: str) -> str:
    """The tables as Markdown."""
    parts = ["# Leaderboard", f"Made by `{command}`; precision, recall and F1 are plain means over the classes."]
    for name, measure, cells in by_task(board):
        parts.append(f"## {name}")
        parts.append(f"Head `{cells[0].head}`, ranked by {measure.replace('_', ' ')}, {_rows(cells)}.")
        parts.append(_table(cells))
    if board.skipped:
        parts.append("Without a cell:")
        parts.append("\n".join(f"- {what}: {why}" for what, why in board.skipped.items()))
    return "\n\n".join(parts) + "\n"


def _rows(cells: Sequence[Cell]) -> str:
    trained = max(cell.train_rows for cell in cells)
    return f"{trained:,} training rows, {cells[0].measures['rows']:,} validation rows"


def values(cell: Cell) -> list[str]:
    """A row, under TITLES."""
    rates = [cell.rates.get("1"), cell.rates.get("2")]
    measures = [cell.value(measure) for measure in _COLUMNS]
    return [
        cell.name,
        *("–" if value is None else f"{value:.3f}" for value in measures),
        *("–" if rate is None else f"{rate:,.0f}" for rate in rates),
        "–" if cell.size is None else f"{cell.size / 1e6:.1f} MB",
    ]


def _table(cells: Sequence[Cell]) -> str:
    lines = [list(TITLES), ["---", *["--:"] * (len(TITLES) - 1)], *map(values, cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
