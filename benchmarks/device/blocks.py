"""Which blocks of queries and keys make the flash kernel of GPUs fastest, for `jaxgen.kernels.attention.blocks`."""

from __future__ import annotations

import functools
import itertools

import jax

from benchmarks.device import Record
from jaxgen.kernels.attention import blocks
from jaxgen.kernels.attention.bench import Shape, rivals
from jaxgen.kernels.attention.blocks import Blocks, TunedBlocks

SHAPES = (Shape(8, 2048, 32, 64), Shape(8, 2048, 16, 128), Shape(4, 2048, 8, 256))


def run(record: Record, tiny: bool) -> None:
    kept = blocks.GPU
    for shape, (queries, keys) in itertools.product(
        SHAPES[:1] if tiny else SHAPES, ((64, 64),) if tiny else ((64, 64), (64, 128), (64, 192), (64, 256), (64, 32))
    ):
        blocks.GPU = (TunedBlocks(256, 2, Blocks(queries, keys), "tried"), *kept)
        jax.clear_caches()
        for gradient in (False, True):
            about = {"C": shape.width, "S": shape.length, "queries": queries, "keys": keys, "gradient": gradient}
            by = rivals(on_cpu=tiny)["xla" if tiny else "pallas"]
            timed = functools.partial(by, Shape(1, 16, 1, 16) if tiny else shape, gradient, "bfloat16")
            try:
                took = timed(0.001 if tiny else 0.05)
            except Exception as error:  # blocks that do not fit are an answer, too
                record(**about, failed=f"{type(error).__name__}: {str(error)[:300]}")
            else:
                record(**about, us=1e6 * took, teraflops=shape.flops(gradient) / took / 1e12)
    blocks.GPU = kept
