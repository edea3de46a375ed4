"""From labelled texts to a bundle with its card: fit, calibrate, measure, write; and go on where it was stopped."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from feltwire.errors import ConfigError
from feltwire.lab import card, presets
from feltwire.lab.evaluate import probabilities
from feltwire.lab.interfaces import Dataset, Fitted, Point, Run
from feltwire.lab.metrics import Measures, OfClass, fit_temperature, measure
from feltwire.models._bundle import FILES, MANIFEST, SCHEMA_VERSION, Manifest, TrainingSet, sha256, write_manifest
from feltwire.models._formats import open_bundle
from feltwire.schema import SENTIMENTS

Progress = Callable[[str, float, Mapping[str, float]], None]

RECORD: Final = "training.json"
WORK: Final = ".work"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained."""

    preset: str
    head: str
    profile: str = "social"
    seed: int = 1
    threads: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    """Laid over those of the preset."""
    name: str = ""
    """Of the model; empty: preset and head."""
    version: str = "1"
    description: str = ""
    licence: str = ""
    languages: tuple[str, ...] = ()
    """Empty: any."""
    neutral_band: tuple[float, float] | None = None
    spark: Mapping[str, str] = field(default_factory=dict)
    """Where and how Spark runs (`Run.spark`), for the families that need it."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training."""

    folder: Path
    manifest: Manifest
    measures: Measures
    again: bool
    """It had been done before: nothing was trained now."""


def train(
    plan: Plan,
    data: Dataset,
    validation: Dataset,
    out: Path,
    *,
    sets: tuple[Dataset, ...] = (),
    remarks: tuple[str, ...] = (),
    progress: Progress = lambda what, share, figures: None,
) -> Trained:
    """Train what the plan says into the folder `out`: the bundle, `CARD.md`, its pictures, and `training.json`.

    `validation` has the classes of `data`. `sets` are the files that `data` was made of (none: itself), for the
    record; `remarks` go into the card. A folder in which the same training was begun is gone on with, one in which
    it was finished is left as it is. Raises ConfigError for a folder with anything else in it, a wrong option, or
    data of one class; MissingExtraError when a library is not installed.
    """
    if data.names != validation.names:
        raise ConfigError(f"training has the classes {data.names}, validation {validation.names}: expected the same")
    if len(set(data.labels.tolist())) < 2:
        raise ConfigError(f"{data.name} has {len(data)} rows of one class: there is nothing to tell apart")
    if not len(validation):
        raise ConfigError("there are no rows to validate on")
    _check_labels(plan.head, data.names)
    preset = presets.find(plan.preset)
    options = preset.options(plan.options)
    given = options.model_dump(mode="json")
    _manifest(plan, data.names, sets or (data,))  # what is wrong with it is told before anything is trained
    agreed = _fingerprint(plan, given, data, validation)
    if _done(out, agreed):
        record = json.loads((out / RECORD).read_bytes())
        return Trained(out, _read(out), _measures(record["measures"]), again=True)
    work = out / WORK
    bundle = work / "bundle"
    fitted = _fitted(work / "fitted.json")
    if fitted is None:
        shutil.rmtree(bundle, ignore_errors=True)
        bundle.mkdir(parents=True)
        (work / "checkpoints").mkdir(exist_ok=True)
        run = Run(work / "checkpoints", bundle, plan.head, plan.profile, plan.seed, plan.threads, progress, plan.spark)
        fitted = preset.family.fit(data, validation, options, run)
        _write(work / "fitted.json", asdict(fitted))
    files = {name: sha256(bundle / name) for name in FILES[fitted.format]}
    manifest = _manifest(plan, data.names, sets or (data,), fitted, files)
    manifest, measures, p = _calibrated(manifest, plan, bundle, validation, progress)
    card.write(
        out,
        card.About(
            manifest=manifest,
            head=plan.head,
            preset=plan.preset,
            family=preset.family_name,
            options=given,
            seed=plan.seed,
            train=data,
            validation=validation,
            fitted=fitted,
            measures=measures,
            p=p,
            remarks=remarks,
        ),
    )
    for name in FILES[fitted.format]:
        shutil.copyfile(bundle / name, out / name)
    curve = [asdict(point) for point in fitted.curve]
    record = {"fingerprint": agreed, "plan": asdict(plan), "options": given, "measures": measures.to_json()}
    _write(out / RECORD, {**record, "curve": curve, "note": fitted.note})
    write_manifest(out, manifest)  # last: with it the folder is a bundle, and the training done
    shutil.rmtree(work)
    return Trained(out, manifest, measures, again=False)


def _check_labels(head: str, names: tuple[str, ...]) -> None:
    """Raises ConfigError for labels that the head's columns have no place for: no such model could be loaded."""
    said = ", ".join(names[:12])
    if head == "sentiment" and not set(names) <= set(SENTIMENTS):
        raise ConfigError(
            f"the head 'sentiment' would have the labels {said}; allowed are {', '.join(SENTIMENTS)}: "
            "rename yours by --label-names OLD=NEW, or choose another --head"
        )
    if head == "complaint" and "complaint" not in names:
        raise ConfigError(
            f"the head 'complaint' would have the labels {said}; one must be 'complaint': rename it by --label-names"
        )


def _fingerprint(plan: Plan, options: Mapping[str, Any], data: Dataset, validation: Dataset) -> str:
    """What two trainings have in common that are the same; where they run is not part of it."""
    planned = asdict(replace(plan, threads=1))
    del planned["spark"]
    digest = new_sha256(json.dumps([planned, options], sort_keys=True, default=str).encode())
    for one in (data, validation):
        digest.update(json.dumps([one.name, one.sha256, one.names, one.labels.tolist()]).encode())
        digest.update("\0".join(one.texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _done(out: Path, agreed: str) -> bool:
    """Whether the folder holds this training, finished; claims it where it holds none.

    Raises ConfigError for a folder that holds something else: no training overwrites another's files.
    """
    claim = out / WORK / "claim.json"
    if (out / RECORD).is_file() and (out / MANIFEST).is_file():
        found = json.loads((out / RECORD).read_bytes()).get("fingerprint")
        if found != agreed:
            raise ConfigError(f"{out} holds a model of other data, options or seed: name another folder by --out")
        return True
    if claim.is_file():
        if json.loads(claim.read_bytes()) != agreed:
            raise ConfigError(
                f"{out} holds the beginnings of a training with other data, options or seed: "
                "name another folder by --out, or remove it"
            )
        return False
    if out.is_dir() and any(one.name != WORK for one in out.iterdir()):
        raise ConfigError(f"{out} is not empty, and no training was begun in it: name another folder by --out")
    claim.parent.mkdir(parents=True, exist_ok=True)
    _write(claim, agreed)
    return False


def _fitted(path: Path) -> Fitted | None:
    """What a family said before the training was stopped; None: it had not ended."""
    if not path.is_file():
        return None
    given = json.loads(path.read_bytes())
    return Fitted(**{**given, "curve": tuple(Point(**point) for point in given["curve"])})


def _manifest(
    plan: Plan,
    labels: tuple[str, ...],
    sets: tuple[Dataset, ...],
    fitted: Fitted | None = None,
    files: Mapping[str, str] | None = None,
) -> Manifest:
    """What `model.json` will say; raises ConfigError for what a bundle cannot be called."""
    fitted = fitted or Fitted("linear", max_tokens=4)
    head: dict[str, Any] = {"labels": labels}
    if plan.neutral_band is not None:
        head["neutral_band"] = plan.neutral_band
    given = {
        "schema_version": SCHEMA_VERSION,
        "format": fitted.format,
        "name": plan.name or f"{plan.preset}-{plan.head}",
        "version": plan.version,
        "description": plan.description,
        "licence": plan.licence or fitted.licence,
        "languages": plan.languages or None,
        "profile": plan.profile,
        "max_tokens": fitted.max_tokens,
        "heads": {plan.head: head},
        "training": [TrainingSet(name=one.name, sha256=one.sha256, rows=len(one)) for one in sets],
        "sha256": dict(files or {}),
    }
    try:
        return Manifest.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"the bundle cannot be described so: {key}: {first['msg']}") from error


def _calibrated(
    manifest: Manifest, plan: Plan, bundle: Path, validation: Dataset, progress: Progress
) -> tuple[Manifest, Measures, Any]:
    """(the manifest with temperature and figures, the measures, the probabilities): all through the runtime."""

    def told(what: str) -> Callable[[float], None]:
        return lambda share: progress(what, share, {})

    write_manifest(bundle, manifest)
    p = probabilities(open_bundle(bundle, threads=plan.threads), validation, plan.head, told("calibrating"))
    head = manifest.heads[plan.head].model_copy(update={"temperature": fit_temperature(validation.labels, p)})
    manifest = manifest.model_copy(update={"heads": {**manifest.heads, plan.head: head}})
    write_manifest(bundle, manifest)
    model = open_bundle(bundle, threads=plan.threads)
    p = probabilities(model, validation, plan.head, told("measuring"))
    measures = measure(validation.labels, p, validation.names)
    metrics = {f"{plan.head}_{name}": number for name, number in measures.numbers().items()}
    return manifest.model_copy(update={"metrics": metrics}), measures, p


def _read(folder: Path) -> Manifest:
    return Manifest.model_validate(json.loads((folder / MANIFEST).read_bytes()))


def _measures(given: Mapping[str, Any]) -> Measures:
    classes = {name: OfClass(**one) for name, one in given["classes"].items()}
    return Measures(**{**given, "classes": classes})


def _write(path: Path, value: Any) -> None:
    """JSON that is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
