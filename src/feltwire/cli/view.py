"""The live view of a terminal, and its plain lines for everything that is none."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from rich.align import Align
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from feltwire.cli.output import harmless
from feltwire.followers.console import LABELS, clean
from feltwire.schema import ALL_TRACKS, SENTIMENTS

if TYPE_CHECKING:
    from feltwire.cli.glance import Line, Mood, Picture
    from feltwire.plan import Progress

COLOURS: Final = {"negative": "red", "neutral": "bright_black", "positive": "green", "mixed": "yellow"}
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_NAME: Final = 12


def sparkline(line: "Line", width: int, scale: float) -> Text:
    """The net mood bin by bin: the higher the better, green above zero and red below."""
    text = Text()
    for mood in line[-width:]:
        if mood is None or not mood.scored:
            text.append("·", "bright_black")
            continue
        level = (mood.net / scale + 1) / 2
        block = _BLOCKS[min(len(_BLOCKS) - 1, max(0, int(level * len(_BLOCKS))))]
        text.append(block, colour_of(mood.net))
    return text


def colour_of(net: float) -> str:
    """The colour of a net mood."""
    if abs(net) < 0.05:
        return "yellow"
    return "green" if net > 0 else "red"


def dashboard(
    picture: "Picture", progress: "Progress | None", *, title: str, elapsed_s: float, width: int, height: int
) -> RenderableType:
    """The whole view, at most `width` by `height` characters."""
    inner = max(40, width - 4)
    parts: list[RenderableType] = [_moods(picture, inner), Text(), _counts(picture, progress, inner)]
    if picture.terms:
        parts += [_terms(picture.terms, inner)]
    used = len(picture.moods) + 1 + 4 + bool(picture.terms) + 3
    parts += [Text(), _posts(picture.latest, max(1, height - used - 2), inner)]
    clock = str(timedelta(seconds=int(elapsed_s)))
    return Panel(
        Group(*parts),
        title=f"[bold]feltwire[/bold] {title}",
        subtitle=f"{clock} · Ctrl-C stops",
        title_align="left",
        subtitle_align="right",
        border_style="cyan",
        width=width,
    )


def _moods(picture: "Picture", width: int) -> RenderableType:
    """A line for each track: name, sparkline, net, shares."""
    from feltwire.cli.glance import BIN_S, BINS

    if not picture.moods:
        return Align.center(Text("waiting for the first posts …", "bright_black"))
    tracks = [ALL_TRACKS, *sorted(name for name in picture.moods if name != ALL_TRACKS)][:9]
    strip = max(10, min(BINS, width - _NAME - 30))
    nets = [abs(mood.net) for track in tracks for mood in picture.moods[track] if mood and mood.scored >= 5]
    scale = max(0.3, min(1.0, max(nets, default=1.0)))
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_NAME, no_wrap=True, overflow="ellipsis")
    table.add_column(width=strip)
    for _ in range(4):
        table.add_column(justify="right", no_wrap=True)
    span = f"net mood, {strip * BIN_S // 60} min" if strip * BIN_S >= 120 else f"net mood, {strip * BIN_S} s"
    table.add_row(*(Text(name, "bright_black") for name in ("track", span, "net", "neg", "pos", "posts")))
    for track in tracks:
        total = picture.total(track)
        table.add_row(
            Text("all posts" if track == ALL_TRACKS else harmless(track), "bold"),
            sparkline(picture.moods[track], strip, scale),
            Text(f"{total.net:+.2f}", f"bold {colour_of(total.net)}"),
            Text(f"{total.share('negative'):.0%}", "red"),
            Text(f"{total.share('positive'):.0%}", "green"),
            Text(f"{total.n:,}"),
        )
    return table


def _counts(picture: "Picture", progress: "Progress | None", width: int) -> RenderableType:
    """Shares as a bar, then what became of all posts, then how the engine is."""
    ledger = picture.ledger
    names = ("kept", "duplicate", "filtered", "dead")
    account = Text("received ", "bright_black").append(f"{ledger.get('received', 0):,}", "bold")
    account.append(" = ", "bright_black")
    account.append(" + ".join(f"{ledger.get(name, 0):,} {name}" for name in names))
    state = Text()
    if progress is not None:
        state.append("now ", "bright_black").append(f"{progress.posts_per_s:,.0f}/s", "bold")
        state.append("  lag ", "bright_black").append(
            f"{progress.lag:,}", "bold" if progress.lag < 50_000 else "bold red"
        )
        state.append("  batch ", "bright_black").append(f"{progress.batch_s * 1000:,.0f} ms")
        if progress.waiting:
            state.append(f"  waits: {harmless(progress.waiting)}", "yellow")
    for text in (account, state):
        text.truncate(width, overflow="ellipsis")
    return Group(_bar(picture.total(), width), account, state)


def _bar(total: "Mood", width: int) -> Text:
    """The shares of the sentiments as one bar, with their names where they fit."""
    bar = Text()
    if not total.scored:
        return Text("─" * width, "bright_black")
    left = width
    for label in SENTIMENTS:
        share = total.share(label)
        size = min(left, round(share * width))
        if label == SENTIMENTS[-1] and share:
            size = left
        name = f" {label} {share:.0%}"
        shown = (name if len(name) <= size else "").ljust(size)
        bar.append(shown, f"bold white on {COLOURS[label]}")
        left -= size
    return bar


def _terms(terms: Sequence[dict[str, Any]], width: int) -> Text:
    text = Text("top ", "bright_black")
    for term in terms:
        mark = colour_of((term["n_positive"] - term["n_negative"]) / max(1, term["n"]))
        piece = f"#{harmless(term['term'])} {term['n']:,}  "
        if text.cell_len + len(piece) > width:
            break
        text.append(piece, mark)
    return text


def _posts(latest: Sequence[dict[str, Any]], rows: int, width: int) -> RenderableType:
    lines = []
    for row in latest[:rows]:
        sign, colour = LABELS.get(row["sentiment"], LABELS[None])
        shown = Text(f"{row['event_time']:%H:%M:%S} ", "bright_black").append(f"{sign} ", f"bold {colour}")
        who = row["author_handle"] or row["author_name"]
        shown.append(f"@{clean(who)} " if who else "", "cyan").append(clean(row["text"] or ""))
        shown.truncate(width, overflow="ellipsis")
        lines.append(shown)
    return Group(*lines)


def plain_line(picture: "Picture", progress: "Progress | None") -> str:
    """One line of what `dashboard` shows."""
    total = picture.total()
    now = f"{datetime.now(UTC):%H:%M:%S}"
    if progress is None:
        return f"{now} starting"
    shares = " ".join(f"{label} {total.share(label):.0%}" for label in SENTIMENTS)
    kept = picture.ledger.get("kept", 0)
    counts = f"kept {kept:,} ({progress.posts_per_s:,.0f}/s) lag {progress.lag:,}"
    waits = f" waits: {harmless(progress.waiting)}" if progress.waiting else ""
    return f"{now} {counts} mood {total.net:+.2f} {shares}{waits}"


def scored_texts(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """Texts and their scores, for people."""
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", ratio=1)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    for row in rows:
        label = row.get("sentiment") if row.get("scored") else None
        table.add_row(
            Text(harmless(row["text"])),
            Text(label or "unscored", f"bold {COLOURS[label]}" if label else "bright_black"),
            _probabilities(row) if label else Text(),
        )
        extra = _extra(row)
        if extra:
            table.add_row(Text(extra, "bright_black"))
    return table


def _probabilities(row: dict[str, Any]) -> Text:
    text = Text()
    for label, sign in (("negative", "-"), ("neutral", "="), ("positive", "+"), ("mixed", "~")):
        p = row.get(f"p_{label}")
        if p is not None and (label != "mixed" or p >= 0.005):
            text.append(f" {sign}{p:.2f}", COLOURS[label])
    return text


def _extra(row: dict[str, Any]) -> str:
    """What the other heads say, in one line."""
    said = [f"{head} {row[head]}" for head in ("emotion", "irony", "offensive", "hate", "category") if row.get(head)]
    if row.get("complaint"):
        said.append("complaint")
    if row.get("emoji"):
        said.append("".join(one["emoji"] for one in row["emoji"]))
    said += [f"{entity['text']} ({entity['label']})" for entity in row.get("entities") or []]
    return "  ".join(harmless(part) for part in said)
