"""`feltwire rescore` and `feltwire compare-models`, on a lake of their own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.making import invoke, invoke_json
from tests.models.far_side import FarSide

from feltwire.errors import ConfigError


@pytest.fixture
def own(lake: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lake, tmp_path / "lake"))


@pytest.fixture
def far() -> Iterator[FarSide]:
    far = FarSide()
    yield far
    far.close()


def test_rescore_and_compare(own: Path, far: FarSide) -> None:
    report = invoke_json("rescore", "--model", far.url, "--batch", "2", "--json", "--lake", str(own))
    assert report == {"model": "far@1", "scored": 5, "already": 0, "unspoken": 0, "failed": 0, "stopped": False}
    again = invoke_json("rescore", "--model", far.url, "--json", "--lake", str(own))
    assert (again["scored"], again["already"]) == (0, 5)
    rows = json.loads(invoke("sql", "select count(*) n, min(model) m from scores", "--json", "--lake", str(own)))
    assert rows == [{"n": 5, "m": "far@1"}]
    found = invoke_json("compare-models", "stream", "far@1", "--limit", "1", "--json", "--lake", str(own))
    assert (found["n"], found["models"], len(found["changed"])) == (5, ["stream", "far@1"], 1)
    assert found["agreement"] == pytest.approx(found["agreed"] / 5)
    assert sum(row["n"] for row in found["confusion"]) == 5
    assert found["days"][0]["day"] == "2026-11-20T00:00:00Z"


def test_compare_for_people(own: Path, far: FarSide) -> None:
    invoke("rescore", "--model", far.url, "--track", "airline", "--since", "2026-11-20", "--lake", str(own))
    shown = invoke("compare-models", "stream", "far@1", "--track", "airline", "--lake", str(own))
    assert "stream net" in shown
    assert "far@1" in shown
    assert "2 posts with sentiment by both" in shown or "negative" in shown
    assert "\x1b" not in shown
    assert (
        invoke("compare-models", "stream", "far@1", "--field", "emotion", "--lake", str(own)).strip().count("\n") <= 1
    )


def test_what_is_wrong_is_said(own: Path) -> None:
    with pytest.raises(ConfigError, match="scores nothing"):
        invoke("rescore", "--model", "none:", "--lake", str(own))
    with pytest.raises(ConfigError, match="no scores of 'base@1': there are stream, vader@3"):
        invoke("compare-models", "stream", "base@1", "--lake", str(own))
    with pytest.raises(ConfigError, match="--since 'soon'"):
        invoke("rescore", "--model", "lexicon:vader", "--since", "soon", "--lake", str(own))
