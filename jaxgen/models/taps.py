"""Capture and patch the activations of a model by name, for mechanistic measures.

A name is the module path of a `Tap`: `block_0/mlp/hidden`. Both functions are pure, so they work under `jit` and
`vmap`. They evaluate the model (no dropout, running statistics).

The last layer works at the read-out positions alone, so its taps have those K positions where the taps of the
earlier layers have all S. A tap runs once a pass: a module that is shared or scanned can hold none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
from flax import linen as nn

from jaxgen.errors import UserError, nearest

Edit = Callable[[jax.Array], jax.Array]


class Tap(nn.Module):
    """Names a point of a model: gives back its input, and holds no parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def capture(
    module: nn.Module, variables: Mapping[str, Any], tokens_BS: jax.Array, names: Collection[str]
) -> dict[str, jax.Array]:
    """Returns the activation at each of the taps `names`.

    Raises:
      UserError: the model has no such tap (the nearest is named).
    """
    found: dict[str, jax.Array] = {}

    def keep(name: str, x: jax.Array) -> jax.Array:
        found[name] = x
        return x

    _apply(module, variables, tokens_BS, names, keep)
    return found


def patch(
    module: nn.Module, variables: Mapping[str, Any], tokens_BS: jax.Array, edits: Mapping[str, Edit]
) -> jax.Array:
    """Returns the logits (B, K, V) with the activation of each tap in `edits` replaced by its edit.

    Raises:
      UserError: the model has no such tap (the nearest is named).
    """
    return _apply(module, variables, tokens_BS, edits, lambda name, x: edits[name](x))


def _apply(
    module: nn.Module,
    variables: Mapping[str, Any],
    tokens_BS: jax.Array,
    names: Collection[str],
    at_tap: Callable[[str, jax.Array], jax.Array],
) -> jax.Array:
    met: set[str] = set()

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = call(*args, **kwargs)
        if not isinstance(context.module, Tap):
            return output
        name = "/".join(context.module.path)
        met.add(name)
        return at_tap(name, output) if name in names else output

    with nn.intercept_methods(intercept):
        logits_BKV: Any = module.apply(variables, tokens_BS)
    for name in names:
        if name not in met:
            raise UserError(f"no tap '{name}' in this model{nearest(name, met)}")
    return logits_BKV
