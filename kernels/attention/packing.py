"""Packing of several short sequences into a tile, with the mask of its rows.

Shape letters: see problem.py; T tiles.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.kernels.attention.problem import OF_NO_KEY, OF_NO_QUERY, Problem, Segments

# The score of a hidden key in the maximum: no other score is smaller, and no difference is nan.
HIDDEN = float(np.finfo(np.float32).min)


@dataclasses.dataclass(frozen=True)
class Packing:
    """A tile: the number of its sequences, and their rows.

    Attributes:
      sequences: the number of sequences in a tile.
      queries: the query rows of a sequence: Q, maybe with padding.
      length: the key rows of a sequence: S, maybe with padding.
    """

    sequences: int
    queries: int
    length: int

    @property
    def q_rows(self) -> int:
        return self.sequences * self.queries

    @property
    def k_rows(self) -> int:
        return self.sequences * self.length

    def seen(self, problem: Problem) -> np.ndarray:
        """Returns (q_rows, k_rows) bool: which key rows a query row sees."""
        seen_QS = np.zeros((self.queries, self.length), bool)
        seen_QS[: len(problem.positions), : problem.length] = problem.seen()
        return np.kron(np.eye(self.sequences, dtype=bool), seen_QS)

    def pad(self, x_BSHC: jax.Array, length: int) -> jax.Array:
        """Returns rows (B * length, H * C), with zeros after the positions of each sequence."""
        batch, positions = x_BSHC.shape[:2]
        if positions < length:
            x_BSHC = jnp.pad(x_BSHC, ((0, 0), (0, length - positions), (0, 0), (0, 0)))
        return x_BSHC.reshape(batch * length, -1)

    def unpad(self, x_NC: jax.Array, like_BSHC: jax.Array) -> jax.Array:
        """Reverses `pad`: returns the array from its rows."""
        batch, positions = like_BSHC.shape[:2]
        return x_NC.reshape(batch, -1, *like_BSHC.shape[2:])[:, :positions]

    def segments(self, segments: Segments, tiles: int) -> tuple[jax.Array, jax.Array]:
        """Returns the segment of each row in each tile: of queries (T, 1, q_rows), of keys (T, 1, k_rows)."""

        def packed(ids_BS: jax.Array, length: int, nowhere: int) -> jax.Array:
            more = (tiles * self.sequences - ids_BS.shape[0], length - ids_BS.shape[1])
            ids_BS = jnp.pad(ids_BS, ((0, more[0]), (0, more[1])), constant_values=nowhere)
            return ids_BS.reshape(tiles, 1, self.sequences * length)

        return packed(segments[0], self.queries, OF_NO_QUERY), packed(segments[1], self.length, OF_NO_KEY)

    def bias(self, problem: Problem, bias_1HQS: jax.Array) -> jax.Array:
        """Returns the bias of each pair of rows (H or 1, q_rows, k_rows) float32, equal for all sequences."""
        shape = (bias_1HQS.shape[1], len(problem.positions), problem.length)
        bias_HQS = jnp.broadcast_to(bias_1HQS[0].astype(jnp.float32), shape)
        more = (self.queries - shape[1], self.length - shape[2])
        return jnp.tile(jnp.pad(bias_HQS, ((0, 0), (0, more[0]), (0, more[1]))), (1, self.sequences, self.sequences))

    def of_bias(self, x: jax.Array, like_1HQS: jax.Array) -> jax.Array:
        """Sums an array over pairs of rows (N, H, q_rows, k_rows) to the shape and dtype of the bias: the transpose of
        `bias`."""
        x = x.reshape(*x.shape[:2], self.sequences, self.queries, self.sequences, self.length)
        whole_HQS = jnp.einsum("nhaqas->hqs", x)
        sizes = like_1HQS.shape[1:]
        alike = tuple(i for i in range(3) if sizes[i] == 1)
        # Padding rows and columns see nothing, so they add nothing to a sum.
        found_HQS = jnp.sum(whole_HQS, axis=alike, keepdims=True) if alike else whole_HQS
        return found_HQS[None, : sizes[0], : sizes[1], : sizes[2]].astype(like_1HQS.dtype)


def pack(queries: int, length: int, *, sublanes: int, rows: int) -> Packing:
    """Returns the packing of sequences with `length` keys and `queries` queries, where the number of rows must be a
    multiple of `sublanes`.

    Tiles are filled up to `rows` rows. If whole sequences fill no multiple of `sublanes` rows within twice that, they
    are padded to multiples of 8.
    """
    for q, s in ((queries, length), (-(-queries // 8) * 8, -(-length // 8) * 8)):
        least = math.lcm(*(sublanes // math.gcd(sublanes, each) for each in (q, s)))
        if least * max(q, s) <= 2 * rows:
            break
    return Packing(max(1, rows // (least * max(q, s))) * least, q, s)


def room(problem: Problem) -> int:
    """Returns the number of positions that holds both queries and keys."""
    return max(problem.length, problem.positions[-1] + 1)


def among_all(problem: Problem, x_BQ: jax.Array, otherwise: int = 0) -> jax.Array:
    """Places an array over queries (B, Q, ...) at their positions (B, S, ...), with `otherwise` at the other
    positions."""
    batch, queries, *head = x_BQ.shape
    if queries == room(problem):
        return x_BQ
    others = jnp.full((batch, room(problem), *head), otherwise, x_BQ.dtype)
    return others.at[:, np.array(problem.positions)].set(x_BQ)


def of_queries(problem: Problem, x_BSHC: jax.Array) -> jax.Array:
    """Reverses `among_all`: returns (B, Q, ...)."""
    if len(problem.positions) == x_BSHC.shape[1]:
        return x_BSHC
    return x_BSHC[:, np.array(problem.positions)]
