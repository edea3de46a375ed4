"""What `feltwire follow` tells."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from feltwire.cli.follow import _teller
from feltwire.following import Step


@pytest.mark.parametrize("as_json", [True, False])
def test_with_once_nothing_is_told_twice(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    feed: Any = SimpleNamespace(positions=lambda: {"posts": {0: 12}})
    tell = _teller(cast(Any, feed), "later", as_json=as_json, every_s=0.0)
    for step in (Step(position={0: 10}, posts=10), Step(position={0: 12}, posts=2), Step(position={0: 12})):
        tell(step)
    out, err = capsys.readouterr()
    if as_json:
        assert [json.loads(line)["lag"] for line in out.splitlines()] == [2, 0]
    else:
        assert err.splitlines() == ["later: 10 posts, lag 2", "later: 12 posts, lag 0"]
