"""`attention`: one function, and which implementation it takes.

Shape letters: see problem.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxgen.kernels.attention import cudnn, gpu_flash, gpu_short, tpu_flash, tpu_short
from jaxgen.kernels.attention.capability import INTERPRETER, kernels, platform_of
from jaxgen.kernels.attention.problem import Problem, Unsupported, describe
from jaxgen.kernels.attention.reference import plain, reference

Implementation = Literal["auto", "xla", "pallas", "cudnn", "reference"]

_MODULES: dict[str, Any] = {
    "cudnn": cudnn,
    "gpu_flash": gpu_flash,
    "gpu_short": gpu_short,
    "tpu_flash": tpu_flash,
    "tpu_short": tpu_short,
}


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """Stands for a device, `tpu` or `gpu`, whose kernels run as plain operations of the one that there is: for tests.

    A GPU's need a jax that has an interpreter of Mosaic GPU (0.12 has), and matrix products there are plain ones.
    """

    platform: Literal["tpu", "gpu"]
    device_kind: str = INTERPRETER
    compute_capability: str = "9.0"


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was asked for, the implementation that is taken, which kernel of it, and why."""

    asked: str
    taken: str
    kernel: str | None
    why: str


def choose(problem: Problem, asked: str, device: Any) -> Choice:
    """Returns which implementation solves a problem on a device.

    `auto` takes a kernel where the capability table says that it was run on such a device and was faster, else XLA.

    Raises:
      Unsupported: what was asked for by name cannot do it; the message says why.
    """
    if asked in ("xla", "reference"):
        return Choice(asked, asked, None, "asked for")
    reasons = []
    for kernel in kernels("pallas") + kernels("cudnn") if asked == "auto" else kernels(asked):
        reason = kernel.why_not(problem, device)
        if reason is None and asked == "auto" and device.device_kind not in kernel.run_on:
            reason = f"it was never measured on a {device.device_kind}; ask for {kernel.implementation} by name"
        if reason is None:
            return Choice(asked, kernel.implementation, kernel.name, "can do it")
        reasons.append(f"{kernel.name}: {reason}")
    if asked != "auto":
        raise Unsupported(f"attention: {asked} cannot do this. {'; '.join(reasons)} (jax {jax.__version__})")
    here = [reason for reason in reasons if not reason.partition(": ")[2].startswith("it runs on")]
    return Choice(asked, "xla", None, "; ".join(here) or f"there is no kernel for a {platform_of(device)}")


def attention(
    q_BQHC: jax.Array,
    k_BSGC: jax.Array,
    v_BSGC: jax.Array,
    *,
    causal: bool,
    segment_ids: jax.Array | None = None,
    bias: jax.Array | None = None,
    window: int | None = None,
    scale: float | None = None,
    q_positions: Sequence[int] | None = None,
    implementation: Implementation = "auto",
    device: Any = None,
) -> jax.Array:
    """Returns softmax(scale q k + bias) v, (B, Q, H, C) of the inputs' type.

    Reverse gradients of the first order are defined for all implementations, others for `xla` and `reference` alone. A
    batched axis (vmap, a population) is folded into the batch. Inside of a shard_map it needs `check_vma=False`.

    Args:
      q_BQHC: queries.
      k_BSGC: keys; head h of the queries asks head h // (H // G) of these.
      v_BSGC: values.
      causal: whether a query sees no key after its own position.
      segment_ids: (B, S) int32; a query sees keys of its own position's segment alone. Padding is a segment, too.
      bias: (B, H, Q, S), or 1 in the place of any; added to the scores.
      window: a query sees keys less than so many positions away.
      scale: what the products of queries and keys are multiplied by; None: 1 / sqrt(C).
      q_positions: where the Q queries stand among the S positions; None: there is one at each.
      implementation: see `choose`; `pallas` is this folder's kernels, `reference` its definition.
      device: one that the program is for, or an `Interpreter`; None: jax's first.

    Raises:
      ValueError: arguments that do not fit each other.
      Unsupported: an implementation that was asked for by name cannot do it; the message says why.
    """
    problem = describe(
        q_BQHC, k_BSGC, v_BSGC, causal=causal, segment_ids=segment_ids, bias=bias, window=window, scale=scale,
        q_positions=q_positions,
    )  # fmt: skip
    device = jax.devices()[0] if device is None else device
    taken = choose(problem, implementation, device)
    if taken.kernel is None:
        function = reference if taken.taken == "reference" else plain
        return function(problem, q_BQHC, k_BSGC, v_BSGC, segment_ids, bias)
    kernel = next(each for each in kernels(taken.taken) if each.name == taken.kernel)
    dtype = kernel.dtypes[problem.dtype]
    call = _Call(taken.kernel, isinstance(device, Interpreter))
    q, k, v = (x.astype(dtype) for x in (q_BQHC, k_BSGC, v_BSGC))
    o_BQHC = _attention(call, dataclasses.replace(problem, dtype=dtype), q, k, v, segment_ids)
    return o_BQHC.astype(q_BQHC.dtype)


@dataclasses.dataclass(frozen=True)
class _Call:
    """A kernel and how it is run."""

    kernel: str
    interpret: bool

    def forward(self, problem: Problem) -> Callable[..., Any]:
        return _folded(functools.partial(_MODULES[self.kernel].forward, problem, interpret=self.interpret))

    def backward(self, problem: Problem) -> Callable[..., Any]:
        return _folded(functools.partial(_MODULES[self.kernel].backward, problem, interpret=self.interpret))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attention(call: _Call, problem: Problem, q: Any, k: Any, v: Any, segment_ids: Any) -> Any:
    return call.forward(problem)(q, k, v, segment_ids)[0]


def _attention_forward(call: _Call, problem: Problem, q: Any, k: Any, v: Any, segment_ids: Any) -> Any:
    o, residual = call.forward(problem)(q, k, v, segment_ids)
    return o, (q, k, v, segment_ids, o, residual)


def _attention_backward(call: _Call, problem: Problem, kept: Any, do: Any) -> Any:
    return (*call.backward(problem)(*kept, do), None)


_attention.defvjp(_attention_forward, _attention_backward)


def _folded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function`, of arrays that all have a batch in front, with a mapped axis folded into that batch."""
    run = jax.custom_batching.custom_vmap(function)

    def over_axis(size: int, batched: Any, *arrays: Any) -> Any:
        def fold(x: jax.Array, has_axis: bool) -> jax.Array:
            x = x if has_axis else jnp.broadcast_to(x[None], (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:])

        outputs = run(*jax.tree.map(fold, arrays, tuple(batched)))
        outputs = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), outputs)
        return outputs, jax.tree.map(lambda _: True, outputs)

    run.def_vmap(over_axis)
    return run
