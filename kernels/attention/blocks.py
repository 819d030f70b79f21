"""Block sizes of the flash kernels by device, each with the method that found it.

None was measured, because no device was available. `found` says so in every row, and the benchmark prints it.
"""

from __future__ import annotations

import dataclasses

from jaxgen.kernels.attention.problem import Problem


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The numbers of queries and keys that a program handles at a time."""

    queries: int
    keys: int

    def within(self, queries: int, keys: int, multiple: int) -> Blocks:
        """Returns these blocks, reduced to the smallest multiple of `multiple` that holds the sequence."""
        return Blocks(
            min(self.queries, -(-queries // multiple) * multiple), min(self.keys, -(-keys // multiple) * multiple)
        )


COUNTED = "chosen by counting, not measured"


@dataclasses.dataclass(frozen=True)
class TunedBlocks:
    """Blocks for heads up to `width` wide, with numbers of `bytes` bytes."""

    width: int
    bytes: int
    blocks: Blocks
    found: str


# Four matrices of float32 scores and two copies of the input blocks stay below 12 of the 16 MiB of a TPU kernel. #
# Larger blocks read keys less often: I queries give 2 I flops for each byte of bfloat16 keys and values.
TPU = (
    TunedBlocks(128, 2, Blocks(512, 1024), COUNTED),
    TunedBlocks(256, 2, Blocks(512, 512), COUNTED),
    TunedBlocks(128, 4, Blocks(512, 512), COUNTED),
    TunedBlocks(256, 4, Blocks(256, 512), COUNTED),
)


def tpu_blocks(problem: Problem) -> Blocks:
    """Returns the blocks of a TPU for heads with this width and dtype; all TPUs share one table."""
    size = 2 if problem.dtype == "bfloat16" else 4
    return next(row.blocks for row in TPU if row.bytes == size and problem.width <= row.width)


# A warpgroup has 64 queries. Its registers hold 64 x keys scores and 64 x width sums in float32, 128 per thread.
GPU = (
    TunedBlocks(128, 2, Blocks(64, 128), COUNTED),
    TunedBlocks(256, 2, Blocks(64, 64), COUNTED),
    TunedBlocks(256, 4, Blocks(64, 64), COUNTED),
)


def gpu_blocks(problem: Problem) -> Blocks:
    """Returns the blocks of a Hopper GPU for heads with this width and dtype."""
    size = 4 if problem.dtype == "float32" else 2
    return next(row.blocks for row in GPU if row.bytes == size and problem.width <= row.width)
