"""LSTM, stacks and tapes: against their equations in plain numpy, their operations against the definition, and in
training."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.models.config import RecurrentConfig, StackConfig, TapeConfig
from jaxgen.models.decoding import greedy
from jaxgen.models.stack import acted
from jaxgen.models.tape import moved
from jaxgen.models.taps import capture, taps
from jaxgen.tasks.base import Source, TaskShape
from tests.test_decoding import TASK as REVERSAL
from tests.test_decoding import by_hand
from tests.test_models import _quick_compilation  # noqa: F401

acted, moved = jax.jit(acted), jax.jit(moved)

EMPTY, LENGTH = 5, 9
SHAPE = TaskShape(7, LENGTH, tuple(range(LENGTH)), (("train", 5), ("longer", 5)), source=Source(EMPTY, LENGTH))
LSTM = RecurrentConfig(cell="lstm", hidden=4, embedding=3)
STACK = StackConfig(cell="relu", hidden=4, embedding=3, stacks=2, cell_width=3)
TAPE = TapeConfig(cell="tanh", hidden=4, embedding=3, tapes=2, cell_width=3, cells=6, writer=(5, 4))
MODELS = {
    "lstm": LSTM,
    "lstm of two layers": dataclasses.replace(LSTM, layers=2),
    "stack": STACK,
    "stack of an lstm": dataclasses.replace(STACK, cell="lstm"),
    "tape": TAPE,
    "tape of a gru": dataclasses.replace(TAPE, cell="gru", cells=20),
}


def tokens(rows: int = 6) -> np.ndarray:
    """Sources of 1, 2, 3 ... tokens, each ended by EMPTY."""
    rng = np.random.default_rng(7)
    inputs = rng.integers(0, EMPTY, (rows, LENGTH)).astype(np.int32)
    for row, ends in enumerate(inputs):
        ends[1 + row :] = EMPTY
    return inputs


def drawn(model, shape: TaskShape = SHAPE):
    """The module with drawn variables, and its parameters in float64."""
    rng, module = np.random.default_rng(3), model.build(shape)
    abstract = jax.eval_shape(module.init, jax.random.key(0), tokens())
    variables = jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.4, leaf.shape), jnp.float32), abstract)
    return module, variables, jax.tree.map(np.float64, variables["params"])


# -- the equations, example by example and position by position


def dense(p, x):
    return x @ p["kernel"] + p.get("bias", 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def next_state(cell: str, given, from_state, h, c):
    """The state of one example, and the memory of an LSTM."""
    size = len(h)
    g, f = given.reshape(-1, size), from_state.reshape(-1, size)
    match cell:
        case "lstm":
            into, forget, new, out = g + f
            c = sigmoid(forget) * c + sigmoid(into) * np.tanh(new)
            return sigmoid(out) * np.tanh(c), c
        case "gru":
            reset, update = sigmoid(g[0] + f[0]), sigmoid(g[1] + f[1])
            return (1 - update) * np.tanh(g[2] + reset * f[2]) + update * h, c
        case "tanh":
            return np.tanh(g[0] + f[0]), c
        case _:
            return np.maximum(g[0] + f[0], 0), c


def stack_after(stack: list, actions, pushed) -> list:
    """One stack, from its top: what each action would leave, weighted."""
    zeros = np.zeros_like(pushed)
    outcomes = [pushed, *stack[:-1]], [*stack[1:], zeros], stack
    return [sum(a * cells[i] for a, cells in zip(actions, outcomes, strict=True)) for i in range(len(stack))]


def tape_after(tape: list, moves, written, jump: int) -> list:
    """One tape whose first cell is below the head: the head is at another place of the ring after every move."""
    tape = [written, *tape[1:]]
    heads = (0, 1, -1, jump, -jump)
    return [
        sum(a * tape[(head + i) % len(tape)] for a, head in zip(moves, heads, strict=True)) for i in range(len(tape))
    ]


def by_numpy(model, params, inputs: np.ndarray) -> np.ndarray:
    logits = np.zeros((*inputs.shape, SHAPE.vocabulary))
    for row, sequence in enumerate(inputs):
        x = params["embed"]["embedding"][sequence]
        jump = int(np.flatnonzero(sequence == EMPTY)[0])
        for name in sorted(name for name in params if name.startswith("layer_")):
            p, states = params[name], []
            h, c = np.zeros(model.hidden), np.zeros(model.hidden)
            count = getattr(model, "stacks", getattr(model, "tapes", 0))
            width = getattr(model, "cell_width", 0)
            cells = max(model.cells, LENGTH) if isinstance(model, TapeConfig) else LENGTH
            memories = [[np.zeros(width)] * cells for _ in range(count)]
            for token in x:
                given = dense(p["inputs"], token)
                if count:
                    given = given + dense(p["read"], np.concatenate([memory[0] for memory in memories]))
                h, c = next_state(model.cell, given, dense(p["states"], h), h, c)
                states.append(h)
                if count:
                    choices = dense(p["choose"], h).reshape(count, -1)
                    if isinstance(model, StackConfig):
                        new = dense(p["push"], h).reshape(count, width)
                        memories = [
                            stack_after(*each) for each in zip(memories, map(softmax, choices), new, strict=True)
                        ]
                    else:
                        new = h
                        for i in range(len(model.writer) + 1):
                            new = dense(p[f"writer_{i}"], np.maximum(new, 0) if i else new)
                        memories = [
                            tape_after(*each, jump)
                            for each in zip(memories, map(softmax, choices), new.reshape(count, width), strict=True)
                        ]
            x = np.stack(states)
        logits[row] = dense(params["output"], x)
    return logits


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_its_equations(name: str) -> None:
    module, variables, params = drawn(MODELS[name])
    found = np.asarray(jax.jit(module.apply)(variables, tokens()))
    np.testing.assert_allclose(found, by_numpy(MODELS[name], params, tokens()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
def test_an_lstm_is_that_of_torch(layers: int) -> None:
    torch = pytest.importorskip("torch")
    model = dataclasses.replace(LSTM, layers=layers)
    module, variables, params = drawn(model)
    other = torch.nn.LSTM(3, 4, layers, batch_first=True)
    state = {}
    for i in range(layers):
        for ours, theirs in (("inputs", "ih"), ("states", "hh")):
            state[f"weight_{theirs}_l{i}"] = torch.tensor(params[f"layer_{i}"][ours]["kernel"].T, dtype=torch.float32)
            state[f"bias_{theirs}_l{i}"] = torch.tensor(params[f"layer_{i}"][ours]["bias"], dtype=torch.float32)
    other.load_state_dict(state)
    read = torch.tensor(params["embed"]["embedding"][tokens()], dtype=torch.float32)
    expected = dense(params["output"], other(read)[0].detach().numpy())
    np.testing.assert_allclose(jax.jit(module.apply)(variables, tokens()), expected, rtol=1e-5, atol=1e-6)


# -- the operations


def weights(count: int) -> st.SearchStrategy[list[float]]:
    """Weights that sum to 1, often all of it on one."""
    sure = st.integers(0, count - 1).map(lambda i: [float(i == j) for j in range(count)])
    soft = st.lists(st.floats(0.0, 1.0, width=32), min_size=count, max_size=count).map(lambda x: list(softmax(x)))
    return sure | soft


@given(data=st.data(), steps=st.integers(1, 7), cells=st.sampled_from([1, 2, 6]))
def test_stacks_are_pushed_and_popped_by_degrees(data: st.DataObject, steps: int, cells: int) -> None:
    rng = np.random.default_rng(steps)
    ours, expected = jnp.zeros((2, 1, cells, 3)), [[np.zeros(3)] * cells for _ in range(2)]
    for _ in range(steps):
        actions = np.array([data.draw(weights(3)) for _ in range(2)])
        pushed = rng.normal(size=(2, 3))
        ours = acted(ours, jnp.asarray(actions[:, None], jnp.float32), jnp.asarray(pushed[:, None], jnp.float32))
        expected = [stack_after(*each) for each in zip(expected, actions, pushed, strict=True)]
        np.testing.assert_allclose(ours[:, 0], np.stack(expected), rtol=1e-5, atol=1e-5)


@given(actions=st.lists(st.sampled_from(["push", "pop", "no-op"]), max_size=12))
def test_sure_actions_are_those_of_a_stack(actions: list[str]) -> None:
    ours, real = jnp.zeros((1, 1, 12, 1)), []
    for number, action in enumerate(actions, start=1):
        weight = [float(action == each) for each in ("push", "pop", "no-op")]
        ours = acted(ours, jnp.array(weight)[None, None], jnp.full((1, 1, 1), float(number)))
        if action == "push":
            real.append(float(number))
        elif action == "pop" and real:
            real.pop()
        np.testing.assert_array_equal(ours[0, 0, :, 0], [*reversed(real), *[0.0] * (12 - len(real))])


@given(data=st.data(), steps=st.integers(1, 7), cells=st.sampled_from([1, 2, 7]))
def test_tapes_are_written_and_moved_by_degrees(data: st.DataObject, steps: int, cells: int) -> None:
    rng = np.random.default_rng(steps)
    jumps = [data.draw(st.integers(0, 20)) for _ in range(2)]
    ours, expected = jnp.zeros((2, 1, cells, 3)), [[np.zeros(3)] * cells for _ in range(2)]
    for _ in range(steps):
        moves = np.array([data.draw(weights(5)) for _ in range(2)])
        written = rng.normal(size=(2, 3))
        ours = moved(
            ours, jnp.asarray(moves[:, None], jnp.float32), jnp.asarray(written[:, None], jnp.float32),
            jnp.array(jumps, jnp.int32),
        )  # fmt: skip
        expected = [tape_after(*each) for each in zip(expected, moves, written, jumps, strict=True)]
        np.testing.assert_allclose(ours[:, 0], np.stack(expected), rtol=1e-5, atol=1e-5)


@given(moves=st.lists(st.integers(0, 4), max_size=12), jump=st.integers(1, 5))
def test_sure_moves_are_those_of_a_head(moves: list[int], jump: int) -> None:
    ours, real, head = jnp.zeros((1, 1, 70, 1)), dict.fromkeys(range(-100, 100), 0.0), 0
    for number, move in enumerate(moves, start=1):
        weight = jnp.array([float(move == each) for each in range(5)])
        ours = moved(ours, weight[None, None], jnp.full((1, 1, 1), float(number)), jnp.array([jump], jnp.int32))
        real[head] = float(number)
        head += (0, 1, -1, jump, -jump)[move]
        # The heads meet no end: 12 moves reach at most 60 cells, and no two of the last 5 are one cell of the ring.
        np.testing.assert_array_equal(ours[0, 0, :5, 0], [real[head + i] for i in range(5)])


def test_a_jump_is_as_long_as_each_examples_own_source() -> None:
    module, variables, _ = drawn(TAPE)
    apply = jax.jit(module.apply)
    alone = [np.asarray(apply(variables, tokens()[row : row + 1])) for row in range(6)]
    np.testing.assert_allclose(apply(variables, tokens()), np.concatenate(alone), rtol=1e-5, atol=1e-5)


def test_a_stack_lets_a_network_tell_what_no_state_holds() -> None:
    """A network of one hidden unit an action, made by hand, reverses strings of any length."""
    model = StackConfig(cell="relu", hidden=4, embedding=4, cell_width=1)
    shape = TaskShape(3, 24, tuple(range(24)), (), source=Source(2, 24))
    abstract = jax.eval_shape(model.build(shape).init, jax.random.key(0), shape.blank())
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), abstract["params"])
    # Units: a bit was read, that bit, an empty token was read, and the top of the stack while it is empty.
    params["embed"]["embedding"] = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    layer = params["layer_0"]
    layer["inputs"]["kernel"] = np.diag([1.0, 1, 1, 0]).astype(np.float32)
    layer["inputs"]["kernel"][0, 3] = -9
    layer["read"]["kernel"][0, 3] = 1
    layer["choose"]["kernel"][0, 0] = layer["choose"]["kernel"][2, 1] = 99
    layer["push"]["kernel"][0, 0] = layer["push"]["kernel"][1, 0] = 1  # 1 for the bit 0, 2 for the bit 1
    params["output"]["kernel"][3] = [-2, 2, 0]
    params["output"]["bias"] = np.array([3, -3, -9], np.float32)
    for length in (1, 5, 12):
        bits = np.random.default_rng(length).integers(0, 2, length)
        row = np.full((1, 24), 2, np.int32)
        row[0, :length] = bits
        answer = np.argmax(model.build(shape).apply({"params": params}, row)[0], axis=-1)
        np.testing.assert_array_equal(answer[length : 2 * length], bits[::-1])


# -- as parts


@pytest.mark.parametrize("name", ["lstm of two layers", "stack", "tape"])
def test_no_state_depends_on_a_later_token_and_members_are_apart(name: str) -> None:
    module, variables, _ = drawn(MODELS[name])
    apply = jax.jit(module.apply)
    logits = np.asarray(apply(variables, tokens()))
    changed = tokens()
    changed[:, -1] = 6
    np.testing.assert_array_equal(np.asarray(apply(variables, changed))[:, :-1], logits[:, :-1])
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, jnp.full_like(leaf, jnp.nan)]), variables)
    stacked = jax.jit(jax.vmap(module.apply, in_axes=(0, None)))(two, tokens())
    np.testing.assert_allclose(stacked[0], logits, rtol=1e-5, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda variables: jnp.sum(jnp.square(module.apply(variables, tokens())))))(variables)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)


def test_actions_moves_and_cells_can_be_tapped() -> None:
    for name, weight, cell, many in (("stack", "actions", "tops", 3), ("tape", "moves", "cells", 5)):
        module, variables, _ = drawn(MODELS[name])
        assert set(taps(module, variables, tokens())) == {f"layer_0/{each}" for each in ("hidden", weight, cell)}
        found = capture(module, variables, tokens(), [f"layer_0/{weight}", f"layer_0/{cell}"])
        assert found[f"layer_0/{weight}"].shape == (6, LENGTH, 2, many)
        np.testing.assert_allclose(found[f"layer_0/{weight}"].sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(found[f"layer_0/{cell}"][:, 0], 0)


@pytest.mark.parametrize("name", ["lstm of two layers", "stack of an lstm"])
def test_kept_states_give_what_the_whole_sequence_does(name: str) -> None:
    shape = REVERSAL.shape()
    module = MODELS[name].build(shape)
    variables = jax.jit(module.init)(jax.random.key(0), shape.blank())
    split = REVERSAL.table(0)["train"]
    assert MODELS[name].decodes(shape)
    ours = jax.jit(lambda v, i, t: greedy(module, v, shape, i, t))(variables, split.inputs, split.targets)
    np.testing.assert_array_equal(ours, by_hand(module, variables, split.inputs, split.targets))


def test_gates_are_sharded_and_the_rest_is_replicated() -> None:
    for model in (LSTM, STACK, TAPE):
        _, _, params = drawn(model)
        rules = [re.compile(pattern) for pattern, _ in model.sharding_rules()]
        names = [".".join(key.key for key in path) for path, _ in jax.tree.leaves_with_path(params)]
        sharded = {name for name in names if any(rule.search(name) for rule in rules)}
        memory = set() if model is LSTM else {"layer_0.read.kernel"}
        assert sharded == {"layer_0.inputs.kernel", "layer_0.states.kernel"} | memory


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="the tape of a TapeConfig jumps by the length of the source"):
        TAPE.build(dataclasses.replace(SHAPE, source=None))
    with pytest.raises(UserError, match="a StackConfig reads a sequence, the task gives real features"):
        STACK.build(TaskShape(2, 4, (0,), (), features=True))
    with pytest.raises(UserError, match="a TapeConfig has none yet"):
        dataclasses.replace(TAPE, dropout=0.1)
    with pytest.raises(UserError, match="cell: got 'elman', expected one of"):
        dataclasses.replace(STACK, cell="elman")
    assert not TAPE.decodes(SHAPE)
    assert not RecurrentConfig(cell="gru", hidden=4, whole=4).decodes(SHAPE)
