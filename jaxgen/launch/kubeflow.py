"""Kubeflow Trainer: a TrainJob on its runtime `jax-distributed`, which creates a JobSet from it.

The runtime tells the processes of each other (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID), and
decides how often a job is started again. It does not distinguish a preemption from an error, so --to kubernetes is the
better choice if both are available.
"""

from __future__ import annotations

from jaxgen.errors import UserError
from jaxgen.launch.kubernetes import (
    Kubernetes,
    Manifest,
    literal,
    metadata,
    mounts,
    placement,
    refuse_what_pods_lack,
    resources,
    variables,
    volumes,
)
from jaxgen.launch.spec import JobSpec


class Kubeflow(Kubernetes):
    """A cluster with Kubeflow Trainer 2."""

    name = "kubeflow"
    file_name = "trainjob.yaml"
    api = ("trainer.kubeflow.org", "v1alpha1", "trainjobs")
    container = "node"  # the runtime's name for it

    def manifest(self, spec: JobSpec) -> Manifest:
        """Returns the TrainJob as data."""
        refuse_what_pods_lack(spec, self.name)
        if spec.devices.accelerator() == "tpu":
            raise UserError("--to kubeflow: its runtime for JAX supports only GPUs; use --to kubernetes for TPUs")
        pod = {
            "terminationGracePeriodSeconds": spec.grace,
            **placement(spec),
            "containers": [{"name": self.container, **mounts(spec)}],
            **volumes(spec),
        }
        job = {"name": self.container, "template": {"spec": {"template": {"spec": pod}}}}
        patch = {"template": {"spec": {"replicatedJobs": [job]}}}
        return {
            "apiVersion": f"{self.api[0]}/{self.api[1]}",
            "kind": "TrainJob",
            "metadata": metadata(spec),
            "spec": {
                "runtimeRef": {"name": "jax-distributed"},
                "trainer": {
                    "image": spec.image,
                    "command": [literal(each) for each in spec.command],
                    "numNodes": spec.processes(),
                    "resourcesPerNode": resources(spec),
                    "env": variables(spec),
                },
                "runtimePatches": [{"manager": "jaxgen.io/submit", "trainingRuntimeSpec": patch}],
            },
        }
