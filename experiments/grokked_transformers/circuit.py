"""Logit lens and causal tracing of two-hop questions (Wang et al., arXiv 2405.15071, Sec. 3.3).

Shape letters: B questions, S input positions (h, r1, r2, answer), D width, K read-out positions, V tokens, E entities,
R relations.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.measures.evaluation import Evaluation, MemberSnapshots
from jaxgen.models.taps import capture, patch
from jaxgen.tasks.base import random_words
from jaxgen.tasks.facts.composition import CompositionTask

from .parts import Circuit

# The tokens of a question, each at its position.
ASKED = ("h", "r1", "r2")
_ANSWER = 3
# The key of the draw of other questions, beside the graph's seed; larger than those of the task's draws.
_OTHERS = 100


def circuit(config: Circuit, snapshots: MemberSnapshots) -> list[tuple[int, str, float]]:
    """Returns the lenses and effects of every snapshot; see `Circuit`."""
    task = snapshots.task
    assert isinstance(task, CompositionTask)
    questions_BS = np.asarray(snapshots.splits["train_inferred"].inputs)[: config.questions]
    tail_ER = known_tails(task)
    others = [other_questions(questions_BS, at, tail_ER, task) for at in range(len(ASKED))]
    others_3BS = np.stack([inputs_BS for inputs_BS, _ in others])
    exists_3B = np.stack([exists_B for _, exists_B in others])
    h, r1 = questions_BS[:, 0], questions_BS[:, 1] - task.entities
    bridge_B = tail_ER[h, r1]
    rows = []
    for step in sorted(snapshots.variables_by_step):
        values = _values(snapshots.evaluation(step), questions_BS, bridge_B, others_3BS, exists_3B)
        rows += [(step, f"{key}/train_inferred", value) for key, value in values.items()]
    return rows


def known_tails(task: CompositionTask) -> np.ndarray:
    """Returns (E, R) int64: the tail of the ID fact of an entity and a relation, -1 where there is none."""
    graph = task.graph()
    tail_ER = np.full((task.entities, task.relations), -1)
    head_F = np.repeat(np.arange(task.entities), task.out_degree)
    id_F = ~graph.ood_F
    tail_ER[head_F[id_F], graph.relation_F[id_F]] = graph.tail_F[id_F]
    return tail_ER


def other_questions(
    questions_BS: np.ndarray, at: int, tail_ER: np.ndarray, task: CompositionTask
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the questions (B, S) with another token of the same kind at position `at`, so that what follows from ID
    facts is no longer the answer, and whether there is such a token (B,) bool; the question itself where there is not.

    Another head may have no such facts. Another relation is one of the ID facts of the entity that it is asked of.
    """
    h, r1, r2 = questions_BS[:, 0], questions_BS[:, 1] - task.entities, questions_BS[:, 2] - task.entities
    answer_B = questions_BS[:, _ANSWER]
    if at == 0:
        bridge_BX = tail_ER[:, r1].T
        end_BX = np.where(bridge_BX >= 0, tail_ER[bridge_BX, r2[:, None]], -1)
        may_BX = end_BX != answer_B[:, None]
    elif at == 1:
        bridge_BX = tail_ER[h]
        may_BX = (bridge_BX >= 0) & (tail_ER[bridge_BX, r2[:, None]] != answer_B[:, None])
    else:
        end_BX = tail_ER[tail_ER[h, r1]]
        may_BX = (end_BX >= 0) & (end_BX != answer_B[:, None])
    words_BX = random_words(may_BX.size, seed=task.graph_seed, stream=_OTHERS + at).reshape(may_BX.shape)
    drawn_B = np.argmax(np.where(may_BX, words_BX >> np.uint64(1), np.uint64(0)), axis=1)
    exists_B = may_BX.any(axis=1)
    token_B = drawn_B + (0 if at == 0 else task.entities)
    others_BS = questions_BS.copy()
    others_BS[:, at] = np.where(exists_B, token_B, questions_BS[:, at])
    return others_BS, exists_B


def _values(
    evaluation: Evaluation,
    questions_BS: np.ndarray,
    bridge_B: np.ndarray,
    others_3BS: np.ndarray,
    exists_3B: np.ndarray,
) -> dict[str, float]:
    """Returns what `Circuit` measures of one snapshot, by key without the split."""
    own = _streams(evaluation, questions_BS)
    lenses = [(1, "bridge", bridge_B), (2, "r2", questions_BS[:, 2])]
    values = {
        f"mrr.{what}.{layer}": float(_reciprocal_rank(evaluation, questions_BS, x_BSD[:, at], token_B))
        for at, what, token_B in lenses
        for layer, x_BSD in enumerate(own, start=1)
    }
    answer_B = questions_BS[:, _ANSWER]
    # What is there already is put in place: no change.
    right_B = _answers(evaluation, questions_BS, 1, 0, own[0]) == answer_B
    for at, what in enumerate(ASKED):
        counts_B = right_B & exists_3B[at]
        for layer, x_BSD in enumerate(_streams(evaluation, others_3BS[at]), start=1):
            wrong_B = counts_B & (_answers(evaluation, questions_BS, layer, at, x_BSD) != answer_B)
            values[f"effect.{what}.{layer}"] = float(wrong_B.sum() / max(counts_B.sum(), 1))
    return values


@jax.jit
def _streams(evaluation: Evaluation, tokens_BS: jax.Array) -> list[jax.Array]:
    """Returns the residual stream (B, S, D) after every layer but the last."""
    taps = _taps(evaluation)[:-1]
    kept = capture(evaluation.module, evaluation.variables, tokens_BS, taps)
    return [kept[tap] for tap in taps]


@jax.jit
def _reciprocal_rank(evaluation: Evaluation, tokens_BS: jax.Array, x_BD: jax.Array, token_B: jax.Array) -> jax.Array:
    """Returns the mean reciprocal rank of tokens in a residual stream, read by the final norm and the output layer."""
    # The output of the last layer is replaced, so that of the network only what comes after it acts.
    edit = {_taps(evaluation)[-1]: lambda x_BKD: jnp.broadcast_to(x_BD[:, None], x_BKD.shape)}
    logits_BV = patch(evaluation.module, evaluation.variables, tokens_BS, edit)[:, 0]
    ahead_BV = logits_BV > jnp.take_along_axis(logits_BV, token_B[:, None], axis=1)
    return jnp.mean(1.0 / (1.0 + jnp.sum(ahead_BV, axis=1, dtype=jnp.float32)))


def _answers(evaluation: Evaluation, tokens_BS: np.ndarray, layer: int, at: int, x_BSD: jax.Array) -> np.ndarray:
    """Returns the likeliest answers (B,) where the stream after `layer` layers is at one position that of `x_BSD`."""
    return np.asarray(_patched(evaluation, tokens_BS, np.int32(at), x_BSD, layer=layer))


@functools.partial(jax.jit, static_argnames="layer")
def _patched(
    evaluation: Evaluation, tokens_BS: jax.Array, at: jax.Array, other_BSD: jax.Array, layer: int
) -> jax.Array:
    here_1S1 = jnp.arange(tokens_BS.shape[1])[None, :, None] == at
    edit = {_taps(evaluation)[layer - 1]: lambda x_BSD: jnp.where(here_1S1, other_BSD, x_BSD)}
    logits_BKV = patch(evaluation.module, evaluation.variables, tokens_BS, edit)
    return jnp.argmax(logits_BKV[:, evaluation.shape.readout.index(_ANSWER - 1)], axis=-1)


def _taps(evaluation: Evaluation) -> list[str]:
    layers = sum(name.startswith("block_") for name in evaluation.variables["params"])
    return [f"block_{i}/residual" for i in range(layers)]
