"""The systems that run jobs, by the name that --to takes."""

from __future__ import annotations

from jaxgen.launch.job import BackEnd
from jaxgen.launch.kubeflow import Kubeflow
from jaxgen.launch.kubernetes import Kubernetes
from jaxgen.launch.local import Local
from jaxgen.launch.skypilot import SkyPilot
from jaxgen.launch.slurm import Slurm

BACK_ENDS: dict[str, BackEnd] = {each.name: each for each in (Local(), Slurm(), Kubernetes(), Kubeflow(), SkyPilot())}
