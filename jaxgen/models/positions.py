"""Positions: how a transformer knows where a token stands. `Positions` is the contract for your own. Imports no jax
until a network is built.

A kind says *where* tokens stand (their places), and how a place is *coded*: as a vector that is added to the token's,
as a rotation of queries and keys, or as a bias of the attention scores. `Shifted` and `Randomised` change the places of
another kind, and leave the code to it.

Shape letters: B examples, S positions, Q queries, P places, N distances, H heads, C width of a head, D width.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from jaxgen.config import Config, Positive, PositiveInt, Range, Size
from jaxgen.errors import UserError
from jaxgen.tasks.base import random_order

if TYPE_CHECKING:
    from jaxgen.models.config import TransformerConfig

# Places or vectors: a numpy array where they are known when the network is built, else a jax array.
Array = Any

# Keys the places at which randomised positions are measured, in numpy's stream: the same in every run.
_MEASURED = 2305_16843


@dataclasses.dataclass(frozen=True, kw_only=True)
class Positions(Config, family=True):
    """Where tokens stand, and how a transformer is told.

    Your own kind gives one of `embedding`, `turned` and `bias`.
    """

    # Whether it tells distances and nothing else. Its S places are the distances of 0 to S - 1 steps.
    relative: ClassVar[bool] = False
    # Whether it gives an `embedding`, `turned` queries and keys, or a `bias` of the scores.
    embeds: ClassVar[bool] = False
    turns: ClassVar[bool] = False
    biases: ClassVar[bool] = False

    def check_model(self, model: TransformerConfig) -> None:
        """Raises `UserError` if a model of these widths cannot have such positions."""

    def check_length(self, longest: int) -> None:
        """Raises `UserError` if there are too few places for examples of `longest` positions."""

    def draws(self) -> bool:
        """Returns whether training draws places. It then gives the module the random stream `positions`."""
        return False

    def code(self) -> Positions:
        """Returns the kind that codes the places."""
        return self

    def attends(self) -> bool:
        """Returns whether attention needs the places."""
        return self.turns or self.biases

    def rows(self, longest: int) -> int:
        """Returns P: places are from 0 to P - 1, in examples of up to `longest` positions."""
        return longest

    def places(self, length: int, examples: int, key: Any = None) -> Array:
        """Returns int32 places: (S,), the same for all examples, or (B, S).

        Args:
          length: S.
          examples: B.
          key: the key of the draw while training; None: the model is measured.
        """
        return np.arange(length, dtype=np.int32)

    def embedding(self, place_S: Array, rows: int, width: int, init: Any) -> Array:
        """Returns what is added to the tokens' vectors: (S, D) float32, or (B, S, D) like the places.

        Called within a Flax module, which owns the parameters.

        Args:
          place_S: the places, (S,) or (B, S).
          rows: P.
          width: D.
          init: the initializer of embeddings.
        """
        raise NotImplementedError

    def turned(self, x_BSHC: Array, place_S: Array, rows: int) -> Array:
        """Returns queries or keys (B, S, H, C), turned according to their places (S,) or (B, S)."""
        raise NotImplementedError

    def bias(self, q_BHQC: Array, k_BHSC: Array, steps_QS: Array, place_S: Array, rows: int, given: Any) -> Array:
        """Returns what is added to the scaled scores: float32, broadcast to (B, H, Q, S).

        Called within a Flax module, which owns the parameters.

        Args:
          q_BHQC, k_BHSC: queries and keys.
          steps_QS: int32, the index of the query less that of the key.
          place_S: the places, (S,).
          rows: P.
          given: how the model scores (jaxgen.models.distances.Scoring).
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPositions(Positions):
    """None. A causal model can still tell places, from how much each position sees."""

    word: ClassVar[str] = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned(Positions):
    """A learned vector for each place is added to the token's. A place that no training example has stays as drawn."""

    word: ClassVar[str] = "learned"
    embeds: ClassVar[bool] = True

    def embedding(self, place_S: Array, rows: int, width: int, init: Any) -> Array:
        import jax.numpy as jnp
        from flax import linen as nn

        table = nn.Embed(rows, width, embedding_init=init, name="positions")
        # Places from 0 on are reckoned in the program, as they always were: recorded runs keep theirs, bit for bit.
        known = isinstance(place_S, np.ndarray) and np.array_equal(place_S, np.arange(place_S.size))
        return table(jnp.arange(place_S.size) if known else jnp.asarray(place_S))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sinusoidal(Positions):
    """Sines and cosines of the place, of wavelengths from 2 pi to 20,000 pi, are added (Vaswani et al., arXiv
    1706.03762, section 3.5)."""

    word: ClassVar[str] = "sinusoidal"
    embeds: ClassVar[bool] = True

    def check_model(self, model: TransformerConfig) -> None:
        if model.width % 2:
            raise UserError(f"model.width: got {model.width}, expected an even number: sines and cosines pair up")

    def embedding(self, place_S: Array, rows: int, width: int, init: Any) -> Array:
        from jaxgen.models.distances import looked_up, sinusoids

        return looked_up(sinusoids(np.arange(rows), width), place_S)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotary(Positions):
    """Queries and keys are turned by angles that are proportional to the place, so that their product depends on the
    distance alone (Su et al., arXiv 2104.09864): entries 2i and 2i + 1 of a head, as a pair, by place / base^(2i / C).
    """

    turns: ClassVar[bool] = True

    base: Positive = 10_000.0

    def check_model(self, model: TransformerConfig) -> None:
        if model.width // model.heads % 2:
            raise UserError(
                f"model.heads: got {model.heads} heads that are {model.width // model.heads} wide, expected an even "
                "width: Rotary turns pairs of numbers"
            )

    def turned(self, x_BSHC: Array, place_S: Array, rows: int) -> Array:
        from jaxgen.models.distances import turned

        return turned(x_BSHC, place_S, rows, self.base)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ALiBi(Positions):
    """The further a key, the lower its score: by a slope times the distance (Press et al., arXiv 2108.12409).

    Each head has its own slope, a power of 2^(-8 / H) for H heads; where H is no power of 2, those of the power below,
    and every other one of the power above. In an encoder, keys before the query are half a step nearer than those
    after it, or else both sides would look alike (as in the code of arXiv 2305.16843).
    """

    relative: ClassVar[bool] = True
    biases: ClassVar[bool] = True

    def bias(self, q_BHQC: Array, k_BHSC: Array, steps_QS: Array, place_S: Array, rows: int, given: Any) -> Array:
        from jaxgen.models.distances import falling

        return falling(steps_QS, place_S, q_BHQC.shape[1], given.causal)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerXL(Positions):
    """Scores of contents and of distances, with a learned bias of each (Dai et al., arXiv 1901.02860, section 3.3).

    (q + u) k + (q + v) W r, of the query q, the key k and the sinusoids r of their distance; u and v are a vector a
    head, W a matrix. Each layer has its own, as in the code of arXiv 2207.02098; u and v are drawn N(0, 0.02^2).
    """

    relative: ClassVar[bool] = True
    biases: ClassVar[bool] = True

    def check_model(self, model: TransformerConfig) -> None:
        Sinusoidal().check_model(model)

    def bias(self, q_BHQC: Array, k_BHSC: Array, steps_QS: Array, place_S: Array, rows: int, given: Any) -> Array:
        from jaxgen.models.distances import ContentAndDistance

        return ContentAndDistance(rows, given, name="distances")(q_BHQC, k_BHSC, steps_QS, place_S)


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Buckets(Positions):
    """A learned number for each head and bucket of distances is added to the score (Raffel et al., arXiv 1910.10683).

    An encoder has half of the buckets for keys after the query, and half for the others; a decoder has all for the
    others. Half of a side's buckets hold one distance each, the other half are as wide as the logarithm of the distance
    has it, up to `furthest`; all that is further is in the last. Each layer has its own numbers, while in T5 all layers
    share those of the first; they are drawn N(0, 1/D), as there.
    """

    relative: ClassVar[bool] = True
    biases: ClassVar[bool] = True

    buckets: Annotated[int, Range(at_least=4, at_most=10**5)] = 32
    furthest: PositiveInt = 128

    def validate(self) -> None:
        if self.buckets % 4:
            raise UserError(
                f"buckets: got {self.buckets}, expected a multiple of 4: sides and kinds of buckets halve it"
            )
        if self.furthest <= self.buckets // 2:
            raise UserError(
                f"furthest: got {self.furthest}, expected more than {self.buckets // 2}: so many distances have a "
                "bucket each"
            )

    def bias(self, q_BHQC: Array, k_BHSC: Array, steps_QS: Array, place_S: Array, rows: int, given: Any) -> Array:
        from jaxgen.models.distances import BucketBias

        return BucketBias(self.buckets, self.furthest, rows, given, name="distances")(q_BHQC, steps_QS, place_S)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Drawn(Positions, family=True):
    """Places of another kind that training draws, from 0 to `up_to` - 1."""

    of: Positions
    up_to: Size

    def check_model(self, model: TransformerConfig) -> None:
        self.of.check_model(model)

    def check_length(self, longest: int) -> None:
        if longest > self.up_to:
            raise UserError(
                f"model.positions.up_to: got {self.up_to}, expected at least {longest}: the longest examples have so "
                "many positions"
            )

    def draws(self) -> bool:
        return True

    def code(self) -> Positions:
        return self.of

    def rows(self, longest: int) -> int:
        return self.up_to


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shifted(_Drawn):
    """While training, the places of each example begin at one of its own, uniform from 0 to `up_to` - S; when measured,
    at 0. So all `up_to` places are trained, though no example is as long (arXiv 2310.16028 has this from packed
    contexts; a shift of each example is that of arXiv 2410.02140).

    Shifts of step s depend on the run's seed and s alone. The parts of a batch that is cut up (microbatches, logical
    shards) draw the same ones.
    """

    of: Positions = Learned()

    def validate(self) -> None:
        if not self.of.embeds or self.of.code() != self.of:
            raise UserError(
                f"model.positions.of: got {type(self.of).__name__}, expected Learned or Sinusoidal: "
                "a shift changes nothing else"
            )

    def places(self, length: int, examples: int, key: Any = None) -> Array:
        if key is None:
            return np.arange(length, dtype=np.int32)
        from jaxgen.models.distances import shifted

        return shifted(key, length, examples, self.up_to)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Randomised(_Drawn):
    """S places are drawn from `up_to`, without replacement, and sorted (Ruoss et al., arXiv 2305.16843), so that long
    examples have no places, or distances, that short ones do not train.

    One draw is for the whole batch. Each step of training has its own, which depends on the run's seed and the step
    alone. When measured, the places are the first S of one fixed order, sorted: the same at every step and in every
    run, so that what is measured is a function of the parameters. (The paper draws anew.)

    A kind that knows distances alone gets drawn distances: of d steps the d-th of S - 1 that are drawn from 1 to
    `up_to` - 1, on both sides of a token the same.
    """

    up_to: Size = 2048

    def validate(self) -> None:
        if self.of.code() != self.of or not (self.of.embeds or self.of.turns or self.of.biases):
            raise UserError(
                f"model.positions.of: got {type(self.of).__name__}, expected a kind of positions that codes places, "
                "such as Rotary or ALiBi"
            )

    def places(self, length: int, examples: int, key: Any = None) -> Array:
        # A relative kind's own place is no draw: the distance of 0 steps is 0.
        first = int(self.of.relative)
        count, among = length - first, self.up_to - first
        if key is None:
            drawn_S = np.sort(random_order(among, seed=0, stream=_MEASURED)[:count]).astype(np.int32) + np.int32(first)
            return np.concatenate([np.zeros(first, np.int32), drawn_S])
        from jaxgen.models.distances import chosen

        return chosen(key, count, among, first)
