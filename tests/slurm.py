"""Jobs on a real SLURM cluster of one host, interrupted in every way, come back bit for bit: `make slurm`.

slurmctld and three slurmd run on this machine, as root, with what `apt-get install slurm-wlm munge` gives; they are
ended, and /etc/hosts is put back, when this ends. A job of two processes on two nodes is left alone once; then the same
is submitted again and again, interrupted while it trains, and must leave the same bits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from jaxgen.launch.job import read_job
from jaxgen.run.manifest import published_steps
from tests.chaos import differences, write_paper

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
NODES = ("n1", "n2", "n3")
# Requeued jobs wait for the credentials of the last start to expire, and for the scheduler's next round.
PATIENCE_SECONDS = 400.0

CONFIGURATION = """
ClusterName=jaxgen
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
AuthType=auth/munge
AuthInfo=socket=/run/munge/jaxgen.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdSpoolDir={root}/spool/%n
StateSaveLocation={root}/state
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
SlurmctldTimeout=10
SlurmdTimeout=30
InactiveLimit=0
KillWait=15
JobRequeue=1
NodeName=n[1-3] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[16821-16823] CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def install_what_is_missing() -> None:
    """Ends the program, naming it, where something is missing that cannot be installed here."""
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
    os.environ["PATH"] = path
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid():
        sys.exit("make slurm: needs root, for slurmd starts jobs as their users; and a machine of its own")
    if missing and shutil.which("apt-get") is None:
        sys.exit(f"make slurm: missing {', '.join(missing)}, and no apt-get to install slurm-wlm and munge with")
    if missing:
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "slurm-wlm", "munge"]
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(install, check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


@contextlib.contextmanager
def cluster(root: Path) -> Iterator[None]:
    """Starts the cluster, and ends it."""
    (root / "state").mkdir(parents=True)
    for node in NODES:
        (root / "spool" / node).mkdir(parents=True)
    configuration = root / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(root=root))
    os.environ["SLURM_CONF"] = str(configuration)
    hosts = Path("/etc/hosts")
    before = hosts.read_text()
    subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "-m", "0755", "/run/munge"], check=True)
    munge = ["munged", "--foreground", "--socket=/run/munge/jaxgen.socket", "--pid-file=/run/munge/jaxgen.pid",
             "--log-file=/run/munge/jaxgen.log", "--seed-file=/run/munge/jaxgen.seed"]  # fmt: skip
    commands = [["runuser", "-u", "munge", "--", *munge], ["slurmctld", "-D", "-i", "-f", str(configuration)]]
    commands += [["slurmd", "-D", "-N", node, "-f", str(configuration)] for node in NODES]
    started = []
    try:
        # jax.distributed finds the first process by its node's name.
        hosts.write_text(before.rstrip("\n") + f"\n127.0.0.1 {' '.join(NODES)}\n")
        with (root / "daemons.log").open("w") as log:
            for command in commands:
                started.append(subprocess.Popen(command, stdout=log, stderr=log))
                time.sleep(1)
        wait_for("all nodes to be idle", lambda: ask("sinfo", "-hN", "-t", "idle", "-o", "%N").count("n") == 3)
        yield
    finally:
        for each in reversed(started):
            each.terminate()
        for each in reversed(started):
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(20)
            each.kill()
        hosts.write_text(before)


def ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def jaxgen(*arguments: str) -> str:
    return ask(sys.executable, "-m", "jaxgen", *arguments)


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > until:
            raise RuntimeError(f"waited {PATIENCE_SECONDS:.0f} s for {what}")
        time.sleep(0.2)


class Submitted:
    """A job of two processes on two nodes, submitted into a folder of runs of its own."""

    def __init__(self, runs: Path, *options: str):
        self.path = runs / "chaos" / "transformer" / "paper"
        self.arguments = ["submit", "chaos/transformer", "--to", "slurm", "--devices", "cpu:2", "--runs", str(runs),
                          "--save-every", "0.2", "--memory", "1", *options]  # fmt: skip
        jaxgen(*self.arguments)
        job = read_job(self.path)
        assert job is not None
        self.number = job.number

    def status(self) -> str:
        return jaxgen("status", str(self.path)).splitlines()[0].partition(" on ")[2].partition(": ")[2]

    def nodes(self) -> str:
        return ask("squeue", "-h", "--states=all", "-j", self.number, "-o", "%N").strip()

    def wait_until_it_trains(self) -> None:
        recovery = lambda: [*self.path.glob("populations/*/recovery")]  # noqa: E731
        wait_for("training", lambda: any(published_steps(each) for each in recovery()) or self._over())
        if self._over():
            raise RuntimeError(f"it was over before it could be interrupted; give it more --steps:\n{self.log()}")

    def _over(self) -> bool:
        return not self.status().startswith(("queued", "running"))

    def wait(self) -> str:
        """Waits for the end, and returns how it ended."""
        wait_for("the end of the job", self._over)
        return self.status()

    def log(self) -> str:
        return jaxgen("logs", str(self.path))

    def starts(self) -> list[str]:
        starts = self.path / "job" / "starts"
        return [line.split()[1] for line in starts.read_text().splitlines()] if starts.exists() else []

    def kill_task(self, rank: int) -> None:
        """Kills (SIGKILL) the process of a rank."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = (process / "environ").read_bytes().split(b"\0")
                command = (process / "cmdline").read_bytes().split(b"\0")
                ours = {f"SLURM_JOB_ID={self.number}".encode(), f"SLURM_PROCID={rank}".encode()} <= set(variables)
                if ours and b"resume" in command and command[0] == sys.executable.encode():
                    os.kill(int(process.name), signal.SIGKILL)
                    return
        raise RuntimeError(f"no process of rank {rank} found")


def requeue(job: Submitted) -> None:
    ask("scontrol", "requeue", job.number)


def kill_second(job: Submitted) -> None:
    job.kill_task(1)


def kill_first(job: Submitted) -> None:
    job.kill_task(0)


def drain(job: Submitted) -> None:
    """What an administrator does: nothing new on this node, and what runs there goes elsewhere."""
    ask("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
    ask("scontrol", "requeue", job.number)


def lose_node(job: Submitted) -> None:
    ask("scontrol", "update", "nodename=n2", "state=down", "reason=test")


def stop(job: Submitted) -> None:
    """As SLURM does before the time limit (--signal): the processes hear of it, and the batch script does not."""
    ask("scancel", "--signal=TERM", job.number)
    wait_for("the processes to stop", lambda: bool(job.starts()))
    assert job.starts() == ["75"], job.starts()


def cancel(job: Submitted) -> None:
    """The batch script must not ask for another start."""
    jaxgen("cancel", str(job.path))
    assert job.wait().startswith("cancelled"), job.status()
    time.sleep(5)
    assert job.status().startswith("cancelled"), job.status()
    jaxgen("resume", "--as-submitted", str(job.path))
    again = read_job(job.path)
    assert again is not None
    assert again.number != job.number
    job.number = again.number


INTERRUPTIONS = (requeue, kill_second, kill_first, drain, lose_node, stop, cancel)


@click.command()
@click.option("--steps", default=1500, show_default=True)
@click.option("--only", multiple=True, type=click.Choice([each.__name__ for each in INTERRUPTIONS]), help="Repeatable.")
def main(steps: int, only: tuple[str, ...]) -> None:
    """Interrupt jobs on a cluster of this host, and compare what they leave with one that was left alone."""
    install_what_is_missing()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        root = Path(name)
        # Quotes and blanks in the paths, as a user may have them.
        papers = root / "it's papers"
        write_paper(papers, steps)
        os.environ |= {"JAXGEN_EXPERIMENTS": str(papers), "JAXGEN_CACHE": str(root / "cache"),
                       "JAX_PLATFORMS": "cpu"}  # fmt: skip
        with cluster(root / "cluster"):
            whole = Submitted(root / "whole")
            assert whole.wait() == "finished", whole.log()
            for interrupt in INTERRUPTIONS:
                if only and interrupt.__name__ not in only:
                    continue
                began = time.monotonic()
                job = Submitted(root / f"the {interrupt.__name__}'s runs")
                job.wait_until_it_trains()
                nodes = job.nodes()
                interrupt(job)
                ended = job.wait()
                found = [ended, job.log()] if ended != "finished" else differences(whole.path, job.path)
                wrong += bool(found)
                print(f"{interrupt.__name__:11} began on {nodes}, ended on {job.nodes()}, starts ended with "
                      f"{', '.join(job.starts())}: {len(found)} differences, {time.monotonic() - began:.0f} s",
                      *found, flush=True)  # fmt: skip
                if ask("sinfo", "-hN", "-t", "down,drain", "-o", "%N"):
                    ask("scontrol", "update", "nodename=n2", "state=resume")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
