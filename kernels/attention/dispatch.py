"""`attention`: one function, and which implementation it takes.

Shape letters: see problem.py.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from jaxgen.kernels.attention import cudnn, gpu_flash, gpu_short, tpu_flash, tpu_short
from jaxgen.kernels.attention.capability import INTERPRETER, kernels, platform_of
from jaxgen.kernels.attention.problem import Problem, Segments, Unsupported, describe, segments_of
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
      ValueError: there is no such implementation.
      Unsupported: what was asked for by name cannot do it; the message says why.
    """
    names = get_args(Implementation)
    if asked not in names:
        close = difflib.get_close_matches(str(asked), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"attention: got implementation {asked!r}, expected one of {', '.join(names)}{hint}")
    if asked in ("xla", "reference"):
        return Choice(asked, asked, None, "asked for")
    if problem.empty:
        return Choice(asked, "xla", None, "there is nothing to compute")
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
    segment_ids: jax.Array | Segments | None = None,
    bias: jax.Array | None = None,
    window: int | None = None,
    scale: float | None = None,
    q_positions: Sequence[int] | None = None,
    q_lengths: jax.Array | None = None,
    kv_lengths: jax.Array | None = None,
    softcap: float | None = None,
    with_lse: bool = False,
    implementation: Implementation = "auto",
    device: Any = None,
) -> Any:
    """Returns softmax(softcap(scale q k + bias)) v, (B, Q, H, C) of the inputs' type.

    A query sees the keys that none of the arguments hides. One that sees none gets zeros and has gradients of zero.
    What a query does not see never reaches its output, and a key's gradients come from the queries that see it alone,
    whatever the other numbers are, nan and infinity too. A query that sees one of these is nan in all of its output.

    Of kernels reverse gradients of the first order are defined, of `xla` those of any order, of `reference` all
    derivatives. A batched axis (vmap, a population) is folded into the batch, or with a bias gone through one by one.
    Inside of a shard_map it needs `check_vma=False`.

    Args:
      q_BQHC: queries.
      k_BSGC: keys; head h of the queries asks head h // (H // G) of these.
      v_BSGC: values.
      causal: whether a query sees no key after its own position.
      segment_ids: (B, S) whole numbers; a query sees keys of its own position's segment alone. Or a pair, those of the
        queries (B, Q) and those of the keys (B, S). The two lowest int32 are taken.
      bias: (B, H, Q, S), or 1 in the place of any; added to the scores. -inf hides a key.
      window: a query sees keys less than so many positions away.
      scale: what the products of queries and keys are multiplied by; None: 1 / sqrt(C).
      q_positions: where the Q queries stand among the S positions; None: there is one at each. Where there is neither
        causality nor a window there may be any number of queries without it.
      q_lengths: (B,) whole numbers; so many queries of an example there are, the others see nothing.
      kv_lengths: (B,) whole numbers; so many keys of an example there are, the others are seen by nothing.
      softcap: scores go through softcap tanh(score / softcap), which keeps them between -softcap and softcap.
      with_lse: whether to return the logarithm of each query's sum of exponentials, too.
      implementation: see `choose`; `pallas` is this folder's kernels, `reference` its definition.
      device: one that the program is for, or an `Interpreter`; None: jax's first.

    Returns:
      The output; with `with_lse` it and the logarithm (B, H, Q) in float32 (float64 of float64), -inf for a query that
      sees no key.

    Raises:
      ValueError: arguments that do not fit each other.
      Unsupported: an implementation that was asked for by name cannot do it; the message says why.
    """
    problem = describe(
        q_BQHC, k_BSGC, v_BSGC, causal=causal, segment_ids=segment_ids, bias=bias, window=window, scale=scale,
        q_positions=q_positions, q_lengths=q_lengths, kv_lengths=kv_lengths, softcap=softcap, with_lse=with_lse,
    )  # fmt: skip
    device = jax.devices()[0] if device is None else device
    taken = choose(problem, implementation, device)
    segments = segments_of(problem, q_BQHC.shape[0], segment_ids, q_lengths, kv_lengths)
    if taken.kernel is None or q_BQHC.shape[0] == 0:
        function = reference if taken.taken == "reference" else plain
        o_BQHC, lse_BHQ = function(problem, q_BQHC, k_BSGC, v_BSGC, segments, bias)
        return (o_BQHC, lse_BHQ) if with_lse else o_BQHC
    kernel = next(each for each in kernels(taken.taken) if each.name == taken.kernel)
    dtype = kernel.dtypes[problem.dtype]
    call = _Call(taken.kernel, isinstance(device, Interpreter))
    q, k, v = (x.astype(dtype) for x in (q_BQHC, k_BSGC, v_BSGC))
    o_BQHC, lse_BHQ = _attention(call, dataclasses.replace(problem, dtype=dtype), q, k, v, segments, bias)
    return (o_BQHC.astype(q_BQHC.dtype), lse_BHQ) if with_lse else o_BQHC.astype(q_BQHC.dtype)


@dataclasses.dataclass(frozen=True)
class _Call:
    """A kernel and how it is run."""

    kernel: str
    interpret: bool

    def forward(self, problem: Problem) -> Callable[..., Any]:
        run = functools.partial(_MODULES[self.kernel].forward, problem, interpret=self.interpret)
        return _of_first_order(self.kernel, _batched(run, problem))

    def backward(self, problem: Problem) -> Callable[..., Any]:
        run = functools.partial(_MODULES[self.kernel].backward, problem, interpret=self.interpret)
        return _of_first_order(self.kernel, _batched(run, problem))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attention(call: _Call, problem: Problem, q: Any, k: Any, v: Any, segments: Any, bias: Any) -> Any:
    return _attention_forward(call, problem, q, k, v, segments, bias)[0]


def _attention_forward(call: _Call, problem: Problem, q: Any, k: Any, v: Any, segments: Any, bias: Any) -> Any:
    o, lse, residual = call.forward(problem)(q, k, v, segments, bias)
    return (o, lse if problem.lse else None), (q, k, v, segments, bias, o, residual)


def _attention_backward(call: _Call, problem: Problem, kept: Any, gradients: Any) -> Any:
    dq, dk, dv, dbias = call.backward(problem)(*kept, *gradients)
    return dq, dk, dv, None, dbias


_attention.defvjp(_attention_forward, _attention_backward)


def _of_first_order(kernel: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function`, a kernel's forward pass or gradient, which says why it has no derivative by itself."""
    run = jax.custom_jvp(function)

    @run.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        raise Unsupported(
            f"attention: {kernel} has gradients of the first order alone, got a gradient of a gradient; ask for xla, "
            f"which has reverse ones of any order, or reference, which has all"
        )

    return run


def _batched(function: Callable[..., Any], problem: Problem) -> Callable[..., Any]:
    """Returns `function` with a rule for a mapped axis: folded into the batch that all arrays have in front.

    A bias has none, so with one those of the axis come one after another.
    """
    if problem.bias:
        return jax.custom_batching.sequential_vmap(function)
    run = jax.custom_batching.custom_vmap(function)

    def over_axis(size: int, batched: Any, *arrays: Any) -> Any:
        def fold(x: jax.Array, has_axis: bool) -> jax.Array:
            x = x if has_axis else jnp.broadcast_to(x[None], (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:])

        outputs = run(*jax.tree.map(fold, arrays, tuple(batched)))
        outputs = jax.tree.map(lambda x: x.reshape(size, x.shape[0] // size, *x.shape[1:]), outputs)
        return outputs, jax.tree.map(lambda _: True, outputs)

    run.def_vmap(over_axis)
    return run
