"""SkyPilot: a task for `sky jobs launch`, which finds machines, and replaces them after a preemption.

jaxgen renders it and does not submit it: `jaxgen submit ID --to skypilot --dry-run > job.yaml; sky jobs launch
job.yaml`. The processes find each other by SKYPILOT_NODE_IPS and SKYPILOT_NODE_RANK.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from jaxgen.distributed.processes import STOPPED
from jaxgen.errors import UserError
from jaxgen.launch.job import BackEnd, Job, State
from jaxgen.launch.kubernetes import to_yaml
from jaxgen.launch.spec import JobSpec, refuse


class SkyPilot(BackEnd):
    """Machines of any cloud. jaxgen only renders the task."""

    name = "skypilot"
    file_name = "task.yaml"
    shares_files = False

    def render(self, spec: JobSpec) -> str:
        refuse(spec, self.name, minutes="SkyPilot has none", account="SkyPilot has none", queue="SkyPilot has none",
               namespace="Kubernetes has it", selectors="Kubernetes has it", options="sbatch has it",
               volumes="name the bucket with --runs",
               processes_of_each="one process a node has all its GPUs")  # fmt: skip
        accelerator = spec.devices.accelerator()
        if accelerator == "tpu":
            raise UserError("--to skypilot: TPU hosts were never tested there; use --to kubernetes")
        if not spec.in_store():
            raise UserError(
                "--to skypilot: needs --runs gs://BUCKET/FOLDER (or s3://), to keep the run after its machines"
            )
        asked: dict[str, Any] = {}
        if accelerator == "gpu":
            if spec.devices.device == "gpu":
                raise UserError("--to skypilot: needs the type of GPU, such as --devices h100:8")
            asked["accelerators"] = f"{spec.devices.device.upper()}:{spec.devices.of_each}"
        asked |= {"cpus": f"{spec.cpus}+"} if spec.cpus else {}
        asked |= {"memory": f"{spec.memory}+"} if spec.memory else {}
        asked |= {"image_id": f"docker:{spec.image}"} if spec.image else {}
        # Preemptions and the exit codes listed do not count.
        asked["job_recovery"] = {"max_restarts_on_errors": spec.restarts, "recover_on_exit_codes": [STOPPED]}
        task: dict[str, Any] = {
            "name": spec.name,
            "num_nodes": spec.devices.nodes,
            "resources": asked,
        }
        task |= {"envs": {each.name: each.value for each in spec.variables}} if spec.variables else {}
        # The user gives their values with `sky jobs launch --secret NAME`.
        task |= {"secrets": {each.name: None for each in spec.secrets}} if spec.secrets else {}
        return to_yaml(task | {"run": shlex.join(spec.command)})

    def check_here(self, spec: JobSpec) -> None:
        raise UserError("--to skypilot: jaxgen only renders it: use --dry-run > job.yaml; sky jobs launch job.yaml")

    def submit(self, artefact: Path, spec: JobSpec) -> str:
        self.check_here(spec)
        return ""

    def state(self, job: Job) -> State:
        raise UserError("--to skypilot: ask SkyPilot: sky jobs queue")

    def cancel(self, job: Job) -> None:
        raise UserError("--to skypilot: ask SkyPilot: sky jobs cancel")
