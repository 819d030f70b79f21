"""Object stores as folders, and who trains there; against servers that speak S3's and Google's protocols."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxgen.errors import UserError
from jaxgen.run import lease, manifest
from jaxgen.run.manifest import Damaged
from jaxgen.storage import objects
from jaxgen.storage.files import read_json, write_json
from tests.emulators import SCHEMES, emulator, forget
from tests.tiny_paper import invoke


@pytest.fixture(scope="module", params=SCHEMES)
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    with emulator(request.param) as url:
        yield url


@pytest.fixture(autouse=True)
def _a_process_of_its_own() -> Iterator[None]:
    yield
    forget()


@pytest.fixture
def url(bucket: str, request: pytest.FixtureRequest) -> str:
    return f"{bucket}/{request.node.name.partition('[')[0]}"


def put(url: str, name: str, data: bytes) -> None:
    """Makes an object, as somebody else would."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    stranger = objects._Bucket(scheme, bucket, Path("/nowhere"), {}, {})
    stranger.store.write(f"{key}/{name}", data).result()


def test_a_location_is_a_folder_or_a_store() -> None:
    assert objects.locate("runs/of mine") == Path("runs/of mine")
    assert not objects.is_remote(objects.locate("runs"))
    there = objects.locate("s3://bucket/runs//a/")
    assert objects.is_remote(there)
    assert (objects.url(there), objects.url(there.parents[1])) == ("s3://bucket/runs/a", "s3://bucket")
    assert objects.with_urls(f"{there}/x is missing") == "s3://bucket/runs/a/x is missing"


@pytest.mark.parametrize("text", ["http://host/a", "s3://", "gs:///runs", "s3://bucket/../other"])
def test_other_locations_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected a folder, gs://BUCKET/FOLDER or s3://BUCKET/FOLDER"):
        objects.locate(text)


def test_files_come_back_as_they_were_sent(url: str) -> None:
    folder = objects.locate(url)
    names = ["a", "deep/er/b", "deeper/c", "with space + ü", "empty"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() if name != "empty" else b"")
        objects.send(folder / name)
    write_json(folder / "facts.json", {"a": 1})
    forget()
    again = objects.locate(url)
    assert again != folder
    assert objects.names(again) == sorted([*names, "facts.json"])
    assert objects.names(again / "deep") == ["er/b"]
    objects.fetch(again, leave=("er",))
    assert not (again / "deep").exists()
    assert read_json(again / "facts.json") == {"a": 1}
    objects.fetch(again)
    assert [(again / name).read_bytes() for name in names[:-1]] == [name.encode() for name in names[:-1]]
    assert (again / "empty").read_bytes() == b""


def test_there_is_what_lies_here_or_there(url: str) -> None:
    folder = objects.locate(url)
    put(url, "runs/main.2/run.json", b"{}")
    put(url, "runs/", b"")  # as consoles show a folder
    assert objects.names(folder) == ["runs/main.2/run.json"]
    there = ["runs", "runs/main.2", "runs/main.2/run.json"]
    assert [
        name for name in (*there, "run", "runs/main", "runs/main.2/run.js") if objects.exists(folder / name)
    ] == there


def test_what_changed_is_fetched_again_and_what_is_gone_goes(url: str) -> None:
    folder = objects.locate(url)
    put(url, "a", b"1")
    put(url, "b", b"1")
    objects.fetch(folder)
    put(url, "a", b"2")
    (folder / "b").write_bytes(b"changed here")
    objects.fetch(folder)
    assert ((folder / "a").read_bytes(), (folder / "b").read_bytes()) == (b"2", b"changed here")
    objects.remove(folder / "a")
    objects.fetch(folder, ["a"])
    assert not (folder / "a").exists()
    with objects.owned(folder):
        put(url, "b", b"2")
        objects.fetch(folder)
        assert (folder / "b").read_bytes() == b"changed here"
        objects.fetch(folder, ["b"])
        assert (folder / "b").read_bytes() == b"2"


def test_only_what_changed_is_sent(url: str) -> None:
    folder = objects.locate(url)
    (folder / "recovery").mkdir(parents=True)
    for name in ("a", "b", "recovery/c"):
        (folder / name).write_bytes(b"1")
    objects.send_changed(folder, leave=("recovery",))
    assert objects.names(folder) == ["a", "b"]
    put(url, "a", b"somebody else's")
    (folder / "b").write_bytes(b"22")
    objects.send_changed(folder, leave=("recovery",))
    forget()
    objects.fetch(objects.locate(url))
    assert [(objects.locate(url) / name).read_bytes() for name in ("a", "b")] == [b"somebody else's", b"22"]


def test_a_folder_is_removed_and_its_neighbour_stays(url: str) -> None:
    folder = objects.locate(url)
    for name in ("5/a", "5/b/c", "50/a", "5.txt"):
        put(url, name, b"1")
    objects.remove(folder / "5")
    assert objects.names(folder) == ["5.txt", "50/a"]


@pytest.mark.parametrize("name", ["a/../../../../evil", "a//b", "./a"])
def test_no_name_leads_out_of_the_folder(url: str, name: str) -> None:
    # As a store would list it; the emulators take no such name.
    with pytest.raises(UserError, match="this cannot be the name of a file"):
        objects.fetch(objects.locate(url), [name])


def test_of_several_who_make_an_object_one_does(url: str) -> None:
    path = objects.locate(url) / "claim"
    made = []
    makers = [threading.Thread(target=lambda i=i: made.append((i, objects.create(path, b"%d" % i)))) for i in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    (winner,) = (i for i, won in made if won)
    objects.fetch(path.parent)
    assert path.read_bytes() == b"%d" % winner
    # As if its answer had been lost, and it tried again.
    assert objects.create(path, b"%d" % winner)


def test_a_bucket_that_is_not_there_is_one_line(bucket: str, tmp_path: Path) -> None:
    if bucket.startswith("gs"):
        pytest.skip("its emulator does not say it as Google does")
    done = invoke("report", "s3://nobody-has-this/runs")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("jaxgen: ")


def test_a_store_that_cannot_be_reached_may_be_tried_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_RETRIES", {"max_retries": 1, "initial_delay": "10ms", "max_delay": "10ms"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    if bucket.startswith("gs"):
        pytest.skip("tensorstore reads Google's address once in a process")
    done = invoke("report", f"{bucket}/runs")
    assert done.exit_code == 69
    assert "Could not connect" in done.stderr


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import sys, time
from jaxgen.storage import objects
folder = objects.locate("s3://bucket/runs")
folder.mkdir(parents=True)
print(folder.parents[2], flush=True)
time.sleep(600)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}

    def start() -> tuple[subprocess.Popen[str], Path]:
        started = subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, stdout=subprocess.PIPE)
        assert started.stdout is not None
        return started, Path(started.stdout.readline().strip())

    killed, left = start()
    living, kept = start()
    killed.kill()
    killed.communicate()
    assert left.parent == tmp_path
    for folder in (left, kept):
        os.utime(folder, (0, 0))
    next_one, folder = start()
    assert (left.exists(), kept.exists(), folder.exists()) == (False, True, True)
    for each in (living, next_one):
        each.kill()
        each.communicate()


class Clock:
    """Makes a minute of claims four seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
        monkeypatch.setattr(lease, "SILENCE_SECONDS", 4.0)
        # Of another machine: it can be known by its silence alone.
        monkeypatch.setattr(lease, "_where", lambda: "")
        self.told: list[str] = []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_who_trains_is_named_to_who_comes_next(url: str, clock: Clock) -> None:
    run = objects.locate(url)
    with lease.held(run, clock.told.append):
        with (
            pytest.raises(UserError, match=f"is being trained by process {os.getpid()} on .*; wait for it or stop it"),
            lease.held(run, clock.told.append),
        ):
            pass
        (waits,) = clock.told
        assert waits.startswith(f"waits at most 4 s for a sign of process {os.getpid()} on ")
    with lease.held(run, clock.told.append):  # it was released
        assert objects.names(run) == ["claims/000002.json"]
    assert len(clock.told) == 1


def test_who_is_silent_is_followed(url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    run = objects.locate(url)
    with monkeypatch.context() as still:
        still.setattr(lease, "_beat", lambda *_: None)
        silent = lease.held(run, clock.told.append)
        old = silent.__enter__()
        old.check()
    with lease.held(run, clock.told.append):
        assert objects.names(run) == ["claims/000002.json"]
        with pytest.raises(UserError, match="because this process was silent for too long; this process ends"):
            old.check()
        silent.__exit__(None, None, None)  # what it says now is of no number that counts
        with pytest.raises(UserError, match="is being trained"), lease.held(run, clock.told.append):
            pass


def test_of_many_after_a_silent_one_one_follows(url: str) -> None:
    code = f"""
import sys
from jaxgen.storage import objects
from jaxgen.errors import UserError
from jaxgen.run import lease
lease.BEAT_SECONDS, lease.SILENCE_SECONDS, lease._where = 0.1, 4.0, lambda: ""
try:
    with lease.held(objects.locate({url!r}), lambda text: None):
        print("holds", flush=True)
        sys.stdin.read()
except UserError:
    print("refused", flush=True)
"""

    def come() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", code], text=True, stdin=pipe, stdout=pipe)

    def said(comer: subprocess.Popen[str]) -> str:
        assert comer.stdout is not None
        return comer.stdout.readline()

    silent = come()
    assert said(silent) == "holds\n"
    silent.kill()
    comers = [come() for _ in range(4)]
    assert sorted(map(said, comers)) == ["holds\n", *["refused\n"] * 3]
    for each in (silent, *comers):
        each.communicate()


def test_who_was_killed_on_this_machine_is_not_waited_for(url: str) -> None:
    code = f"""
import time
from jaxgen.storage import objects
from jaxgen.run import lease
with lease.held(objects.locate({url!r}), print):
    print("held", flush=True)
    time.sleep(600)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    told: list[str] = []
    with lease.held(objects.locate(url), told.append):
        assert told == []


def checkpoint(step: Path) -> None:
    (step / "state" / "d").mkdir(parents=True)
    for name in ("a", "d/b"):
        (step / "state" / name).write_bytes(name.encode() * 100)
    manifest.publish(step, int(step.name), {}, {})


def test_a_checkpoint_is_there_when_its_manifest_is(url: str) -> None:
    checkpoint(objects.locate(url) / "3")
    put(url, "5/state/a", b"a save that did not end")
    forget()
    there = objects.locate(url)
    assert (manifest.all_steps(there), manifest.published_steps(there)) == ([3, 5], [3])
    assert manifest.verify(there / "3").files["d/b"][0] == 300
    # What a process that was thought gone sent late is nobody's.
    put(url, "3/state/late", b"1")
    forget()
    assert manifest.verify(objects.locate(url) / "3").step == 3
    manifest.remove(objects.locate(url) / "3")
    assert manifest.all_steps(objects.locate(url)) == [5]


def test_a_checkpoint_that_changed_in_the_store_is_damaged(url: str) -> None:
    for step in ("1", "2", "3", "4"):
        checkpoint(objects.locate(url) / step)
    put(url, "1/state/d/b", b"d/b" * 99 + b"d/c")
    objects.remove(objects.locate(url) / "2" / "state" / "a")
    put(url, "3/manifest.json", b"{}")
    objects.remove(objects.locate(url) / "4" / "manifest.json")
    forget()
    there = objects.locate(url)
    said = ("other contents than were saved", "a is missing", "manifest.json cannot be read", "no manifest.json")
    for step, text in zip((1, 2, 3, 4), said, strict=True):
        with pytest.raises(Damaged, match=text):
            manifest.verify(there / str(step))
