"""Chooses the kernel of a transformer's attention, and shards the attention over devices.

Shape letters: B batch, S positions, Q positions that a layer answers at, H heads, C width of a head.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike

from jaxgen.errors import UserError
from jaxgen.models.config import TransformerConfig
from jaxgen.models.sharding import EXAMPLES
from jaxgen.tasks.base import TaskShape

if TYPE_CHECKING:
    from jaxgen.kernels.attention import Choice

# The kernels are imported only when one may be used: Pallas takes half a second to import, and most runs use none.


def attention_scale(config: TransformerConfig) -> float:
    """Returns the factor of the attention scores."""
    return (config.width // config.heads) ** (-1.0 if config.mup else -0.5)


def attention_choice(
    config: TransformerConfig, answers: tuple[int, ...], length: int, dtype: DTypeLike, device: Any, *, padded: bool
) -> Choice:
    """Returns the implementation for a layer with queries at `answers` on a device, for `padded` examples or not.

    Raises:
      UserError: the implementation that the configuration names cannot do it; the message says why.
    """
    from jaxgen.kernels.attention import Problem, Unsupported, choose

    problem = Problem(
        positions=answers,
        length=length,
        heads=config.heads,
        kv_heads=config.heads,
        width=config.width // config.heads,
        dtype=jax.numpy.dtype(dtype).name,
        causal=config.causal,
        window=None,
        segments=False,
        bias=False,
        scale=attention_scale(config),
        lengths=padded,
    )
    try:
        return choose(problem, config.attention, device)
    except Unsupported as error:
        raise UserError(f"model.attention: {error}; ask for auto or xla") from None


def attention_choices(config: TransformerConfig, shape: TaskShape, dtype: DTypeLike, device: Any) -> dict[str, Any]:
    """Returns the attention implementations of a model's layers in training, for run.json.

    Raises:
      UserError: the implementation that the configuration names cannot do it; the message says why.
    """
    layers = {"last_layer": shape.readout}
    if config.layers > 1:
        layers["layers_before"] = tuple(range(shape.length))
    if config.attention == "xla" or config.positions.code().biases:
        asked = config.attention == "xla"
        why = "asked for" if asked else f"{type(config.positions.code()).__name__} adds to the scores"
        written_out = {"taken": "xla", "kernel": None, "why": why}
        return {"attention": {"asked": config.attention, **dict.fromkeys(layers, written_out)}}
    padded = shape.padding is not None and not config.causal
    choices = {
        name: attention_choice(config, answers, shape.length, dtype, device, padded=padded)
        for name, answers in layers.items()
    }
    taken = {name: {"taken": each.taken, "kernel": each.kernel, "why": each.why} for name, each in choices.items()}
    return {"attention": {"asked": config.attention, **taken}}


def kernels_taken(choices: dict[str, Any]) -> dict[str, str]:
    """Returns the part of `attention_choices` on which the bits of training depend; empty if only xla was requested."""
    of = choices.get("attention", {"asked": "xla"})
    layers = {name: str(each["kernel"] or each["taken"]) for name, each in of.items() if name != "asked"}
    return {} if of["asked"] == "xla" else {f"attention of {name}": kernel for name, kernel in layers.items()}


def attend(
    config: TransformerConfig,
    answers: tuple[int, ...],
    implementation: Any,
    device: Any,
    q_BQHC: jax.Array,
    k_BSHC: jax.Array,
    v_BSHC: jax.Array,
    lengths_B: jax.Array | None,
) -> jax.Array:
    """Returns attention's output (B, Q, H, C) from a kernel; each device computes its own examples and heads.

    A kernel is a program for one device, which the compiler cannot shard. Positions from `lengths_B` on are padding.
    """

    from jaxgen.kernels.attention import attention

    def alone(q_BQHC: jax.Array, k_BSHC: jax.Array, v_BSHC: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
        return attention(
            q_BQHC,
            k_BSHC,
            v_BSHC,
            causal=config.causal,
            scale=attention_scale(config),
            q_positions=answers,
            kv_lengths=lengths_B,
            implementation=implementation,
            device=device,
        )

    mesh = jax.sharding.get_abstract_mesh()
    free = frozenset(mesh.axis_names) - frozenset(mesh.manual_axes)
    if not free:
        return alone(q_BQHC, k_BSHC, v_BSHC, lengths_B)

    def over(size: int, *names: str) -> tuple[str, ...] | None:
        """Returns the mesh axes over which a dimension is sharded; None if it does not divide evenly."""
        spread = tuple(name for name in names if name in free)
        return spread if size % math.prod(mesh.shape[name] for name in spread) == 0 else None

    spec = P(over(q_BQHC.shape[0], *EXAMPLES), None, over(config.heads, "tensor"))
    of_examples = () if lengths_B is None else (lengths_B,)
    specs = (spec,) * 3 + (P(spec[0]),) * len(of_examples)
    spread = jax.shard_map(alone, in_specs=specs, out_specs=spec, axis_names=free, check_vma=False)
    return spread(q_BQHC, k_BSHC, v_BSHC, *of_examples)
