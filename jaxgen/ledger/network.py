"""A trained network in Python: its answers, its activations by name, and what it answers where these are changed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jaxgen.condition import Condition
from jaxgen.errors import UserError, nearest, shown

if TYPE_CHECKING:
    import jax
    import numpy as np
    from flax import linen as nn

    from jaxgen.tasks.base import Split


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedNetwork:
    """A member's network as it was at one step; it answers as it does when it is measured (no dropout, running
    statistics).

    Inputs are those of `examples`: B examples of S positions, (B, S) int32 tokens or float32 features, or (B, S, C)
    float32 channels. Logits are (B, K, V) float32, of the K positions that are read out and V tokens, classes or real
    outputs. All arrays that come out are numpy's.
    """

    condition: Condition
    seed: int
    step: int
    variables: Mapping[str, Any]  # Flax collections (`params`, perhaps `batch_stats`) of numpy arrays

    def __repr__(self) -> str:
        return f"TrainedNetwork({self.condition.name!r}, seed {self.seed}, step {self.step})"

    @functools.cached_property
    def module(self) -> nn.Module:
        """The Flax Linen module: `module.apply(variables, inputs)` gives the logits, also under `jit` and `grad`."""
        return self.condition.model.build(self.condition.task.shape(), self.condition.numerics.compute_dtype)

    @functools.cached_property
    def _splits(self) -> dict[str, Split]:
        return self.condition.task.table(self.seed)

    def examples(self, split: str = "test", count: int | None = None) -> Split:
        """Returns examples of a split of the seed's own data, as they are measured.

        Args:
          split: its name: `train`, mostly `test`, and what else the task has.
          count: how many, from the first; None: all.

        Returns:
          `inputs` as above; `targets` (B, K) int32 with IGNORED (-1) where there is none, or (B, K, V) float32;
          `true_targets`, the labels by the task's rule; `corrupted` (B,) bool.

        Raises:
          UserError: the task has no such split.
        """
        if split not in self._splits:
            raise UserError(f"no split '{split}'{nearest(split, self._splits)}")
        found = self._splits[split]
        return type(found)(*(column[:count] for column in found))

    def logits(self, inputs: Any) -> np.ndarray:
        """Returns the logits (B, K, V)."""
        return self.patched({}, inputs)

    def taps(self) -> dict[str, tuple[int, ...]]:
        """Returns the names of all activations, each with its shape for one example (a leading axis of 1).

        A name is the path of a `Tap` in the module: `hidden_0` of an MLP, `block_0/mlp/hidden` of a transformer. The
        axes of the engine's models: batch, position (after the last layer only the K that are read out), and width;
        of `attention/pattern` batch, head, query, key. In scanned layers (`blocks/...`) the first axis is the layer.
        """
        from jaxgen.models import taps

        found = taps.taps(self.module, self.variables, self._inputs(self.condition.task.shape().blank()))
        return {name: each.shape for name, each in found.items()}

    def activations(self, names: str | Collection[str], inputs: Any) -> dict[str, np.ndarray]:
        """Returns the activations at one tap or several, by name; axes as `taps` says, B examples.

        Raises:
          UserError: the network has no such tap (the nearest is named).
        """
        import numpy as np

        from jaxgen.models import taps

        wanted = [names] if isinstance(names, str) else list(names)
        with self._precision():
            found = taps.capture(self.module, self._device_variables, self._inputs(inputs), wanted)
        return {name: np.asarray(each) for name, each in found.items()}

    def patched(self, edits: Mapping[str, Callable[[jax.Array], Any]], inputs: Any) -> np.ndarray:
        """Returns the logits (B, K, V) with activations replaced on their way: activation patching, ablation.

        Args:
          edits: by tap, a function from the activation to what takes its place, of the same shape and dtype:
            `{"hidden_0": lambda x: x.at[:, 3].set(0)}`. In scanned layers it acts on each layer.
          inputs: the examples' inputs.

        Raises:
          UserError: the network has no such tap, or an edit gives another shape or dtype.
        """
        import numpy as np

        from jaxgen.models import taps

        checked = {name: functools.partial(_edited, name, edit) for name, edit in edits.items()}
        with self._precision():
            return np.asarray(taps.patch(self.module, self._device_variables, self._inputs(inputs), checked))

    @functools.cached_property
    def _device_variables(self) -> Any:
        import jax

        return jax.tree.map(jax.numpy.asarray, self.variables)

    def _inputs(self, inputs: Any) -> jax.Array:
        import jax.numpy as jnp

        blank = self.condition.task.shape().blank()
        array = jnp.asarray(inputs)
        if array.ndim != blank.ndim or array.shape[2:] != blank.shape[2:] or array.dtype.kind != blank.dtype.kind:
            wanted = ", ".join(["B", "S", *map(str, blank.shape[2:])])
            raise UserError(f"inputs: got {array.shape} {array.dtype}, expected ({wanted}) {blank.dtype}")
        return array.astype(blank.dtype)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        import jax

        with jax.default_matmul_precision(self.condition.numerics.matmul_precision):
            yield


def _edited(name: str, edit: Callable[[jax.Array], Any], x: jax.Array) -> jax.Array:
    import jax.numpy as jnp

    new = jnp.asarray(edit(x))
    if (new.shape, new.dtype) != (x.shape, x.dtype):
        raise UserError(
            f"the edit of {shown(name)} gave {new.shape} {new.dtype}, expected {x.shape} {x.dtype}, as it was given"
        )
    return new
