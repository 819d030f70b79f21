"""Block sizes of the flash kernels by device: data, each with how it was found.

None was measured: no device was at hand. `found` says so in every row, and the benchmark prints it.
"""

from __future__ import annotations

import dataclasses

from jaxgen.kernels.attention.problem import Problem


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How many queries and keys a program handles at a time."""

    queries: int
    keys: int

    def within(self, queries: int, keys: int, multiple: int) -> Blocks:
        """Returns the same, not larger than the sequence needs in multiples of `multiple`."""
        return Blocks(
            min(self.queries, -(-queries // multiple) * multiple), min(self.keys, -(-keys // multiple) * multiple)
        )


COUNTED = "chosen by counting, not measured"


@dataclasses.dataclass(frozen=True)
class TunedBlocks:
    """Blocks for heads up to `width` of numbers of `bytes` each."""

    width: int
    bytes: int
    blocks: Blocks
    found: str


# Four matrices of scores in float32 and twice the blocks of inputs stay below 12 of the 16 MiB that a TPU's kernel
# gets; larger blocks read keys less often: I queries take 2 I flops for each byte of bfloat16 keys and values.
TPU = (
    TunedBlocks(128, 2, Blocks(512, 1024), COUNTED),
    TunedBlocks(256, 2, Blocks(512, 512), COUNTED),
    TunedBlocks(128, 4, Blocks(512, 512), COUNTED),
    TunedBlocks(256, 4, Blocks(256, 512), COUNTED),
)


def tpu_blocks(problem: Problem) -> Blocks:
    """Returns the blocks of a TPU for heads of this width and type; the TPUs have one table."""
    size = 2 if problem.dtype == "bfloat16" else 4
    return next(row.blocks for row in TPU if row.bytes == size and problem.width <= row.width)


# A warpgroup's 64 queries; its registers hold 64 x keys scores and 64 x width sums in float32, 128 of them a thread.
GPU = (
    TunedBlocks(128, 2, Blocks(64, 128), COUNTED),
    TunedBlocks(256, 2, Blocks(64, 64), COUNTED),
    TunedBlocks(256, 4, Blocks(64, 64), COUNTED),
)


def gpu_blocks(problem: Problem) -> Blocks:
    """Returns the blocks of a Hopper GPU for heads of this width and type."""
    size = 4 if problem.dtype == "float32" else 2
    return next(row.blocks for row in GPU if row.bytes == size and problem.width <= row.width)
