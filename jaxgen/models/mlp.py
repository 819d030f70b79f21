"""A fully connected network on features or one-hot encoded tokens, with layers that other models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxgen.models.config import Activation, MLPConfig
from jaxgen.models.sharding import Rules
from jaxgen.models.taps import Tap
from jaxgen.tasks.base import TaskShape

Initializer = Callable[..., jax.Array]

ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    # torch.nn.GELU's default is the exact function, not the tanh approximation.
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "tanh": jnp.tanh,
    "square": jnp.square,
    "identity": lambda x: x,
}


def torch_uniform(fan_in: int) -> Initializer:
    """Returns the initialiser of torch.nn.Linear's weights and biases: uniform(+-1/sqrt(fan_in))."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return draw


def torch_dense(width: int, fan_in: int, dtype: DTypeLike, name: str, *, use_bias: bool = True) -> nn.Dense:
    """Returns a linear layer that starts as torch.nn.Linear does."""
    init = torch_uniform(fan_in)
    return nn.Dense(width, use_bias=use_bias, kernel_init=init, bias_init=init, dtype=dtype, name=name)


def layer_norm(name: str, epsilon: float = 1e-5) -> nn.LayerNorm:
    """Returns torch's LayerNorm: of the deviations from the mean, not of the mean square less the squared mean."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)


def dropout(x: jax.Array, rate: float | jax.Array, key: jax.Array) -> jax.Array:
    """Returns `x` with each entry zeroed with probability `rate`, the others divided by 1 - rate.

    Unlike flax.linen.Dropout it takes a traced rate.
    """
    keep_probability = 1.0 - jnp.asarray(rate, jnp.float32)
    keep = jax.random.bernoulli(key, keep_probability, x.shape)
    return jnp.where(keep, x / keep_probability.astype(x.dtype), jnp.zeros_like(x))


def dropped(module: nn.Module, x: jax.Array, rate: float | jax.Array | None) -> jax.Array:
    """Returns `dropout` of `x` with a key of the module's; `x` itself where the rate is None."""
    return x if rate is None else dropout(x, rate, module.make_rng("dropout"))


# Mesh axes for the last dimensions of each parameter. Hidden widths are sharded: the outputs of each layer, and in the
# last layer the inputs.
_BOTH = ("fsdp", "tensor")
SHARDING_RULES: Rules = ((r"layer_\d+\.(kernel|bias)$", (_BOTH,)), (r"output\.kernel$", (_BOTH, None)))


class TokenDense(nn.Module):
    """A linear layer on the concatenated one-hot encodings of S tokens."""

    vocabulary: int
    width: int
    use_bias: bool
    kernel_init: Initializer
    bias_init: Initializer
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens_BS: jax.Array) -> jax.Array:
        length = tokens_BS.shape[1]
        kernel_SVW = self.param("kernel", self.kernel_init, (length, self.vocabulary, self.width), jnp.float32)
        # On a CPU a gather is 10 times faster forward and 7 times faster backward than the product with one-hot rows.
        y_BW = kernel_SVW.astype(self.dtype)[jnp.arange(length), tokens_BS].sum(axis=1)
        if self.use_bias:
            bias_W = self.param("bias", self.bias_init, (self.width,), jnp.float32)
            y_BW += bias_W.astype(self.dtype)[None]
        return y_BW


class MLP(nn.Module):
    """The network of an `MLPConfig`; see `ModelConfig.module` for the contract."""

    config: MLPConfig
    shape: TaskShape
    compute_dtype: DTypeLike

    @nn.compact
    def __call__(self, inputs_BS: jax.Array, train: bool = False, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        config, shape = self.config, self.shape
        fan_in = shape.length * (1 if shape.features else shape.vocabulary)
        x_BW = inputs_BS
        for i, width in enumerate(config.hidden):
            options = self._dense_options(fan_in)
            if i == 0 and not shape.features:
                x_BW = TokenDense(shape.vocabulary, width, name="layer_0", **options)(inputs_BS)
            else:
                x_BW = nn.Dense(width, name=f"layer_{i}", **options)(x_BW)
            if train and config.dropout > 0:
                x_BW = dropout(x_BW, dropout_rate, self.make_rng("dropout"))
            x_BW = Tap(name=f"hidden_{i}")(ACTIVATIONS[config.activation](x_BW))
            if config.batch_norm:
                # The settings of torch.nn.BatchNorm1d, except that the running variance is biased.
                norm = nn.BatchNorm(momentum=0.9, epsilon=1e-5, use_fast_variance=False, name=f"norm_{i}")
                x_BW = norm(x_BW.astype(jnp.float32), use_running_average=not train)
            fan_in = width
        logits_BV = nn.Dense(shape.vocabulary, name="output", **self._dense_options(fan_in))(x_BW)
        return logits_BV[:, None].astype(jnp.float32)

    def _dense_options(self, fan_in: int) -> dict[str, Any]:
        if self.config.init_std is None:
            kernel_init = bias_init = torch_uniform(fan_in)
        else:
            kernel_init, bias_init = nn.initializers.normal(self.config.init_std), nn.initializers.zeros
        return {
            "use_bias": self.config.bias,
            "kernel_init": kernel_init,
            "bias_init": bias_init,
            "dtype": self.compute_dtype,
        }
