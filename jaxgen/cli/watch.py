"""`jaxgen watch`: the report of a run as far as it is, for a browser on this machine.

The server reads the run and writes nothing. It listens on 127.0.0.1 alone, and answers a few fixed addresses below a
random one, which other users of the machine do not know; no address is a path of a file.
"""

from __future__ import annotations

import dataclasses
import html
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2

from jaxgen.cli.left import about
from jaxgen.cli.text import echo
from jaxgen.config import digest
from jaxgen.errors import UserError
from jaxgen.ledger.discovery import find
from jaxgen.ledger.recorded import recorded_rows
from jaxgen.ledger.reproduce import look
from jaxgen.ledger.runs import Run, load_run
from jaxgen.report import html as report_html
from jaxgen.report.reproduced import report_on
from jaxgen.run import lease
from jaxgen.run.directory import PopulationDirectory
from jaxgen.storage import objects

# Of the end of metrics.jsonl that is read to tell the step.
_TAIL_BYTES = 1 << 16
# A run in a bucket is fetched again at most so often.
_FETCH_SECONDS = 15.0
# A run that trains saves every minute; one that is silent for so long may have been killed.
_SILENT_SECONDS = 180.0
# Nothing is loaded from elsewhere, and nothing is sent there.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


class Watched:
    """A run that is looked at again whenever it has changed."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._fetched = 0.0
        self._known: tuple[str, Run, list[PopulationDirectory]] | None = None  # with the version
        self._page: tuple[str, str, str] = ("", "", "")  # the version, the page, the table

    def _look(self) -> tuple[str, Run, list[PopulationDirectory]]:
        """Returns the run's version, and the run, opened again where it has changed."""
        if objects.is_remote(self.path) and time.monotonic() - self._fetched > _FETCH_SECONDS:
            self._fetched, self._known = time.monotonic(), None
        if self._known is None or self._version() != self._known[0]:
            run = load_run(self.path)  # of a bucket, fetches what has changed
            self._known = (self._version(), run, run.populations())
        return self._known

    def state(self) -> dict[str, Any]:
        """Returns how far the run is: `version`, which changes with what the report shows, and the populations."""
        with self._lock:
            try:
                version, _, directories = self._look()
                populations = [_state(each) for each in directories]
            except UserError as error:
                return {"version": str(error), "populations": [], "said": str(error)}
        going = sum(not each["finished"] for each in populations)
        said = f"{going} of {len(populations)} populations unfinished" if going else "all of them are trained"
        return {"version": version, "populations": populations, "said": said if populations else "nothing has begun"}

    def _version(self) -> str:
        names = ("status.json", "analyses.json", "run.json")
        files = [self.path / "run.json", self.path / "results.json"]
        files += [folder / name for folder in sorted((self.path / "populations").glob("*")) for name in names]
        return digest([[each.name, *_stamp(each)] for each in files])

    def page(self) -> tuple[str, str]:
        """Returns the report as far as the run is, and its table as CSV."""
        with self._lock:
            try:
                version, run, _ = self._look()
                if version != self._page[0]:
                    self._page = (version, *_rendered(run))
            except UserError as error:
                return f"<!doctype html><meta charset='utf-8'><p>{html.escape(str(error))}</p>", ""
            return self._page[1:]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def _rendered(run: Run) -> tuple[str, str]:
    found, experiments = find(f"{run.request.paper}/{run.request.experiment}")
    request = run.request
    recorded = recorded_rows(found.folder, request.scale, request.experiment) if request.recorded else {}
    done = look(run.path, experiments[0], request.conditions(experiments[0]), recorded)
    page, _ = report_html.render(report_on(found, [done]))
    return page, done.table.csv()


def _state(directory: PopulationDirectory) -> dict[str, Any]:
    """Returns how far a population is: as saved, or as its rows say, which may not be saved yet."""
    status = directory.status()
    members = directory.run()["members"]
    names = list(dict.fromkeys(each["condition"] for each in members))
    rows = _last_rows(directory.metrics_file)
    saved, horizon = status["step"] or 0, status["horizon"]
    step = max([saved, *(row["step"] for row in rows)]) if not status["finished"] else saved
    said = [f"step {step:,} of {horizon:,}" if horizon else f"step {step:,}"]
    silent = time.time() - max(_stamp(file)[0] / 1e9 for file in (directory.metrics_file, directory.status_file))
    if status["finished"]:
        said = ["finished"]
    elif lease.holder(directory.path) is None:
        said.append("nobody trains it now")
    elif silent > _SILENT_SECONDS:
        said.append(f"nothing heard of it for {about(silent)}")
    elif (seconds := _seconds_left(rows, horizon)) is not None:
        said.append(f"about {about(seconds)} left")
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return {
        "name": f"{', '.join(names[:3])}{more} ({len(members)} runs)", "step": step, "horizon": horizon,
        "finished": status["finished"], "said": ", ".join(said),
    }  # fmt: skip


def _last_rows(path: Path) -> list[Mapping[str, Any]]:
    """Returns the last rows of a metrics file, also those that no save covers yet; a damaged one is none."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL_BYTES, 0))
        lines = file.read().split(b"\n")
    rows: list[Mapping[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line)
            rows.append({"step": int(row["step"]), "time": float(row["time"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return rows


def _seconds_left(rows: list[Mapping[str, Any]], horizon: int) -> float | None:
    """Returns the seconds left by the speed between the last two measuring steps; None where that was exceeded."""
    times = {row["step"]: row["time"] for row in rows}
    if len(times) < 2:
        return None
    (before, at_before), (step, at) = sorted(times.items())[-2:]
    left = (horizon - step) * (at - at_before) / (step - before) - (time.time() - at)
    return left if left > 0 else None


@dataclasses.dataclass(frozen=True)
class _Answer:
    body: str
    kind: str = "text/html; charset=utf-8"


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of the addresses below the random one."""

    server: Server
    server_version, sys_version = "jaxgen", ""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):  # a name that leads here
            self.send_error(421)
            return
        _, key, *rest = self.path.split("/", 2)
        ours = secrets.compare_digest(key.encode(), self.server.key.encode())
        answer = self.server.answer(rest[0]) if rest and ours else None
        if answer is None:
            self.send_error(404)
            return
        body = answer.body.encode()
        self.send_response(200)
        for name, value in {
            "Content-Type": answer.kind, "Content-Length": str(len(body)), "Cache-Control": "no-store",
            "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""


class Server(ThreadingHTTPServer):
    """Serves one run on 127.0.0.1.

    Args:
      watched: the run.
      port: of this machine; 0: a free one.
    """

    daemon_threads = True

    def __init__(self, watched: Watched, port: int):
        super().__init__(("127.0.0.1", port), _Handler)
        self.watched, self.key = watched, secrets.token_urlsafe(12)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{self.key}/"

    def answer(self, address: str) -> _Answer | None:
        """Returns what an address below the random one shows; None: nothing."""
        if address == "":
            return _Answer(_frame(self.watched.path))
        if address == "state":
            return _Answer(json.dumps(self.watched.state()), "application/json")
        if address == "report":
            return _Answer(self.watched.page()[0])
        if address == "table.csv":
            return _Answer(self.watched.page()[1], "text/csv; charset=utf-8")
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that went away."""


def _frame(path: Path) -> str:
    template = (Path(report_html.__file__).parent / "watch.html").read_text(encoding="utf-8")
    return jinja2.Template(template, autoescape=True).render(name="/".join(path.parts[-3:]))


def watch_command(run_path: Path, port: int) -> None:
    """Serves the report of a run until Ctrl-C."""
    run = load_run(run_path)
    try:
        server = Server(Watched(run.path), port)
    except OSError as error:
        raise UserError(f"--port: {port} cannot be had: {error.strerror}; leave it out for a free one") from None
    echo(f"watching {objects.url(run.path)} at\n  {server.url}\nCtrl-C ends it; the training goes on")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        echo("ended; the training goes on")
    finally:
        server.server_close()
