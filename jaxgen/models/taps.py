"""Captures and patches the activations of a model by name, for mechanistic measures.

A name is the module path of a `Tap`: `block_0/mlp/hidden`. The functions are pure, so they work under `jit` and
`vmap`. They evaluate the model (no dropout, running statistics).

The last layer computes only the read-out positions, so its taps have K positions, while the taps of earlier layers have
all S. A tap in scanned layers, `blocks/mlp/hidden`, names all of these layers: `capture` returns their activations
stacked on a leading axis, in the order of the layers, and `patch` applies the same edit to each. A tap in layers that
are looped stands for all loops in the same way, and always has all positions. Any other tap must run once a forward
pass, so a module that is called twice cannot hold one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
from flax import linen as nn
from flax import traverse_util

from jaxgen.errors import UserError, nearest

Edit = Callable[[jax.Array], jax.Array]

# The collection of captured activations; a scan stacks it, as it stacks the parameters.
TAPPED = "tapped"


class Tap(nn.Module):
    """Names a point of a model: returns its input, and has no parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def taps(module: nn.Module, variables: Mapping[str, Any], tokens_BS: jax.Array) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shape and dtype of the activation at every tap of the model; computes none."""

    def kept(variables: Mapping[str, Any], tokens_BS: jax.Array) -> Any:
        return _apply(module, variables, tokens_BS, None, _keep)[1].get(TAPPED, {})

    flat = traverse_util.flatten_dict(jax.eval_shape(kept, variables, tokens_BS), sep="/")
    return {name.removesuffix("/x"): shape for name, shape in flat.items()}


def capture(
    module: nn.Module, variables: Mapping[str, Any], tokens_BS: jax.Array, names: Collection[str]
) -> dict[str, jax.Array]:
    """Returns the activation at each of the taps `names`.

    Raises:
      UserError: the model has no such tap (the nearest is named).
    """
    _, state = _apply(module, variables, tokens_BS, names, _keep)
    flat = traverse_util.flatten_dict(state[TAPPED], sep="/") if names else {}
    return {name: flat[f"{name}/x"] for name in names}


def patch(
    module: nn.Module, variables: Mapping[str, Any], tokens_BS: jax.Array, edits: Mapping[str, Edit]
) -> jax.Array:
    """Returns the logits (B, K, V) with the activation of each tap in `edits` replaced by its edit.

    Raises:
      UserError: the model has no such tap (the nearest is named).
    """
    logits_BKV, _ = _apply(module, variables, tokens_BS, edits, lambda tap, name, x: edits[name](x))
    return logits_BKV


def _keep(tap: nn.Module, name: str, x: jax.Array) -> jax.Array:
    tap.put_variable(TAPPED, "x", x)
    return x


def _apply(
    module: nn.Module,
    variables: Mapping[str, Any],
    tokens_BS: jax.Array,
    names: Collection[str] | None,  # None: all
    at_tap: Callable[[nn.Module, str, jax.Array], jax.Array],
) -> tuple[jax.Array, Mapping[str, Any]]:
    met: set[str] = set()

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = call(*args, **kwargs)
        if not isinstance(context.module, Tap):
            return output
        name = "/".join(context.module.path)
        met.add(name)
        return at_tap(context.module, name, output) if names is None or name in names else output

    with nn.intercept_methods(intercept):
        logits_BKV, state = module.apply(variables, tokens_BS, mutable=[TAPPED])
    for name in names or ():
        if name not in met:
            raise UserError(f"no tap '{name}' in this model{nearest(name, met)}")
    return logits_BKV, state
