"""JobSets through the official client, against a server that answers as Kubernetes' does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from click.testing import Result

from jaxgen.launch import kubernetes
from jaxgen.launch.job import read_job
from tests.emulators import emulator, forget
from tests.tiny_paper import invoke, write_tiny_paper

JOBSETS = "/apis/jobset.x-k8s.io/v1alpha2/namespaces/lab/jobsets"


class Server(ThreadingHTTPServer):
    """Holds JobSets; has their controller or not; and their pods' logs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, dict] = {}
        self.asked: list[str] = []
        self.has_controller = True
        self.busy = 0  # how often a name is still taken
        self.pods: list[dict] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def answer(self, code: int, data: object) -> None:
        body = data.encode() if isinstance(data, str) else json.dumps(data).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(data, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code: int, message: str) -> None:
        self.answer(code, {"kind": "Status", "status": "Failure", "message": message, "code": code})

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        self.server.asked.append(f"{self.command} {url.path}")
        name = url.path.removeprefix(JOBSETS).strip("/")
        if url.path == "/api/v1/namespaces/lab/pods":
            (selector,) = parse_qs(url.query)["labelSelector"]
            wanted = dict(each.split("=") for each in selector.split(","))
            found = [each for each in self.server.pods if wanted.items() <= each["metadata"]["labels"].items()]
            self.answer(200, {"kind": "PodList", "apiVersion": "v1", "items": found})
        elif url.path.startswith("/api/v1/namespaces/lab/pods/") and url.path.endswith("/log"):
            self.answer(200, f"said by {url.path.split('/')[-2]}\n")
        elif not url.path.startswith(JOBSETS) or not self.server.has_controller:
            self.answer(404, "404 page not found\n")
        elif self.command == "POST":
            assert parse_qs(url.query)["fieldValidation"] == ["Strict"]
            if self.server.busy:
                self.server.busy -= 1
                self.refuse(409, "object is being deleted")
            else:
                self.server.objects[body["metadata"]["name"]] = body
                self.answer(201, body)
        elif name not in self.server.objects:
            self.refuse(404, f'jobsets.jobset.x-k8s.io "{name}" not found')
        elif self.command == "DELETE":
            del self.server.objects[name]
            self.answer(200, {"kind": "Status", "status": "Success"})
        else:
            self.answer(200, self.server.objects[name])

    do_GET = do_POST = do_DELETE = handle_any


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("kubernetes")
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(tmp_path)))
    monkeypatch.setattr(kubernetes.time, "sleep", lambda seconds: None)
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{made.server_port}"}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "lab"}}],
            "users": [{"name": "u", "user": {}}],
        }  # fmt: skip
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        # The client has read the variable already, when it was imported.
        from kubernetes.config import kube_config

        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        yield made
        made.shutdown()


def submit(*options: str) -> Result:
    return invoke("submit", "tiny-paper/main", "--to", "kubernetes", "--image", "a/b:1", "--volume", "runs", *options)


def condition(kind: str, **more: str) -> dict:
    return {"type": kind, "status": "True", **more}


def test_a_job_set_is_submitted_followed_and_cancelled(server: Server, tmp_path: Path) -> None:
    done = submit()
    assert done.exit_code == 0, done.output
    (name,) = server.objects
    path = tmp_path / "runs" / "tiny-paper" / "main" / "paper"
    assert f"kubernetes job lab/{name}: tiny-paper/main at scale paper" in done.stdout
    # What lies in the run's directory is what was submitted.
    assert yaml.safe_load((path / "job" / "jobset.yaml").read_text()) == server.objects[name]
    status = server.objects[name].setdefault("status", {})
    assert ": queued (restarts: 0)" in invoke("status", str(path)).stdout
    status["replicatedJobsStatus"] = [{"name": "workers", "active": 1}]
    status["restarts"] = 2
    assert ": running (restarts: 2)" in invoke("status", str(path)).stdout
    again = submit()
    assert again.exit_code == 2
    assert f"trains {path}: running (restarts: 2); `jaxgen cancel {path}` ends it" in again.stderr
    labels = {"jobset.sigs.k8s.io/jobset-name": name}
    index = "batch.kubernetes.io/job-completion-index"
    server.pods = [
        {
            "metadata": {
                "name": pod,
                "labels": {**labels, index: number},
                "creationTimestamp": f"2026-01-0{day}T00:00:00Z",
            }
        }
        for pod, number, day in (("old-0", "0", 1), ("new-1", "1", 2), ("new-0", "0", 2))
    ]
    assert invoke("logs", str(path)).stdout == "said by new-0\n"
    assert invoke("cancel", str(path)).exit_code == 0
    assert not server.objects
    done = invoke("status", str(path))
    assert f": gone (no '{name}' in namespace 'lab' of the current context)" in done.stdout
    assert f"go on with: jaxgen resume --as-submitted {path}" in done.stdout


@pytest.mark.long
def test_a_run_in_a_bucket_needs_no_volume_and_is_known_anywhere(server: Server) -> None:
    with emulator("s3") as bucket:
        where = ["--to", "kubernetes", "--image", "a/b:1", "--runs", f"{bucket}/runs"]
        done = invoke("submit", "tiny-paper/main", *where)
        assert done.exit_code == 0, done.output
        url = f"{bucket}/runs/tiny-paper/main/paper"
        assert f"  jaxgen status {url}\n" in done.stdout
        (made,) = server.objects.values()
        pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert "volumes" not in pod
        forget()
        # What the pod does.
        done = invoke(*container["command"][1:])
        assert done.exit_code == 0, done.output
        made["status"] = {"conditions": [condition("Completed")]}
        forget()
        done = invoke("status", url)
        assert ": finished (restarts: 0)\n" in done.stdout
        assert "\n  dense: step 40 of 40 saved, finished\n" in done.stdout
        assert f"report: {url}/report.html\n" in done.stdout
        done = invoke("resume", "--as-submitted", url)
        assert (done.exit_code, len(server.objects)) == (0, 1), done.output
        forget()


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([condition("Completed")], "finished (restarts: 0)"),
        ([condition("Failed", message="max restarts reached")], "failed (max restarts reached; restarts: 0)"),
        ([condition("Suspended")], "queued (suspended)"),
        ([{"type": "Completed", "status": "False"}], "queued (restarts: 0)"),
    ],
)
def test_where_a_job_set_is(conditions: list[dict], said: str, server: Server, tmp_path: Path) -> None:
    submit()
    (made,) = server.objects.values()
    made["status"] = {"conditions": conditions}
    path = tmp_path / "runs" / "tiny-paper" / "main" / "paper"
    assert f": {said}\n" in invoke("status", str(path)).stdout


def test_one_that_is_over_makes_room_for_the_next(server: Server, tmp_path: Path) -> None:
    submit()
    (name,) = server.objects
    server.objects[name]["status"] = {"conditions": [condition("Completed")]}
    server.busy = 2
    server.asked.clear()
    done = invoke("resume", "--as-submitted", str(tmp_path / "runs" / "tiny-paper" / "main" / "paper"))
    assert done.exit_code == 0, done.output
    assert server.asked == [
        f"GET {JOBSETS}/{name}", f"DELETE {JOBSETS}/{name}", *[f"POST {JOBSETS}"] * 3,
    ]  # fmt: skip
    assert "status" not in server.objects[name]


def test_a_cluster_without_the_controller_is_named(server: Server, tmp_path: Path) -> None:
    server.has_controller = False
    done = submit()
    assert done.exit_code == 2
    assert "404 page not found (404); is its controller installed?" in done.stderr
    assert read_job(tmp_path / "runs" / "tiny-paper" / "main" / "paper") is None


def test_without_the_client_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_EXPERIMENTS", str(write_tiny_paper(tmp_path)))
    monkeypatch.setattr(kubernetes.importlib.util, "find_spec", lambda name: None)
    done = submit()
    assert done.exit_code == 2
    assert 'needs the client: pip install "jaxgen[kubernetes]" (--dry-run needs none)' in done.stderr
