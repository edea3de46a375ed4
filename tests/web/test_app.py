"""The service face, over a real server on loopback."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.web.serving import served, serving

from feltwire import metrics
from feltwire.errors import ConfigError, LakeError
from feltwire.lake import Lake, open_lake
from feltwire.plan import Plan, Progress
from feltwire.service import Listen, Service
from feltwire.web.app import State, create_app, why_not_ready
from feltwire.web.guard import is_loopback
from feltwire.web.server import WebServer


def test_the_face_of_a_lake(lake: Path, program: Callable[..., str]) -> None:
    with serving(State(lake=served(lake))) as client:
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/readyz").status_code == 200
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    figures = {name: float(lines[f'feltwire_{name}_total{{source="simulator"}}']) for name in metrics.LEDGER_HELP}
    assert figures["received"] == sum(figures[name] for name in ("kept", "duplicate", "filtered", "dead")) > 400
    checked = subprocess.run(
        [program("promtool", package="prometheus"), "check", "metrics"],
        input=answer.text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_alerts_of_the_docs_are_rules(tmp_path: Path, program: Callable[..., str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    begin = page.index("groups:\n")
    (tmp_path / "rules.yml").write_text(page[begin : page.index("```", begin)], encoding="utf-8")
    command = [program("promtool", package="prometheus"), "check", "rules", str(tmp_path / "rules.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "4 rules found" in checked.stdout


def test_routes_are_built_before_the_first_request(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI would build them during it: it then changes the warnings of the process, which has other threads."""
    with serving(State(lake=served(lake))) as client:
        monkeypatch.setattr("fastapi._compat.v2.TypeAdapter", None)
        assert client.get("/api/v1/posts").status_code == 200
        assert client.get("/api/v1/windows").status_code == 200


def test_what_ends_ends_the_page_too() -> None:
    app = create_app(State())
    started = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
    assert started, "the page is made a little later"
    app.state.context.close()
    assert all(one.finished.is_set() for one in started), "its timer is cancelled"


def test_a_lake_that_cannot_be_read_is_not_ready(tmp_path: Path) -> None:
    def absent() -> Lake:
        raise LakeError("the lake is\naway")

    with serving(State(lake=absent)) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "the lake is away\n")
        assert client.get("/healthz").status_code == 200
        assert client.get("/metrics").status_code == 200
    assert why_not_ready(State(lake=lambda: open_lake(str(tmp_path / "none")))) is not None


def test_a_lag_is_told(lake: Path) -> None:
    def state(lag: int, waiting: str = "") -> State:
        return State(lake=served(lake), progress=lambda: Progress(lag=lag, waiting=waiting), ready_lag=10)

    assert why_not_ready(state(10)) is None
    assert why_not_ready(state(11)) == "the lake is 11 records behind the log; 10 are allowed"
    assert why_not_ready(state(0, "disk full")) == "disk full"
    assert why_not_ready(State(progress=lambda: None)) == "the engine is starting"
    assert why_not_ready(State(trouble=lambda: "the engine ended: x")) == "the engine ended: x"


def test_a_token_is_asked_for(lake: Path) -> None:
    with serving(State(lake=served(lake), token="secret", trouble=lambda: "inner things")) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").text == "not ready\n"
        refused = client.get("/metrics")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ("Bearer secre", "Bearer secret2", "Basic secret", "secret", "Bearer", "Bearer sécret"):
            assert client.get("/metrics", headers={b"Authorization": wrong.encode()}).status_code == 401
        right = {"Authorization": "bearer secret"}
        assert client.get("/metrics", headers=right).status_code == 200
        assert client.get("/readyz", headers=right).text == "inner things\n"
        assert client.get("/nothing", headers=right).status_code == 404


def test_a_strange_name_is_refused_without_a_token() -> None:
    with serving(State()) as client:
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/healthz", headers={"Host": "localhost:8050"}).status_code == 200
        assert client.get("/healthz", headers={"Host": "[::1]:8050"}).status_code == 200


def test_beyond_this_machine_only_with_a_token() -> None:
    with pytest.raises(ConfigError, match=r"serve.host = '0.0.0.0': without a token"):
        WebServer(create_app(State()), host="0.0.0.0", port=0)
    server = WebServer(create_app(State(token="x")), host="0.0.0.0", port=0, token="x")
    server.stop()


def test_a_taken_port_is_told() -> None:
    first = WebServer(create_app(State()), host="127.0.0.1", port=0)
    first.start()
    try:
        with pytest.raises(ConfigError, match="cannot listen on"):
            WebServer(create_app(State()), host="127.0.0.1", port=first.port)
    finally:
        first.stop()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_what_is_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_service_without_an_engine_tells_the_lag_from_the_log(lake: Path) -> None:
    plan = Plan(log=f"sqlite:{lake}-log.sqlite", lake=str(lake))
    with Service(plan, engine=None, listen=Listen(port=0)) as service:
        text = httpx.get(f"{service.url}/metrics").text
        assert service.wait(0.0)
    assert 'feltwire_lag_records{pipeline="main"} 0.0' in text
    assert not service.running


def test_the_engine_s_error_is_raised_to_the_one_who_waits(tmp_path: Path) -> None:
    plan = Plan(log=f"sqlite:{tmp_path}/log.sqlite", lake=str(tmp_path / "lake"), model="nonsense:")
    with Service(plan) as service, pytest.raises(ConfigError, match="nonsense"):
        service.wait(30.0)


def test_without_a_lake_the_figures_are_this_process_s() -> None:
    metrics.RECEIVED.labels(source="of a test").inc(3)
    assert b'feltwire_received_total{source="of a test"} 3.0' in metrics.exposition()
