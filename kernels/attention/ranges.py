"""Ranges of blocks: the key blocks that a query block sees, and the query blocks that see a key block.

Shape letters: see problem.py.
"""

from __future__ import annotations

import numpy as np

from jaxgen.kernels.attention.blocks import Blocks
from jaxgen.kernels.attention.problem import Problem


def key_blocks(problem: Problem, blocks: Blocks, query_count: int, key_count: int) -> np.ndarray:
    """Returns the first and the last key block of each query block (2, query_count) int32, ignoring segments."""
    first, last = _keys(problem, blocks, query_count)
    return np.stack([first // blocks.keys, np.minimum(last // blocks.keys, key_count - 1)]).astype(np.int32)


def query_blocks(problem: Problem, blocks: Blocks, query_count: int, key_count: int) -> np.ndarray:
    """Returns the first and the last query block of each key block (2, key_count) int32.

    If no query sees a key block, the first is 1 and the last 0.
    """
    first, last = key_blocks(problem, blocks, query_count, key_count)
    j = np.arange(key_count)[:, None]
    seeing = (first <= j) & (j <= last)
    found = np.stack([seeing.argmax(axis=1), query_count - 1 - seeing[:, ::-1].argmax(axis=1)])
    found[:, ~seeing.any(axis=1)] = [[1], [0]]
    return found.astype(np.int32)


def _keys(problem: Problem, blocks: Blocks, query_count: int) -> tuple[np.ndarray, np.ndarray]:
    positions = np.array(problem.positions)
    positions = np.pad(positions, (0, query_count * blocks.queries - len(positions)), mode="edge")
    positions = positions.reshape(query_count, blocks.queries)
    least, most = positions.min(axis=1), positions.max(axis=1)
    first = np.zeros_like(least) if problem.window is None else np.maximum(least - problem.window + 1, 0)
    last = np.full_like(most, problem.length - 1)
    if problem.causal:
        last = most
    elif problem.window is not None:
        last = np.minimum(most + problem.window - 1, problem.length - 1)
    return first, last
