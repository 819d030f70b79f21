"""512 answers written by a model in one compiled call, beside the plain loop: `make bench-data`.

The plain loop calls a compiled forward pass over the whole sequence once for every token, as a first script does.
Sequences have 100 positions, of which all but 20 are answered; the model has 2 layers of width 64.
"""

from __future__ import annotations

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.distributed.environment import describe
from jaxgen.machine import device_name
from jaxgen.models.config import TransformerConfig
from jaxgen.models.decoding import greedy
from jaxgen.tasks.base import IGNORED, TaskShape

SEQUENCES, LENGTH, PROMPT, VOCABULARY = 512, 100, 20, 32
ROUNDS = 3


def main() -> None:
    shape = TaskShape(vocabulary=VOCABULARY, length=LENGTH, readout=tuple(range(LENGTH)), sizes=(("train", 1),))
    model = TransformerConfig(layers=2, width=64, heads=2, mlp_width=256, norm="pre").build(shape)
    variables = model.init(jax.random.key(0), shape.blank())
    words = np.random.default_rng(0).integers(VOCABULARY, size=(SEQUENCES, LENGTH + 1)).astype(np.int32)
    inputs, targets = words[:, :-1], np.where(np.arange(LENGTH) < PROMPT - 1, IGNORED, words[:, 1:])
    in_one_call = jax.jit(lambda v, i, t: greedy(model, v, shape, i, t))
    forward = jax.jit(lambda v, i: jnp.argmax(model.apply(v, i), axis=-1))

    def plain_loop() -> np.ndarray:
        tokens, answers = inputs.copy(), np.zeros_like(inputs)
        for at in range(LENGTH):
            answers[:, at] = np.asarray(forward(variables, tokens))[:, at]
            if PROMPT - 1 <= at < LENGTH - 1:
                tokens[:, at + 1] = answers[:, at]
        return answers

    def one_call() -> np.ndarray:
        return np.asarray(in_one_call(variables, inputs, targets))

    one_call(), forward(variables, inputs)  # compiled before the clock runs
    seconds: dict[str, list[float]] = {"one call": [], "plain loop": []}
    found = {}
    for _ in range(ROUNDS):
        for name, decode in (("one call", one_call), ("plain loop", plain_loop)):
            began = time.perf_counter()
            found[name] = decode()
            seconds[name].append(time.perf_counter() - began)
    same = np.mean(found["one call"] == found["plain loop"])
    ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    tokens = SEQUENCES * (LENGTH - PROMPT + 1)
    print(f"{device_name(describe())}: {SEQUENCES} sequences of {LENGTH}, {tokens} answers; {same:.2%} the same")
    for name, of in seconds.items():
        print(f"{name}: {tokens / statistics.median(of):,.0f} tokens/s")
    print(f"one call is {ratio:.1f}x as fast, the median of {ROUNDS} rounds")


if __name__ == "__main__":
    main()
