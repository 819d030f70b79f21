"""`attention`: one function, and the choice of its implementation.

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
    """Replaces a `tpu` or `gpu` device in tests: its kernels run as plain operations on the actual device.

    GPU kernels need a jax with an interpreter of Mosaic GPU (0.12 has one), which computes plain matrix products.
    """

    platform: Literal["tpu", "gpu"]
    device_kind: str = INTERPRETER
    compute_capability: str = "9.0"


@dataclasses.dataclass(frozen=True)
class Choice:
    """The requested and the chosen implementation, its kernel, and the reason."""

    asked: str
    taken: str
    kernel: str | None
    why: str


def choose(problem: Problem, asked: str, device: Any) -> Choice:
    """Returns the implementation that solves a problem on a device.

    `auto` takes a kernel if the capability table says that it ran on such a device and was faster, else XLA.

    Raises:
      ValueError: there is no such implementation.
      Unsupported: the implementation requested by name cannot do it; the message says why.
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
    """Returns softmax(softcap(scale q k + bias)) v, (B, Q, H, C) in the inputs' dtype.

    A query sees the keys that no argument hides. A query that sees none has an output of zeros and gradients of zero.
    Hidden keys never affect a query's output, and only the queries that see a key contribute to its gradients, even if
    other numbers are nan or infinite. If a query sees nan or infinity, all of its output is nan.

    Kernels have first-order reverse gradients, `xla` has reverse gradients of any order, and `reference` has all
    derivatives. A mapped axis (vmap, a population) is folded into the batch, or with a bias computed one by one. Inside
    a shard_map it needs `check_vma=False`.

    Args:
      q_BQHC: queries.
      k_BSGC: keys; head h of the queries uses head h // (H // G) of the keys.
      v_BSGC: values.
      causal: whether keys after a query's own position are hidden.
      segment_ids: (B, S) whole numbers; a query sees only keys in the segment of its position. Or a pair, those of the
        queries (B, Q) and those of the keys (B, S). The two lowest int32 are reserved.
      bias: (B, H, Q, S), where any size may be 1; added to the scores. -inf hides a key.
      window: a query sees keys less than this many positions away.
      scale: the factor of the products of queries and keys; None: 1 / sqrt(C).
      q_positions: the positions of the Q queries among the S positions; None: one query at each. Without causality and
        window None allows any number of queries.
      q_lengths: (B,) whole numbers, the number of valid queries in each example; the others see nothing.
      kv_lengths: (B,) whole numbers, the number of valid keys in each example; the others are hidden.
      softcap: scores go through softcap tanh(score / softcap), which keeps them between -softcap and softcap.
      with_lse: whether to return the logarithm of each query's sum of exponentials as well.
      implementation: see `choose`; `pallas` means this folder's kernels, `reference` the definition.
      device: the device that runs the program, or an `Interpreter`; None: jax's first.

    Returns:
      The output; with `with_lse` also the logarithm (B, H, Q) in float32 (float64 for float64), -inf for a query that
      sees no key.

    Raises:
      ValueError: the arguments do not fit together.
      Unsupported: the requested implementation cannot do it; the message says why.
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
    """A kernel and the options of its call."""

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
    """Wraps a kernel's forward pass or gradient so that differentiating it raises a clear error."""
    run = jax.custom_jvp(function)

    @run.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        raise Unsupported(
            f"attention: {kernel} has only first-order gradients, got a gradient of a gradient; ask for xla, "
            f"which has reverse gradients of any order, or reference, which has all"
        )

    return run


def _batched(function: Callable[..., Any], problem: Problem) -> Callable[..., Any]:
    """Returns `function` with a vmap rule that folds the mapped axis into the leading batch axis of all arrays.

    A bias has no batch axis, so with a bias the entries of the mapped axis are computed one after another.
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
