"""Measures how fast attention is on this device: `python -m jaxgen.kernels.attention.bench`.

For each shape it times forward, and forward with gradient: this folder's kernels beside XLA, cuDNN, tokamax and torch
if they are installed. Short shapes are bound by memory, so they are reported in GB/s of the minimal traffic (each input
read once, each output written once). Long shapes are reported in TFLOP/s by the convention of the FlashAttention papers
(4 B H S^2 C forward, 2.5 times that backward, half if causal). Each rate comes with its share of the device's peak.

On a CPU kernels are only interpreted, so they are not timed: XLA alone on small shapes shows that the program runs.
`--capabilities` prints what each kernel can do.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.kernels.attention.blocks import GPU, TPU
from jaxgen.kernels.attention.capability import KERNELS, platform_of
from jaxgen.kernels.attention.dispatch import attention
from jaxgen.kernels.attention.problem import Unsupported

# Bytes and bfloat16 operations a second by kind of device, from the makers' data (NVIDIA's data sheets of the SXM #
# modules, without sparsity; docs.cloud.google.com/tpu/docs, halved if jax sees a chip as two devices).
CEILINGS = {
    "NVIDIA H100 80GB HBM3": (3350e9, 989e12),
    "NVIDIA H200": (4800e9, 989e12),
    "TPU v5 lite": (819e9, 197e12),
    "TPU v5": (2765e9, 459e12),
    "TPU v6 lite": (1638e9, 918e12),
    "TPU7x": (3690e9, 1153.5e12),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """A causal attention to time, with B examples, S positions and H heads of width C."""

    batch: int
    length: int
    heads: int
    width: int

    @property
    def short(self) -> bool:
        return self.length <= 64

    def bytes(self, gradient: bool, size: int) -> int:
        """The minimal traffic: q, k, v and o in the forward pass; for the gradient also do and three gradients."""
        return (4 + (7 if gradient else 0)) * self.batch * self.length * self.heads * self.width * size

    def flops(self, gradient: bool) -> float:
        return 4 * self.batch * self.heads * self.length**2 * self.width / 2 * (3.5 if gradient else 1)


SHORT = tuple(
    Shape(65536 // length, length, 128 // width, width) for length in (4, 5, 8, 16, 32, 64) for width in (32, 64, 128)
)
LONG = tuple(
    Shape(16384 // length, length, 2048 // width, width) for width in (64, 128) for length in (512, 2048, 8192, 16384)
)
SMALL = (Shape(256, 5, 4, 32), Shape(32, 64, 4, 32), Shape(2, 256, 2, 64))


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--capabilities", action="store_true", help="print what each kernel can do, and time nothing")
    parser.add_argument("--shapes", choices=["short", "long", "all"], default="all")
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--seconds", type=float, default=0.3, help="time of each measurement, of which there are five")
    asked = parser.parse_args(arguments)
    if asked.capabilities:
        print(capabilities())
        return
    device = jax.devices()[0]
    on_cpu = platform_of(device) == "cpu"
    print(f"{device.device_kind} ({platform_of(device)}), jax {jax.__version__}, {asked.dtype}, causal")
    if on_cpu:
        print("Kernels are only interpreted here, so they are not timed; small shapes, XLA alone.")
    if device.device_kind not in CEILINGS:
        print("The peak of this device is unknown, so no share of it is shown.")
    chosen = {"short": SHORT, "long": LONG, "all": SHORT + LONG}[asked.shapes]
    print(f"{'B':>6} {'S':>6} {'H':>3} {'C':>4}  {'of':<9} {'by':<8} {'time':>12} {'rate':>16} {'of ceiling':>10}")
    for shape in SMALL if on_cpu else chosen:
        for gradient in (False, True):
            for name, function in rivals(on_cpu).items():
                print(_row(shape, gradient, name, function, asked.dtype, asked.seconds, device), flush=True)


def _row(shape: Shape, gradient: bool, name: str, function: Any, dtype: str, seconds: float, device: Any) -> str:
    of = "gradient" if gradient else "forward"
    where = f"{shape.batch:>6} {shape.length:>6} {shape.heads:>3} {shape.width:>4}  {of:<9} {name:<8}"
    try:
        took = function(shape, gradient, dtype, seconds)
    except Unsupported as error:
        return f"{where} {error}"
    except Exception as error:  # a rival that breaks must not end the table
        return f"{where} failed: {type(error).__name__}: {(str(error) or ' ').splitlines()[0][:80]}"
    bandwidth, flops = CEILINGS.get(device.device_kind, (float("nan"), float("nan")))
    if shape.short:
        rate, ceiling, unit = shape.bytes(gradient, jnp.dtype(dtype).itemsize) / took, bandwidth, (1e9, "GB/s")
    else:
        rate, ceiling, unit = shape.flops(gradient) / took, flops, (1e12, "TFLOP/s")
    share = f"{rate / ceiling:>10.0%}" if ceiling == ceiling else f"{'-':>10}"
    return f"{where} {took * 1e6:>9.1f} us {rate / unit[0]:>8.1f} {unit[1]:<7} {share}"


def rivals(on_cpu: bool) -> dict[str, Callable[[Shape, bool, str, float], float]]:
    """Returns the implementations to time, by name: functions of a shape that return the seconds of one pass."""
    if on_cpu:
        return {"xla": functools.partial(_seconds, _ours("xla"))}
    found: dict[str, Callable[[Shape, bool, str, float], float]] = {
        name: functools.partial(_seconds, _ours(name)) for name in ("pallas", "xla", "cudnn")
    }
    if importlib.util.find_spec("tokamax") is not None:
        found["tokamax"] = functools.partial(_seconds, _tokamax)
    if importlib.util.find_spec("torch") is not None:
        found["torch"] = _torch_seconds
    return found


def _ours(implementation: Any) -> Callable[[Any, Any, Any], Any]:
    return functools.partial(attention, causal=True, implementation=implementation)


def _tokamax(q: Any, k: Any, v: Any) -> Any:
    import tokamax

    return tokamax.dot_product_attention(q, k, v, is_causal=True)


def _seconds(function: Any, shape: Shape, gradient: bool, dtype: str, seconds: float) -> float:
    """Returns the median time of a pass of `function(q, k, v)`; a program runs many passes one after another."""
    arrays = tuple(
        jax.random.normal(key, (shape.batch, shape.length, shape.heads, shape.width), jnp.float32).astype(dtype)
        for key in jax.random.split(jax.random.key(0), 3)
    )

    def once(_: int, arrays: Any) -> Any:
        # Each pass reads the previous one's results, so XLA can remove none.
        o, gradients = jax.vjp(function, *arrays) if gradient else (function(*arrays), None)
        return gradients(o) if gradients is not None else (o, *arrays[1:])

    passes = jax.jit(lambda times, arrays: jax.lax.fori_loop(0, times, once, arrays))

    def run(times: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(passes(times, arrays))
        return time.perf_counter() - began

    return _median(run, seconds)


def _torch_seconds(shape: Shape, gradient: bool, dtype: str, seconds: float) -> float:
    import torch

    if not torch.cuda.is_available():
        raise Unsupported("torch sees no GPU")
    q, k, v = (
        torch.randn(
            (shape.batch, shape.heads, shape.length, shape.width),
            device="cuda",
            dtype=getattr(torch, dtype),
            requires_grad=gradient,
        )
        for _ in range(3)
    )

    def run(times: int) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(times):
            o = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            if gradient:
                torch.autograd.grad(o, (q, k, v), o.detach())
        torch.cuda.synchronize()
        return time.perf_counter() - began

    return _median(run, seconds)


def _median(run: Callable[[int], float], seconds: float) -> float:
    run(1)  # compiles
    times = max(1, round(seconds / max(run(2) / 2, 1e-7)))
    return statistics.median(run(times) / times for _ in range(5))


def capabilities() -> str:
    """Returns the capability table, and the sources of the block sizes."""
    lines = []
    for kernel in KERNELS:
        least, most, multiple = kernel.width
        as_others = [f"{dtype} (as {as_})" if dtype != as_ else dtype for dtype, as_ in kernel.dtypes.items()]
        lines += [
            f"{kernel.name}: model.attention={kernel.implementation}",
            f"  numbers       {', '.join(as_others)}",
            f"  heads         {least} to {most} wide, multiples of {multiple}",
            f"  positions     {'any number' if kernel.longest is None else f'{kernel.longest} at most'}",
            *[f"  no {feature:<11} {reason}" for feature, reason in kernel.lacks.items()],
            f"  compiled for  {', '.join(kernel.compiled_for)}",
            f"  run on        {', '.join(kernel.run_on) or 'nothing yet: it was never run on hardware'}",
        ]
    for platform, table in (("tpu", TPU), ("gpu", GPU)):
        for row in table:
            blocks = f"{row.blocks.queries} queries x {row.blocks.keys} keys"
            lines.append(f"{platform}_flash, heads to {row.width}, {row.bytes} bytes: {blocks}, {row.found}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
