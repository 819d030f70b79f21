"""How several short sequences share a tile, and what a row of it sees.

Shape letters: see problem.py; T tiles.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.kernels.attention.problem import Problem

# Added to the scores of keys that a query does not see: their exponentials are exactly 0, and no difference is nan.
HIDDEN = -1e30
# The segment of a place in the last tile where no sequence is.
NOWHERE = np.iinfo(np.int32).min


@dataclasses.dataclass(frozen=True)
class Packing:
    """A tile: so many sequences, and their rows.

    Attributes:
      sequences: of a tile.
      queries: rows of a sequence, Q or a little more.
      length: its keys, S or a little more.
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

    def mask(self, problem: Problem) -> np.ndarray:
        """Returns (q_rows, k_rows) float32 to add to scores: 0 where a row sees another, `HIDDEN` elsewhere."""
        seen_QS = np.zeros((self.queries, self.length), bool)
        seen_QS[: len(problem.positions), : problem.length] = problem.seen()
        tile = np.kron(np.eye(self.sequences, dtype=bool), seen_QS)
        return np.where(tile, 0, HIDDEN).astype(np.float32)

    def pad(self, x_BSHC: jax.Array, length: int) -> jax.Array:
        """Returns rows (B * length, H * C), with zeros after the positions of each sequence."""
        batch, positions = x_BSHC.shape[:2]
        if positions < length:
            x_BSHC = jnp.pad(x_BSHC, ((0, 0), (0, length - positions), (0, 0), (0, 0)))
        return x_BSHC.reshape(batch * length, -1)

    def unpad(self, x_NC: jax.Array, like_BSHC: jax.Array) -> jax.Array:
        """Returns what `pad` was given, of its rows."""
        batch, positions = like_BSHC.shape[:2]
        return x_NC.reshape(batch, -1, *like_BSHC.shape[2:])[:, :positions]

    def segments(self, problem: Problem, segment_ids_BS: jax.Array, tiles: int) -> tuple[jax.Array, jax.Array]:
        """Returns the segment of each row of each tile: of queries (T, 1, q_rows), of keys (T, 1, k_rows)."""
        q_ids_BQ = segment_ids_BS[:, np.array(problem.positions)]

        def packed(ids_BS: jax.Array, length: int) -> jax.Array:
            more = (tiles * self.sequences - ids_BS.shape[0], length - ids_BS.shape[1])
            ids_BS = jnp.pad(ids_BS, ((0, more[0]), (0, more[1])), constant_values=NOWHERE)
            return ids_BS.reshape(tiles, 1, self.sequences * length)

        return packed(q_ids_BQ, self.queries), packed(segment_ids_BS, self.length)


def pack(queries: int, length: int, *, sublanes: int, rows: int) -> Packing:
    """Returns how sequences of `length` keys and `queries` queries are packed where rows come `sublanes` at a time.

    Tiles are filled up to `rows` rows; where whole sequences fill no multiple of `sublanes` rows within twice that,
    they are padded to multiples of 8.
    """
    for q, s in ((queries, length), (-(-queries // 8) * 8, -(-length // 8) * 8)):
        least = math.lcm(*(sublanes // math.gcd(sublanes, each) for each in (q, s)))
        if least * max(q, s) <= 2 * rows:
            break
    return Packing(max(1, rows // (least * max(q, s))) * least, q, s)


def among_all(problem: Problem, x_BQHC: jax.Array) -> jax.Array:
    """Returns what belongs to queries at their positions (B, S, H, C), zeros at the others."""
    batch, queries, *head = x_BQHC.shape
    if queries == problem.length:
        return x_BQHC
    return jnp.zeros((batch, problem.length, *head), x_BQHC.dtype).at[:, np.array(problem.positions)].set(x_BQHC)


def of_queries(problem: Problem, x_BSHC: jax.Array) -> jax.Array:
    """Returns what `among_all` was given (B, Q, H, C)."""
    if len(problem.positions) == problem.length:
        return x_BSHC
    return x_BSHC[:, np.array(problem.positions)]
