"""One suite over all model plugins: what `interfaces.Model` promises, whoever keeps it.

A plugin that cannot be made from its bare name has its URIs in URIS; a new one that needs an entry fails here.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel
from tests.models.far_side import FarSide, as_comprehend, as_feltwire, certified

from feltwire import loading, registry, scoring, text
from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.models import _store, bundled
from feltwire.models._places import open_place

TINY = Path(__file__).parents[1] / "bundles" / "tiny"

URIS = {
    "auto": ["auto:?fast=bundled:tiny&base=bundled:tiny&threshold=0.8", "auto:"],
    "bundle": [f"bundle:{TINY}", f"bundle:{TINY}?threads=2"],
    "bundled": ["bundled:tiny"],
    "comprehend": ["comprehend:?region=eu-west-1&endpoint=http://FAR"],
    "hf": [f"hf:{TINY}"],
    "http": ["http://FAR/api/v1/score", "http://FAR/?batch=1&concurrency=3"],
    "https": ["https://FAR/api/v1/score"],
    "lexicon": ["lexicon:vader"],
    "none": ["none:"],
    "registry": ["registry:tiny", "registry:tiny@1?threads=2"],
}

TEXTS = [
    "I love this, thanks!",
    "The worst flight ever, they lost my luggage and the crew was rude",
    "The train left at nine",
    "",
    "😀" * 3000,
    "a" * 20_000,
    "word " * 4000,
    "ชอบมาก ありがとう 好きです",
    "\x00\x01\ufffd\u202e<script>alert(1)</script>",
    "anna flew from new york to san francisco with Delta",
]


@pytest.fixture(params=[uri for name in registry.names("models") for uri in URIS.get(name, [f"{name}:"])])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    for name in ("tiny", "fast", "base"):
        shutil.copytree(TINY, tmp_path / name)
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    place = open_place()
    _store.add(place, TINY)
    _store.promote(place, "tiny", "1")
    loading._load.cache_clear()
    with far_side(request.param, tmp_path, monkeypatch) as uri:
        model = scoring.load(uri)
        yield model
        getattr(model, "close", lambda: None)()
    loading._load.cache_clear()


@contextmanager
def far_side(uri: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI with the address of a server in the place of FAR, where there is one to be."""
    if "FAR" not in uri:
        yield uri
        return
    patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    secure = uri.startswith("https:")
    tls = certified(folder) if secure else None
    if secure:
        patch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    far = FarSide(as_comprehend if uri.startswith("comprehend:") else as_feltwire, tls=tls)
    yield uri.replace("FAR", far.url.split("/")[2])
    far.close()


def test_every_plugin_stands_in_this_suite() -> None:
    assert set(registry.names("models")) == set(URIS)


@pytest.mark.parametrize("name", registry.names("models"))
def test_options_are_described_and_closed(name: str) -> None:
    options = registry.load("models", name).Options
    assert issubclass(options, BaseModel)
    with pytest.raises(ConfigError, match="unknown option 'nonsense'"):
        registry.create("models", f"{URIS[name][0].partition('?')[0]}?nonsense=1")


def test_says_what_it_is(model: Model) -> None:
    assert model.name
    assert model.profile in text.profiles()
    assert model.languages is None or all(len(code) == 2 for code in model.languages)
    for labels in model.heads.values():
        assert len(labels) == len(set(labels)) > 0


def test_every_head_answers_for_every_text(model: Model) -> None:
    answer = model.predict(TEXTS)
    for head, labels in model.heads.items():
        given = answer[head]
        if isinstance(given, list):
            assert len(given) == len(TEXTS)
            for row, one in zip(given, TEXTS, strict=True):
                for start, end, label, p in row:
                    assert 0 <= start < end <= len(one)
                    assert label in labels
                    assert 0 <= p <= 1
        else:
            assert given.shape == (len(TEXTS), len(labels))
            assert given.dtype == np.float32
            assert np.isfinite(given).all()
            assert ((given >= 0) & (given <= 1)).all()


def test_sentiment_sums_to_one(model: Model) -> None:
    if "sentiment" in model.heads:
        given = model.predict(TEXTS)["sentiment"]
        assert not isinstance(given, list)
        assert np.allclose(given.sum(axis=1), 1, atol=1e-5)


def test_a_row_does_not_depend_on_the_rows_beside_it(model: Model) -> None:
    together = model.predict([*TEXTS, *TEXTS[::-1], *(f"filler {'x ' * i}" for i in range(100))])
    for i, one in enumerate(TEXTS):
        alone = model.predict([one])
        for head in model.heads:
            given, expected = together[head], alone[head]
            if isinstance(given, list) or isinstance(expected, list):
                assert [span[:3] for span in given[i]] == [span[:3] for span in expected[0]]
            else:
                assert np.abs(given[i] - expected[0]).max() <= 0.005
                assert np.abs(given[2 * len(TEXTS) - 1 - i] - expected[0]).max() <= 0.005


def test_no_texts_no_rows(model: Model) -> None:
    answer = model.predict([])
    for head, labels in model.heads.items():
        given = answer[head]
        assert given == [] if isinstance(given, list) else given.shape == (0, len(labels))


def test_the_stream_can_use_it(model: Model) -> None:
    """Scores come out for every text that there is, whatever the heads."""
    everything = np.ones(len(TEXTS), np.bool_)
    cleaned = pa.array(text.clean(TEXTS, model.profile))
    scores, failures = scoring.score_rows(model, cleaned, everything, originals=pa.array(TEXTS))
    assert not failures
    assert scores.num_rows == len(TEXTS)
    assert scores.column("scored").to_pylist() == [bool(one) for one in cleaned.to_pylist()] or not model.heads
