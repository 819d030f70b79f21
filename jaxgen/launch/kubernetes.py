"""Kubernetes: a JobSet of indexed pods, one a node, through the official client (`pip install "jaxgen[kubernetes]"`).

The processes find each other by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, so they need no right to
read pods; TPU hosts find each other by the variables that GKE sets. If a pod is preempted or ends with 75 (stopped and
saved), the pod failure policy fails its Job, and the JobSet starts all pods again without counting that restart. Any
other failure counts (jobset.sigs.k8s.io, failure policy; kubernetes.io, pod failure policy).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from jaxgen.distributed.devices import GPUS
from jaxgen.distributed.processes import STOPPED
from jaxgen.errors import UserError
from jaxgen.launch.job import BackEnd, Job, State
from jaxgen.launch.spec import Devices, JobSpec, pair, refuse

Manifest = dict[str, Any]

PORT = 55527
CONTAINER = "jaxgen"
# How long the deletion of a job of the same name may take.
MAKES_ROOM_WITHIN = 60.0
# GKE's names of TPUs (docs.cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus).
GKE_TPUS = {"v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice", "v6e": "tpu-v6e-slice", "tpu7x": "tpu7x"}


class Kubernetes(BackEnd):
    """A cluster with the JobSet controller: the current context of the kubeconfig, or the cluster in which this
    runs."""

    name = "kubernetes"
    file_name = "jobset.yaml"
    shares_files = False
    api = ("jobset.x-k8s.io", "v1alpha2", "jobsets")
    container = CONTAINER

    def render(self, spec: JobSpec) -> str:
        return to_yaml(self.manifest(spec))

    def manifest(self, spec: JobSpec) -> Manifest:
        """Returns the JobSet as data."""
        refuse_what_pods_lack(spec, self.name)
        annotations = {}
        if spec.devices.accelerator() == "tpu" and spec.devices.nodes > 1:
            # One JobSet for one slice: its pods share no node pool with those of another JobSet.
            annotations["alpha.jobset.sigs.k8s.io/exclusive-topology"] = "cloud.google.com/gke-nodepool"
        restart = {
            "name": "stopped",
            "action": "RestartJobSetAndIgnoreMaxRestarts",
            "onJobFailureReasons": ["PodFailurePolicy"],
        }
        job = {
            "parallelism": spec.processes(),
            "completions": spec.processes(),
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [STOPPED]},
                    },
                ]
            },
            "template": {"spec": self._pod(spec)},
        }
        return {
            "apiVersion": f"{self.api[0]}/{self.api[1]}",
            "kind": "JobSet",
            "metadata": metadata(spec) | ({"annotations": annotations} if annotations else {}),
            "spec": {
                "failurePolicy": {"maxRestarts": spec.restarts, "rules": [restart]},
                "replicatedJobs": [{"name": "workers", "replicas": 1, "template": {"spec": job}}],
            },
        }

    def _pod(self, spec: JobSpec) -> Manifest:
        environment = variables(spec)
        if spec.devices.accelerator() != "tpu":
            index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
            environment += [
                {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{spec.name}-workers-0-0.{spec.name}:{PORT}"},
                {"name": "JAX_NUM_PROCESSES", "value": str(spec.processes())},
                {"name": "JAX_PROCESS_ID", "valueFrom": index},
            ]
        container = {
            "name": CONTAINER,
            "image": spec.image,
            "command": [literal(each) for each in spec.command],
            "env": environment,
            "resources": resources(spec),
            **mounts(spec),
        }
        pod = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": spec.grace,
            **placement(spec),
            "containers": [container],
            **volumes(spec),
        }
        if spec.devices.accelerator() != "cpu" and spec.processes() > 1:
            # Traffic between nodes then does not pass through the pods' network.
            pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
        return pod

    def check_here(self, spec: JobSpec) -> None:
        connect(spec.namespace)

    def submit(self, artefact: Path, spec: JobSpec) -> str:
        client, namespace = connect(spec.namespace)
        jobs, place = client.CustomObjectsApi(), (self.api[0], self.api[1], namespace, self.api[2])
        # Delete a finished job of this name; a running one was refused earlier.
        with _telling(client, spec.name, but=404):
            jobs.delete_namespaced_custom_object(*place, spec.name, propagation_policy="Foreground")
        until = time.monotonic() + MAKES_ROOM_WITHIN
        while True:
            with _telling(client, spec.name, but=409 if time.monotonic() < until else None):
                jobs.create_namespaced_custom_object(*place, self.manifest(spec), field_validation="Strict")
                return f"{namespace}/{spec.name}"
            time.sleep(2)

    def state(self, job: Job) -> State:
        client, namespace, name = _of(job)
        jobs, place = client.CustomObjectsApi(), (self.api[0], self.api[1], namespace, self.api[2])
        with _telling(client, name, but=404):
            return _state(jobs.get_namespaced_custom_object(*place, name))
        return State("gone", f"no '{name}' in namespace '{namespace}' of the current context")

    def cancel(self, job: Job) -> None:
        client, namespace, name = _of(job)
        jobs, place = client.CustomObjectsApi(), (self.api[0], self.api[1], namespace, self.api[2])
        with _telling(client, name):
            jobs.delete_namespaced_custom_object(*place, name, propagation_policy="Foreground")

    def log(self, job: Job, *, follow: bool) -> Iterator[str]:
        """Yields the output of the first process, from the pods that were started last."""
        client, namespace, name = _of(job)
        core = client.CoreV1Api()
        selector = f"jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=0"
        with _telling(client, name):
            pods = core.list_namespaced_pod(namespace, label_selector=selector).items
            if not pods:
                return
            newest = max(pods, key=lambda each: each.metadata.creation_timestamp)
            log = core.read_namespaced_pod_log(
                newest.metadata.name, namespace, container=self.container, follow=follow, _preload_content=False
            )
            for piece in log.stream():
                yield piece.decode("utf-8", "replace")


def refuse_what_pods_lack(spec: JobSpec, back_end: str) -> None:
    """Raises `UserError` if pods cannot run a spec."""
    refuse(spec, back_end, minutes="pods have no time limit; Kueue's may", account="name a --queue",
           options="sbatch has it", processes_of_each="one process a node has all its GPUs")  # fmt: skip
    if spec.image is None:
        raise UserError(f"--to {back_end}: needs --image, an image with jaxgen in it")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", spec.image):
        raise UserError(f"--image: got '{spec.image}', expected such as ghcr.io/me/jaxgen:cuda13")
    if not spec.volumes and not spec.in_store():
        raise UserError(
            f"--to {back_end}: needs --runs gs://BUCKET/FOLDER (or s3://) or --volume, to keep the run after its pods"
        )
    for each in spec.volumes:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", each.source):
            raise UserError(f"--volume: got '{each.source}', expected the name of a PersistentVolumeClaim")
    if spec.queue is not None and not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", spec.queue):
        raise UserError(f"--queue: got '{spec.queue}', expected the name of a LocalQueue")


def metadata(spec: JobSpec) -> Manifest:
    """Returns name, namespace and labels."""
    labels = {"app.kubernetes.io/managed-by": "jaxgen"}
    if spec.queue:
        labels["kueue.x-k8s.io/queue-name"] = spec.queue
    place = {"namespace": spec.namespace} if spec.namespace else {}
    return {"name": spec.name, **place, "labels": labels}


def variables(spec: JobSpec) -> list[Manifest]:
    """Returns the environment of a container, with secrets as references to Secrets of the namespace."""
    found: list[Manifest] = [{"name": each.name, "value": literal(each.value)} for each in spec.variables]
    for each in spec.secrets:
        name, key = pair(each.source, "--secret", "/")
        found.append({"name": each.name, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}})
    return found


def literal(text: str) -> str:
    """Escapes a text so that Kubernetes leaves it unchanged: it would replace $(NAME) by variables, and $$ by $."""
    return text.replace("$", "$$")


def resources(spec: JobSpec) -> Manifest:
    """Returns the resources of a pod, as both requests and limits."""
    kind = {"gpu": "nvidia.com/gpu", "tpu": "google.com/tpu"}.get(spec.devices.accelerator())
    limits = {kind: spec.devices.of_each} if kind else {}
    requests = ({"cpu": spec.cpus} if spec.cpus else {}) | ({"memory": f"{spec.memory}Gi"} if spec.memory else {})
    return ({"requests": requests} if requests else {}) | ({"limits": limits} if limits else {})


def mounts(spec: JobSpec) -> Manifest:
    """Returns the volume mounts of a container, if there are any."""
    found = [{"name": f"volume-{number}", "mountPath": each.path} for number, each in enumerate(spec.volumes)]
    return {"volumeMounts": found} if found else {}


def volumes(spec: JobSpec) -> Manifest:
    """Returns the volumes of a pod, if there are any."""
    found = [
        {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": each.source}}
        for number, each in enumerate(spec.volumes)
    ]
    return {"volumes": found} if found else {}


def placement(spec: JobSpec) -> Manifest:
    """Returns the node selector and tolerations of a pod."""
    selectors = {each.key: each.value for each in spec.selectors} or _own_selectors(spec.devices)
    accelerator = spec.devices.accelerator()
    taint = {"gpu": "nvidia.com/gpu", "tpu": "google.com/tpu"}.get(accelerator)
    tolerations = [{"key": taint, "operator": "Exists", "effect": "NoSchedule"}] if taint else []
    return ({"nodeSelector": selectors} if selectors else {}) | ({"tolerations": tolerations} if tolerations else {})


def _own_selectors(devices: Devices) -> dict[str, str]:
    if devices.accelerator() == "tpu":
        return {
            "cloud.google.com/gke-tpu-accelerator": GKE_TPUS[devices.device],
            "cloud.google.com/gke-tpu-topology": devices.shape,
        }
    # NVIDIA's GPU feature discovery sets this label on nodes.
    return {"nvidia.com/gpu.product": GPUS[devices.device].name.replace(" ", "-")} if devices.device in GPUS else {}


class _Dumper(yaml.SafeDumper):
    """Writes repeated values in full instead of as anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(manifest: Manifest) -> str:
    """Returns plain data as YAML, with keys in their order."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def connect(namespace: str | None) -> tuple[Any, str]:
    """Returns the official client, connected, and the namespace to use.

    Raises:
      UserError: the client is not installed, or there is no cluster.
    """
    if importlib.util.find_spec("kubernetes") is None:
        raise UserError('--to kubernetes: needs the client: pip install "jaxgen[kubernetes]" (--dry-run needs none)')
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException

    try:
        config.load_kube_config()
        _, current = config.list_kube_config_contexts()
        return client, namespace or current["context"].get("namespace") or "default"
    except ConfigException as problem:
        try:
            config.load_incluster_config()
        except ConfigException:
            raise UserError(
                f"--to kubernetes: no cluster: {problem}; `kubectl config get-contexts` lists them"
            ) from None
    own = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return client, namespace or own.read_text(encoding="utf-8").strip()


def _of(job: Job) -> tuple[Any, str, str]:
    namespace, _, name = job.number.partition("/")
    client, _ = connect(namespace)
    return client, namespace, name


def _state(found: Manifest) -> State:
    status = found.get("status", {})
    true = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
    restarts = f"restarts: {status.get('restarts', 0)}"
    if "Completed" in true or "Complete" in true:  # a JobSet, a TrainJob
        return State("finished", restarts)
    if "Failed" in true:
        return State("failed", f"{true['Failed'].get('message') or true['Failed'].get('reason', '')}; {restarts}")
    jobs = status.get("replicatedJobsStatus", [])
    running = "Suspended" not in true and any(each.get("active") for each in jobs)
    return State("running" if running else "queued", "suspended" if "Suspended" in true else restarts)


@contextlib.contextmanager
def _telling(client: Any, name: str, but: int | None = None) -> Iterator[None]:
    """Turns an error of the API server into a `UserError` of one line. Ignores the HTTP status `but`."""
    from urllib3.exceptions import HTTPError  # installed with the client

    try:
        yield
    except client.ApiException as refusal:
        if refusal.status == but:
            return
        said = " ".join(str(refusal.body or refusal.reason).split())
        with contextlib.suppress(ValueError, TypeError, KeyError):
            said = json.loads(refusal.body)["message"]
        hint = "; is its controller installed?" if refusal.status == 404 else ""
        raise UserError(f"--to kubernetes: {name}: {said} ({refusal.status}){hint}") from None
    except HTTPError as problem:
        raise UserError(f"--to kubernetes: the cluster does not answer: {problem}") from None
