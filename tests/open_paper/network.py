"""The network of `Elman`: in a file of its own, as it needs flax when it is read."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class ElmanNetwork(nn.Module):
    width: int
    vocabulary: int

    @nn.compact
    def __call__(self, tokens_BS: jax.Array, train: bool = False, dropout_rate: float = 0.0) -> jax.Array:
        read, recur = nn.Embed(self.vocabulary, self.width), nn.Dense(self.width, name="recurrent")
        h_BW = jnp.zeros((tokens_BS.shape[0], self.width))
        for at in range(tokens_BS.shape[1]):
            h_BW = jnp.tanh(read(tokens_BS[:, at]) + recur(h_BW))
        return nn.Dense(self.vocabulary)(h_BW)[:, None]
