"""Numbers and times as the page writes them: a true minus, thousands apart, shares that add up."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final

from feltwire.schema import ALL_TRACKS

MINUS: Final = "\u2212"
LABELS: Final = ("negative", "mixed", "neutral", "positive")
"""The sentiments in the one order that the page has for them."""
SHORT: Final = {"negative": "neg", "mixed": "mix", "neutral": "neu", "positive": "pos"}
"""The class of a sentiment, and the name of its colours."""
SOURCES: Final = {"x": "X", "bluesky": "Bluesky", "mastodon": "Mastodon", "simulator": "Simulator"}
LANGUAGES: Final = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


def count(value: float) -> str:
    """A whole number: 15,688."""
    return f"{round(value):,}".replace("-", MINUS)


def signed(value: float) -> str:
    """A whole number with its sign; nothing before a zero: +12, −47, 0."""
    whole = round(value)
    return f"{'+' if whole > 0 else MINUS if whole < 0 else ''}{abs(whole):,}"


def percent(value: float) -> str:
    """One decimal, without the sign of per cent."""
    return f"{value:.1f}".replace("-", MINUS)


def arrow(change: float, digits: int = 0) -> str:
    """Up, down, or level, as it is rounded."""
    change = round(change, digits)
    return "↑" if change > 0 else "↓" if change < 0 else "→"


def times(now: float, before: float) -> str:
    """How many times as much: ×5.7, ×66, new, or × with nothing to say."""
    if before <= 0:
        return "new" if now > 0 else "–"
    ratio = now / before
    return f"×{ratio:.0f}" if ratio >= 9.95 else f"×{ratio:.1f}"


def shares(counts: Mapping[str, float], digits: int = 1) -> dict[str, float]:
    """Per cent of each, rounded so that they add up to exactly 100 (largest remainders); all 0 where there is nothing.

    Ties go to the first.
    """
    total = sum(counts.values())
    if total <= 0:
        return dict.fromkeys(counts, 0.0)
    unit = 10**digits
    exact = {name: value / total * 100 * unit for name, value in counts.items()}
    whole = {name: int(value) for name, value in exact.items()}
    left = 100 * unit - sum(whole.values())
    for name in sorted(exact, key=lambda name: whole[name] - exact[name])[:left]:
        whole[name] += 1
    return {name: value / unit for name, value in whole.items()}


def clock(moment: datetime, zone: tzinfo, *, seconds: bool = False, day: bool = False) -> str:
    """14:05, 14:32:08, or 21 Nov 14:05."""
    local = moment.astimezone(zone)
    text = local.strftime("%H:%M:%S" if seconds else "%H:%M")
    return f"{local.day} {local:%b} {text}" if day else text


def span(since: datetime, until: datetime, zone: tzinfo) -> str:
    """13:33 – 14:32; with days where it is longer than one. `until` is excluded: its last minute is shown."""
    last = until - timedelta(minutes=1)
    days = since.astimezone(zone).date() != last.astimezone(zone).date()
    return f"{clock(since, zone, day=days)} – {clock(last, zone, day=days)}"


def zone_name(zone: tzinfo, moment: datetime) -> str:
    """UTC, UTC+1, UTC−3:30."""
    offset = moment.astimezone(zone).utcoffset() or timedelta(0)
    minutes = round(offset.total_seconds() / 60)
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else MINUS}{hours}" + (f":{rest:02}" if rest else "")


def track_name(track: str) -> str:
    """A track as people call it."""
    return "All posts" if track == ALL_TRACKS else track


def source_name(source: str) -> str:
    """A network as people call it."""
    return SOURCES.get(source, source)


def language_name(code: str) -> str:
    """A language as people call it."""
    return LANGUAGES.get(code, code) if code else "Unknown"


def label_name(label: str) -> str:
    """A label of a model as a person reads it: `lost_baggage` becomes Lost baggage."""
    text = label.replace("_", " ").replace("-", " ").strip()
    return text[:1].upper() + text[1:]


def listed(values: Sequence[str], last: str = "and") -> str:
    """One, two and three."""
    return " ".join([", ".join(values[:-1]), last, values[-1]]) if len(values) > 1 else "".join(values)


def size_words(size: int) -> tuple[str, str]:
    """Bytes as 4.2 GB."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return (f"{value:.0f}" if unit == "B" or value >= 100 else f"{value:.1f}"), unit


def duration(length: timedelta) -> str:
    """6 d 4 h, 3 h 12 min, 41 s."""
    whole = max(0, int(length.total_seconds()))
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"


def seconds(value: float) -> str:
    """0.4 s, 41 s, 6 min."""
    return f"{value:.1f} s" if value < 10 else duration(timedelta(seconds=value))


def ago(moment: datetime | None, now: datetime) -> str:
    """0.2 s ago, 41 s ago, 6 min ago."""
    return "never" if moment is None else f"{seconds(max(0.0, (now - moment).total_seconds()))} ago"


def pace(value: float) -> str:
    """Posts a minute: a whole number from ten on, one decimal below."""
    return count(value) if value >= 9.5 or value == 0 else f"{value:.1f}"
