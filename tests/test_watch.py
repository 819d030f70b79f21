"""`jaxgen watch` as a browser meets it, and as whoever should not reach it does."""

import fcntl
import hashlib
import http.client
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxgen.cli.watch import Server, Watched
from tests.tiny_paper import SOURCE, invoke, write_tiny_paper


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(root)))
        patch.setenv("JAXGEN_RUNS", str(root / "runs"))
        alone = SOURCE.replace("(base, ticket)", "(base,)").replace('final("ticket"', 'final("dense"')
        (root / "papers" / "tiny_paper" / "__init__.py").write_text(alone)
        assert invoke("reproduce", "tiny-paper/main", "--scale", "smoke", "--seeds", "1").exit_code == 0
        yield root / "runs" / "tiny-paper" / "main" / "smoke"


@pytest.fixture
def server(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(run.parents[3] / "papers"))
    served = Server(Watched(run), 0)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def ask(server: Server, address: str, *, method: str = "GET", host: str | None = None) -> tuple[int, str]:
    """Asks for exactly this address; a library would tidy it."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, address, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def of_files(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(each.relative_to(folder)): (each.stat().st_mtime_ns, hashlib.sha256(each.read_bytes()).hexdigest())
        for each in sorted(folder.rglob("*"))
        if each.is_file()
    }


def test_the_report_is_served_and_nothing_is_written(server: Server, run: Path) -> None:
    before = of_files(run.parents[3])
    key = f"/{server.key}/"
    status, page = ask(server, key)
    assert status == 200
    assert "tiny-paper/main/smoke" in page
    assert 'src="report"' in page
    status, report = ask(server, f"{key}report")
    assert status == 200
    assert "It fits" in report
    assert ask(server, f"{key}table.csv")[1].startswith("condition,seed,step,accuracy/")
    state = json.loads(ask(server, f"{key}state")[1])
    assert state["said"] == "all of them are trained"
    assert state["populations"] == [
        {"name": "dense (1 runs)", "step": 3, "horizon": 3, "finished": True, "said": "finished"}
    ]
    assert ask(server, key, method="HEAD") == (200, "")
    assert of_files(run.parents[3]) == before


def test_the_report_is_drawn_anew_where_the_run_has_changed(server: Server, run: Path) -> None:
    key = f"/{server.key}/"
    version = json.loads(ask(server, f"{key}state")[1])["version"]
    page = server.watched.page()[0]
    assert server.watched.page()[0] is page
    (status,) = run.glob("populations/*/status.json")
    os.utime(status)
    assert json.loads(ask(server, f"{key}state")[1])["version"] != version
    assert server.watched.page()[0] is not page


def test_a_run_that_trains_is_shown_as_its_rows_say(server: Server, run: Path) -> None:
    (folder,) = run.glob("populations/*")
    status, metrics = (folder / "status.json").read_bytes(), (folder / "metrics.jsonl").read_bytes()
    states = folder / "recovery"
    try:
        states.rename(folder / "elsewhere")
        (folder / "status.json").unlink()
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # as a process that trains it does, until it ends or is killed
            said = json.loads(ask(server, f"/{server.key}/state")[1])["populations"][0]
            assert (said["step"], said["finished"]) == (3, False)
            assert "nobody" not in said["said"]
        (folder / "owner.json").write_text("{}")  # which a killed process leaves
        assert "nobody trains it now" in json.loads(ask(server, f"/{server.key}/state")[1])["populations"][0]["said"]
        (folder / "run.json").rename(folder / "away.json")
        assert "run.json is missing" in json.loads(ask(server, f"/{server.key}/state")[1])["said"]
        (folder / "away.json").rename(folder / "run.json")
    finally:
        (folder / "elsewhere").rename(states)
        (folder / "status.json").write_bytes(status)
        (folder / "metrics.jsonl").write_bytes(metrics)


@pytest.mark.parametrize("address", ["/", "//", "/state", "/wrong/state", "/%2e%2e/", "KEY", "KEY/x", "KEY/../run.json",
                                     "KEY/run.json", "KEY//etc/passwd", "KEY/report/", "KEY/state?x=1"])  # fmt: skip
def test_no_other_address_is_answered(address: str, server: Server) -> None:
    assert ask(server, address.replace("KEY", f"/{server.key}"))[0] == 404


def test_other_names_and_methods_are_refused(server: Server) -> None:
    key, port = f"/{server.key}/", server.server_address[1]
    assert ask(server, f"{key}state", host=f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}.evil.example", "\t"):
        assert ask(server, f"{key}state", host=host)[0] == 421, host
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(server, f"{key}state", method=method)[0] == 501
    assert server.server_address[0] == "127.0.0.1"


def test_what_cannot_be_watched_is_told(server: Server, tmp_path: Path) -> None:
    done = invoke("watch", str(tmp_path))
    assert done.exit_code == 2
    assert "no run at" in done.stderr
    taken = invoke("watch", str(server.watched.path), "--port", str(server.server_address[1]))
    assert taken.exit_code == 2
    assert "leave it out for a free one" in taken.stderr
