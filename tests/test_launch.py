"""What is submitted: rendered, quoted, validated; and what a user is told before anything is."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.cli import signals
from jaxgen.cli.submit import BACK_ENDS
from jaxgen.config import from_json, to_json
from jaxgen.distributed import processes
from jaxgen.errors import UserError
from jaxgen.launch.job import STARTED_AGAIN, Job, read_job
from jaxgen.launch.slurm import Slurm
from jaxgen.launch.spec import Devices, JobSpec, Secret, Selector, Variable, Volume, job_name, read_devices
from jaxgen.ledger.runs import load_run
from jaxgen.storage import objects
from jaxgen.storage.files import read_sealed, write_sealed
from tests.tiny_paper import invoke

GOLDEN = Path(__file__).parent / "golden" / "launch"

HERE = ("/venv/bin/python", "-P", "-m", "jaxgen", "resume", "/shared/my runs/grokfast/modadd/paper", "--save-every=30")
POD = ("jaxgen", "reproduce", "grokfast/modadd", "--scale", "paper", "--set=steps=5", "--runs", "/runs")


def spec(command: tuple[str, ...], devices: str = "cpu:1", **changes) -> JobSpec:
    about = {"name": "grokfast-modadd-paper-0123abcd", "title": "grokfast/modadd at scale paper"}
    return JobSpec(**{**about, "command": command, "devices": read_devices(devices), **changes})


def pods(devices: str = "cpu:1", **changes) -> JobSpec:
    image = "ghcr.io/me/jaxgen@sha256:0123"
    volumes = (Volume(source="runs", path="/runs"),)
    return spec(devices=devices, **{"command": POD, "image": image, "volumes": volumes, **changes})


BUCKET = {"command": (*POD[:-1], "gs://my/runs"), "directory": "gs://my/runs/grokfast/modadd/paper/job", "volumes": ()}
JOB = "/shared/my runs/grokfast/modadd/paper/job"
SPECS = {
    "local-two-processes.sh": ("local", spec(HERE, "cpu:2", directory=JOB)),
    "local-process-per-gpu.sh": ("local", spec(HERE, "gpu:4", processes_of_each=4, directory=JOB)),
    "slurm-two-nodes.sh": ("slurm", spec(HERE, "cpu:2", directory=JOB, cpus=8, memory=32, minutes=1440)),
    "slurm-process-per-gpu.sh": (
        "slurm",
        spec(
            HERE,
            "h100:2x8",
            processes_of_each=8,
            directory=JOB,
            queue="gpu",
            account="lab",
            grace=120,
            restarts=3,
            variables=(Variable(name="XLA_FLAGS", value="--xla_a=1 --xla_b=2"),),
            secrets=(Secret(name="WANDB_API_KEY", source="/home/me/my key"),),
            options=("constraint=nvlink&ib", "qos=high"),
        ),
    ),
    "kubernetes-one-cpu-pod.yaml": ("kubernetes", pods()),
    "kubernetes-gpus.yaml": (
        "kubernetes",
        pods(
            "h100:2x8",
            queue="team",
            namespace="lab",
            cpus=64,
            memory=500,
            variables=(Variable(name="NCCL_DEBUG", value="INFO"),),
            secrets=(Secret(name="WANDB_API_KEY", source="wandb/key"),),
        ),
    ),
    "kubernetes-gke-gpus.yaml": (
        "kubernetes",
        pods("gpu:8", selectors=(Selector(key="cloud.google.com/gke-accelerator", value="nvidia-h100-80gb"),)),
    ),
    "kubernetes-tpu-slice.yaml": ("kubernetes", pods("v5e:4x4", restarts=0, **BUCKET)),
    "kubeflow-gpus.yaml": ("kubeflow", pods("h200:2x8", queue="team")),
    "skypilot-gpus.yaml": (
        "skypilot",
        pods(
            "h100:2x8",
            **BUCKET,
            secrets=(Secret(name="WANDB_API_KEY", source=""),),
            variables=(Variable(name="NCCL_DEBUG", value="INFO"),),
        ),
    ),
}


def rendered(name: str) -> str:
    back_end, of = SPECS[name]
    return BACK_ENDS[back_end].render(of)


@pytest.mark.parametrize("name", SPECS)
def test_what_is_submitted_reads_as_it_did(name: str) -> None:
    """A change shows as a difference in tests/golden/launch, which `python -m tests.test_launch` writes."""
    assert rendered(name) == (GOLDEN / name).read_text(encoding="utf-8")


def test_every_golden_file_is_still_rendered() -> None:
    assert {each.name for each in GOLDEN.iterdir()} == SPECS.keys()


@pytest.mark.parametrize("name", [each for each in SPECS if each.startswith("kubernetes")])
def test_job_sets_are_what_the_cluster_takes(name: str) -> None:
    """Against the models and JSON schemas that are generated from the API servers' own descriptions."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    validate = pytest.importorskip("kubernetes_validate")
    manifest = yaml.safe_load(rendered(name))
    read = models.JobsetV1alpha2JobSet.from_dict(manifest)
    # What the models do not know they leave out.
    assert read.to_dict() == manifest
    (job,) = manifest["spec"]["replicatedJobs"]
    validate.validate({"apiVersion": "batch/v1", "kind": "Job", **job["template"]}, "1.34", strict=True)
    pod = job["template"]["spec"]["template"]["spec"]
    validate.validate({"apiVersion": "v1", "kind": "Pod", "spec": pod}, "1.34", strict=True)
    # The longest name that its controller makes of it, which must be a DNS label.
    assert len(f"{manifest['metadata']['name']}-workers-0-9999-abcde") <= 63


def test_train_jobs_are_what_the_cluster_takes() -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models")
    manifest = yaml.safe_load(rendered("kubeflow-gpus.yaml"))
    assert models.TrainerV1alpha1TrainJob.from_dict(manifest).to_dict() == manifest


def test_a_manifest_with_a_mistake_is_not_what_the_cluster_takes() -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models")
    manifest = yaml.safe_load(rendered("kubernetes-gpus.yaml"))
    manifest["spec"]["failurePolicy"]["maxRestart"] = manifest["spec"]["failurePolicy"].pop("maxRestarts")
    assert models.JobsetV1alpha2JobSet.from_dict(manifest).to_dict() != manifest


# Printable text, full of what shells, YAML, sbatch and Kubernetes read as their own.
HOSTILE = st.one_of(
    st.text(alphabet=" '\"\\$`(){}[]<>|&;*?!#%~=:,-@\tabc".replace("\t", ""), min_size=1, max_size=30),
    st.text(min_size=1, max_size=20).filter(str.isprintable),
    st.sampled_from(
        ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", "a\\", "{{ 7 * 7 }}", "{% raw %}", "$(SECRET)",
         "$$(A)", "- a: b", "!!python/object/apply:os.system [ls]", "&a *a", "yes", "null", "1e3", "0x10",
         "#SBATCH --uid=0", "--"]
    ),
)  # fmt: skip


@given(HOSTILE, HOSTILE, HOSTILE)
def test_nothing_gets_into_a_batch_script(override: str, path: str, secret: str) -> None:
    """A real bash runs the script, with an srun that writes down what it is given."""
    of = spec(
        ("python", "reproduce", f"--set={override}", override), directory=f"/{path}", title=f"paper {override}",
        variables=(Variable(name="FLAGS", value=override),), secrets=(Secret(name="HIDDEN", source=f"./{path}"),),
        options=(f"comment={override}",), queue=path,
    )  # fmt: skip
    script = BACK_ENDS["slurm"].render(of)
    directives = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]
    parts = [shlex.split(each) for each in directives]
    assert all(len(each) == 1 for each in parts)
    assert [f"--chdir=/{path}"] in parts
    assert [f"--comment={override}"] in parts
    assert [f"--partition={path}"] in parts
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for program, does in (("srun", 'printf "%s\\0" "$FLAGS" "$HIDDEN" "$@" > got'), ("cat", 'echo "$2"')):
            (root / program).write_text(f"#!/bin/bash\n{does}\n")
            (root / program).chmod(0o755)
        done = subprocess.run(
            ["bash", "-s"], input=script, cwd=root, capture_output=True, text=True,
            env={"PATH": f"{root}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        got = (root / "got").read_text(encoding="utf-8").split("\0")[:-1]
        # `cat --` is given the path, and a shell drops the line ends of what it says.
        assert got == [override, f"./{path}".rstrip("\n"), "--kill-on-bad-exit=1", "--label", *of.command]
        assert {each.name for each in root.iterdir()} == {"srun", "cat", "got", "starts"}


def expanded(text: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of a command's part (kubernetes.io, Job reference: `$(VAR)`, and `$$` for `$`)."""
    known = lambda match: "$" if match[0] == "$$" else variables.get(match[1], match[0])  # noqa: E731
    return re.sub(r"\$\$|\$\(([^()]*)\)", known, text)


@given(HOSTILE, HOSTILE)
def test_nothing_gets_into_a_manifest(override: str, path: str) -> None:
    command = ("jaxgen", f"--set={override}", path)
    of = pods(variables=(Variable(name="FLAGS", value=override),), selectors=(Selector(key="a/b", value=path),),
              namespace="lab", queue="team", command=command)  # fmt: skip
    plain = yaml.safe_load(rendered("kubernetes-one-cpu-pod.yaml"))
    for name in ("kubernetes", "kubeflow"):
        manifest = yaml.safe_load(BACK_ENDS[name].render(of))
        if name == "kubernetes":
            assert manifest.keys() == plain.keys()
            pod = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
            part, said = pod["containers"][0]["command"], pod["containers"][0]["env"][0]
            assert pod["nodeSelector"] == {"a/b": path}
        else:
            part, said = manifest["spec"]["trainer"]["command"], manifest["spec"]["trainer"]["env"][0]
        secrets = {"SECRET": "hidden", "A": "hidden"}
        assert tuple(expanded(each, secrets) for each in part) == command
        assert expanded(said["value"], secrets) == override


@given(HOSTILE, HOSTILE)
def test_nothing_gets_into_a_task_of_skypilot_nor_into_local_lines(override: str, path: str) -> None:
    command = ("jaxgen", f"--set={override}", path)
    of = pods("h100:1", **BUCKET | {"command": command})
    task = yaml.safe_load(BACK_ENDS["skypilot"].render(of))
    assert shlex.split(task["run"]) == list(command)
    text = BACK_ENDS["local"].render(spec(command, directory=f"/{path}"))
    assert shlex.split(text.splitlines()[2]) == [*command, "&"]
    assert shlex.split(text.splitlines()[1]) == ["cd", f"/{path}"]


@given(HOSTILE)
def test_a_spec_survives_its_file(text: str) -> None:
    of = spec((text,), "h100:2x8", title=text, variables=(Variable(name="A", value=text),), cpus=3)
    assert from_json(json.loads(json.dumps(to_json(of)))) == of


@given(st.text(max_size=60), st.text(max_size=20))
def test_names_are_dns_labels_that_differ_between_places(title: str, place: str) -> None:
    name = job_name(title, place)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 40
    assert job_name(title, place + "/other") != name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cpu:2", Devices(nodes=2)),
        ("gpu:8", Devices(device="gpu", of_each=8)),
        ("h100:2x8", Devices(device="h100", nodes=2, of_each=8)),
        ("v5e:1x1", Devices(device="v5e", of_each=1, shape="1x1")),
        ("v5e:2x4", Devices(device="v5e", nodes=2, of_each=4, shape="2x4")),
        ("v5p:4x4x4", Devices(device="v5p", nodes=16, of_each=4, shape="4x4x4")),
    ],
)
def test_devices_are_read(text: str, found: Devices) -> None:
    assert read_devices(text) == found


IMAGE = ("--image", "ghcr.io/me/jaxgen:1")


@pytest.mark.parametrize(
    ("to", "options", "said"),
    [
        ("local", ["--devices", "cpus:2"], "--devices: no kind 'cpus'; did you mean 'cpu'?"),
        ("local", ["--devices", "cpu:2x2"], "--devices: got 'cpu:2x2', expected nodes, such as cpu:2"),
        ("slurm", ["--devices", "h100"], "expected nodes x GPUs of each, such as h100:8 or h100:2x8"),
        ("slurm", ["--devices", "h100:0"], "--devices: got 'h100:0'"),
        ("kubernetes", ["--devices", "v5p:4"], "expected the shape of a slice"),
        ("kubernetes", ["--devices", "v5p:3x3x1"], "of 9 chips, expected a multiple of 4"),
        ("slurm", ["--devices", "v5e:4x4"], "--to slurm: TPUs are not supported"),
        ("local", ["--devices", "v5e:2x4"], "--to local: --devices must be on this one machine"),
        ("slurm", ["--image", "a"], "--to slurm: takes no --image; a job runs in the environment"),
        ("local", ["--sbatch", "qos=high"], "--to local: takes no --sbatch"),
        ("slurm", ["--sbatch", "qos"], "--sbatch: got 'qos', expected KEY=VALUE"),
        ("slurm", ["--sbatch", "nodes=5"], "--sbatch: 'nodes' is no option of sbatch, or is set by jaxgen itself"),
        ("slurm", ["--sbatch", "a b=5"], "--sbatch: 'a b' is no option"),
        ("kubernetes", [], "--to kubernetes: needs --image"),
        ("kubernetes", [*IMAGE], "--to kubernetes: needs --runs gs://BUCKET/FOLDER (or s3://) or --volume"),
        ("kubernetes", [*IMAGE, "--volume", "gs://a"], "expected the name of a PersistentVolumeClaim"),
        ("kubernetes", ["--image", "a b", "--volume", "a"], "--image: got 'a b'"),
        ("kubernetes", [*IMAGE, "--volume", "a", "--queue", "My"], "--queue: got 'My'"),
        ("kubernetes", [*IMAGE, "--volume", "a", "--namespace", "My"], "--namespace: got 'My'"),
        ("kubernetes", [*IMAGE, "--volume", "a", "--fresh"], "--fresh: with --to kubernetes the run is kept there"),
        ("kubernetes", [*IMAGE, "--volume", "a", "--secret", "KEY=wandb"], "--secret: got 'wandb', expected KEY/VALUE"),
        ("kubernetes", [*IMAGE, "--volume", "a", "--devices", "h100:8", "--process-per", "gpu"], "--process-per gpu"),
        ("kubeflow", [*IMAGE, "--volume", "a", "--devices", "v5e:4x4"], "--to kubeflow: its runtime for JAX"),
        ("skypilot", ["--devices", "h100:8"], "needs --runs gs://BUCKET/FOLDER"),
        ("skypilot", ["--volume", "runs"], "takes no --volume; name the bucket with --runs"),
        ("slurm", ["--runs", "s3://bucket/runs"], "--runs: with --to slurm the log lies beside the run"),
        ("slurm", ["--env", "WANDB_API_KEY=0123"], "--env: 'WANDB_API_KEY' sounds like a secret"),
        ("slurm", ["--env", "JAX_MY_TOKEN=0123"], "--env: 'JAX_MY_TOKEN' sounds like a secret"),
        ("slurm", ["--env", "XLA_PASSWORD=0123"], "--env: 'XLA_PASSWORD' sounds like a secret"),
        ("slurm", ["--env", "PROXY=http://me:0123@host/"], "--env: 'PROXY' has a URL with a user name or password"),
        ("slurm", ["--env", "A B=0"], "got 'A B', expected the name of a variable"),
        ("slurm", ["--set", "steps=4\n#SBATCH --uid=0", "--dry-run"], "steps: got '4\\n#SBATCH --uid=0'"),
        ("slurm", ["--queue", "a\nb"], "got 'a\\nb', expected only printable characters"),
        ("slurm", ["--grace", "5"], "grace: got 5, expected a number at least 15"),
        ("slurm", ["--set", "stepz=4"], "no setting 'stepz'"),
        ("slurm", ["--scale", "min"], "has no scale 'min'"),
        ("slurm", ["--mesh", "dta=2"], "mesh: no axis 'dta'; did you mean 'data'?"),
        ("kubernetes", [*IMAGE, "--volume", "a", "--mesh", "data=3"], "cannot be spread over data=3"),
        ("slurm", ["--microbatches", "3"], "microbatches: a batch of 8 examples cannot be cut into 3 equal parts"),
        ("local", ["--profile", ""], "profile: got '', expected START:STOP"),
        ("local", ["--profile", f"0:{'9' * 5000}"], "expected START:STOP"),
        ("local", ["--wandb", "p"], "--wandb: wandb is not installed"),
        ("local", ["--save-every", "nan"], "--save-every: got nan, expected a finite number"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_is_submitted(to: str, options: list[str], said: str, tiny: Path) -> None:
    done = invoke("submit", "tiny-paper/main", "--to", to, *options)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.strip().splitlines()
    assert said in line
    assert not (tiny / "runs").exists()


def test_a_dry_run_prints_and_leaves_nothing(tiny: Path) -> None:
    done = invoke("submit", "tiny-paper", "--to", "slurm", "--dry-run", "--save-every", "5", "--allow-drift")
    assert done.exit_code == 0, done.output
    # One job for each experiment of the paper.
    assert done.stdout.count("#!/bin/bash") == 2
    assert f"jaxgen resume {tiny}/runs/tiny-paper/faults/paper --save-every=5.0 --allow-drift" in done.stdout
    assert f"export JAXGEN_EXPERIMENTS={tiny}/papers" in done.stdout
    assert not (tiny / "runs").exists()


def test_a_job_takes_named_variables_over_and_no_secrets(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name: anybody may set variables that begin like those of jax, with a token in them."""
    secrets = {"JAX_MY_TOKEN": "hunter2", "XLA_PASSWORD": "hunter2", "JAXGEN_DATA": "https://me:hunter2@host/data"}
    for name, value in (secrets | {"JAX_ENABLE_X64": "0", "JAX_MINE": "1"}).items():
        monkeypatch.setenv(name, value)
    done = invoke("submit", "tiny-paper/main", "--to", "slurm", "--dry-run", "--env", "JAX_DEBUG_KEY_REUSE=0")
    assert done.exit_code == 0, done.output
    assert "export JAX_ENABLE_X64=0" in done.stdout
    assert "export JAX_DEBUG_KEY_REUSE=0" in done.stdout
    assert "hunter2" not in done.output
    assert "the job does not inherit JAXGEN_DATA, JAX_MINE, JAX_MY_TOKEN, XLA_PASSWORD" in done.stderr


def test_a_dry_run_asks_no_store(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("it asked")

    monkeypatch.setattr(objects._Bucket, "keys", forbidden)
    monkeypatch.setattr(objects._Bucket, "store", property(forbidden))
    pod = [*IMAGE, "--runs", "gs://bucket/runs", "--dry-run"]
    done = invoke("submit", "tiny-paper/main", "--to", "kubernetes", *pod)
    assert done.exit_code == 0, done.output
    assert "gs://bucket/runs" in done.stdout


def test_submitting_imports_neither_jax_nor_a_client(tiny: Path) -> None:
    code = """
import sys
from jaxgen.cli import main
try:
    main("submit tiny-paper/main --to kubernetes --image a --volume b --dry-run".split())
except SystemExit as stop:
    assert not stop.code, stop.code
slow = [name for name in ("jax", "kubernetes", "flax") if name in sys.modules]
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "kind: JobSet" in done.stdout


def fake(folder: Path, program: str, text: str) -> None:
    (folder / program).write_text(f"#!/bin/bash\n{text}\n")
    (folder / program).chmod(0o755)


@pytest.fixture
def login_node(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that answer as SLURM's do, and write down what they are asked."""
    folder = tiny / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    fake(folder, "sbatch", f'echo "$@" >> {folder}/asked; echo 12')
    fake(folder, "scancel", f'echo "scancel $@" >> {folder}/asked')
    return folder


def answer(folder: Path, squeue: str, sacct: str = "exit 1") -> None:
    """Lets squeue and sacct answer; NAME stands for the job's name."""
    (job,) = [each.spec.name for each in jobs(folder.parent)]
    fake(folder, "squeue", squeue.replace("NAME", job))
    fake(folder, "sacct", sacct.replace("NAME", job))


def jobs(root: Path) -> list[Job]:
    found = [read_job(each.parents[1]) for each in root.glob("runs/**/job.json")]
    return [each for each in found if each is not None]


def test_a_job_is_submitted_followed_cancelled_and_submitted_again(login_node: Path, tiny: Path) -> None:
    run = tiny / "runs" / "tiny-paper" / "main" / "paper"
    done = invoke("submit", "tiny-paper/main", "--to", "slurm", "--set", "steps=7", "--fresh")
    assert done.exit_code == 0, done.output
    (run,) = (tiny / "runs" / "tiny-paper" / "main").iterdir()
    assert f"slurm job 12: tiny-paper/main at scale paper\n  jaxgen status {run}\n" in done.stdout
    assert (login_node / "asked").read_text() == f"--parsable {run}/job/submit.sh\n"
    # What the job is to do is written down in the run itself.
    assert load_run(run).request.settings == ("steps=7",)
    answer(login_node, 'echo "NAME|RUNNING|None|n[1-2]"')
    assert ": running (on n[1-2])\n" in invoke("status", str(run)).stdout
    again = invoke("submit", "tiny-paper/main", "--to", "slurm", "--set", "steps=7")
    assert again.exit_code == 2
    assert f"slurm job 12 trains {run}: running (on n[1-2]); `jaxgen cancel {run}` ends it" in again.stderr
    assert invoke("cancel", str(run)).exit_code == 0
    assert (login_node / "asked").read_text().endswith("\nscancel 12\n")
    answer(login_node, 'echo "NAME|CANCELLED|None|n1"')
    assert ": cancelled\n" in invoke("status", str(run)).stdout
    assert "does not run: cancelled" in invoke("cancel", str(run)).stderr
    fake(login_node, "sbatch", "echo 13")
    again = invoke("resume", "--as-submitted", str(run))
    assert "slurm job 13: tiny-paper/main" in again.stdout
    assert jobs(tiny)[0].number == "13"


@pytest.mark.parametrize(
    ("squeue", "sacct", "starts", "said"),
    [
        ('echo "NAME|PENDING|Resources|"', "exit 1", "", "queued (Resources)"),
        ('echo "NAME|COMPLETING|None|n1"', "exit 1", "", "running (completing on n1)"),
        ('echo "NAME|COMPLETED|None|n1"', "exit 1", "", "finished"),
        ('echo "NAME|FAILED|None|n1"', "exit 1", "0 2 now", "failed (failed; start 0 ended with 2: a mistake"),
        ('echo "NAME|TIMEOUT|None|n1"', "exit 1", "", "failed (timeout; none of its starts has ended)"),
        # Numbers begin anew where a cluster is set up anew: this is somebody else's.
        ('echo "other|RUNNING|None|n1"', "exit 1", "3 0 now", "finished (start 3 ended with 0: finished, now)"),
        ("", 'echo "NAME|CANCELLED by 0"', "", "cancelled"),
        ("", 'echo "NAME|COMPLETED"', "", "finished"),
        ('echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1', "exit 1", "1 75 now", "failed (start 1"),
        ('echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1', "exit 1", "", "gone"),
    ],
)  # fmt: skip
def test_where_a_job_is(squeue: str, sacct: str, starts: str, said: str, login_node: Path, tiny: Path) -> None:
    invoke("submit", "tiny-paper/main", "--to", "slurm")
    answer(login_node, squeue, sacct)
    if starts:
        (jobs(tiny)[0].directory / "starts").write_text(f"0 69 before\n{starts}\n")
    run = jobs(tiny)[0].directory.parent
    assert f": {said}" in invoke("status", str(run)).stdout
    alive = Slurm().state(jobs(tiny)[0]).alive
    assert alive == said.startswith(("queued", "running"))
    assert (invoke("submit", "tiny-paper/main", "--to", "slurm").exit_code == 2) == alive


def test_a_job_whose_cluster_does_not_answer_is_not_submitted_twice(login_node: Path, tiny: Path) -> None:
    invoke("submit", "tiny-paper/main", "--to", "slurm")
    fake(login_node, "squeue", 'echo "Unable to contact slurm controller" >&2; exit 1')
    done = invoke("submit", "tiny-paper/main", "--to", "slurm")
    assert done.exit_code == 2
    assert done.stderr == "jaxgen: squeue: Unable to contact slurm controller\n"
    assert len((login_node / "asked").read_text().splitlines()) == 1


def test_what_sbatch_refuses_is_told(login_node: Path, tiny: Path) -> None:
    fake(login_node, "sbatch", 'echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1')
    done = invoke("submit", "tiny-paper/main", "--to", "slurm", "--queue", "nowhere")
    assert done.exit_code == 2
    assert done.stderr == "jaxgen: sbatch: sbatch: error: invalid partition specified: nowhere\n"
    assert not jobs(tiny)


def test_slurm_is_not_everywhere(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = invoke("submit", "tiny-paper/main", "--to", "slurm")
    assert done.exit_code == 2
    assert "no sbatch here; give the command on a login node" in done.stderr


def test_a_run_without_a_job_and_a_damaged_one(tiny: Path, login_node: Path) -> None:
    done = invoke("status", str(tiny))
    assert done.exit_code == 2
    assert f"no run at {tiny}: expected a directory with run.json and populations/" in done.stderr
    invoke("submit", "tiny-paper/main", "--to", "slurm")
    file = jobs(tiny)[0].directory / "job.json"
    data = read_sealed(file)
    write_sealed(file, data | {"spec": data["spec"] | {"kind": "Devices"}})
    done = invoke("status", str(file.parents[1]))
    assert done.exit_code == 2
    assert f"{file} is damaged: Devices has no field" in done.stderr
    write_sealed(file, data | {"submitted": "yesterday"})
    assert f"{file} is damaged" in invoke("status", str(file.parents[1])).stderr


@pytest.mark.parametrize("damaged", [b"0 75 2024-01", b"0 \xb1 2024-01-01T00:00:00+00:00\n"])
def test_a_damaged_line_of_a_start_is_one_line(tmp_path: Path, damaged: bytes) -> None:
    job = Job(tmp_path, "local", "1", "here", "2024-01-01", JobSpec(name="tiny", title="tiny", command=("true",)))
    (tmp_path / "starts").write_bytes(b"0 75 2024-01-01T00:00:00+00:00\n")
    assert job.last_start().word == "failed"
    (tmp_path / "starts").write_bytes(damaged)
    with pytest.raises(UserError, match="starts is damaged"):
        job.last_start()


def test_what_is_stopped_is_what_a_stopped_run_says() -> None:
    assert STARTED_AGAIN[:2] == (signals.STOPPED, processes.LOST)


def test_a_spec_is_refused_where_it_is_made() -> None:
    with pytest.raises(UserError, match="--name: got 'Upper'"):
        spec(HERE, name="Upper")
    with pytest.raises(UserError, match="restarts: got -1"):
        spec(HERE, restarts=-1)


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in SPECS:
        (GOLDEN / name).write_text(rendered(name), encoding="utf-8")
