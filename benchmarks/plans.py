"""What `jaxgen plan` says of two transformers on several topologies: the table of docs/plan.md.

    python -m benchmarks.plans          # all that the installed compilers can do
    python -m benchmarks.plans v5e:2x4 h200:8

Needs libtpu for TPUs and the CUDA plugin for GPUs, and neither TPU nor GPU.
"""

from __future__ import annotations

import os
import sys
import time

from jaxgen.condition import Trajectory, populations, trajectories
from jaxgen.errors import UserError
from jaxgen.ledger.discovery import find

EXPERIMENT = "power-grok/division"
COMMON = (
    "seeds=[0]", "task.p=113", "batch_size=4096", "model.norm=pre", "model.activation=gelu", "model.scan_layers=true",
    "numerics.compute_dtype=bfloat16",
)  # fmt: skip
MODELS = {
    "57M": ("model.layers=8", "model.width=768", "model.heads=12", "model.mlp_width=3072"),
    "1.0B": ("model.layers=20", "model.width=2048", "model.heads=16", "model.mlp_width=8192"),
}
# Each with the mesh of the smaller and of the larger model.
TOPOLOGIES = {
    "v5e:2x4": ("data=8", "fsdp=8"),
    "v5p:4x4x4": ("data=64", "fsdp=64"),
    "v5p:8x8x8": ("data=512", "fsdp=512"),
    "v6e:16x16": ("data=256", "fsdp=256"),
    "tpu7x:4x4x4": ("data=128", "fsdp=128"),
    "h200:8": ("data=8", "fsdp=8"),
    "h100:2x8": ("data=16", "data=2,fsdp=8"),
}


def population(model: str, *settings: str) -> list[Trajectory]:
    """Returns the one member that trains the model; `settings` are KEY=VALUE, and win over the common ones."""
    chosen = dict(each.split("=", 1) for each in (*COMMON, *MODELS[model], *settings))
    _, experiments = find(EXPERIMENT)
    conditions = experiments[0].at_scale("paper", [f"{key}={value}" for key, value in chosen.items()])
    return populations(trajectories(conditions))[0]


def main() -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    from jaxgen.distributed.mesh import MeshSizes
    from jaxgen.plan.compile import plan
    from jaxgen.plan.topology import read_topology

    print(
        "| model | topology | mesh | fits | GB a device | TFLOP a step | bound | us a step | compiled in | CPU time |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for i, model in enumerate(MODELS):
        for topology in sys.argv[1:] or TOPOLOGIES:
            mesh = TOPOLOGIES[topology][i]
            began = time.process_time()
            try:
                made = plan(population(model), read_topology(topology), MeshSizes.parse(mesh))
            except UserError as error:
                print(f"{topology}: {error}", file=sys.stderr)
                continue
            print(
                f"| {model} | {topology} | {mesh} | {'yes' if made.fits else 'no'} | {made.bytes / 1e9:.2f} of "
                f"{made.topology.device.memory / 1e9:.0f} | {made.flops / 1e12:.1f} | {made.bound} | "
                f"{1e6 * made.seconds:,.0f} | {made.compile_seconds:.0f} s | "
                f"{time.process_time() - began:.0f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
