"""Plans of Blocksworld carried out by a simulator that refuses what is not allowed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.graphs.blocksworld import BlocksworldTask
from tests.reading import check_sizes, read, words_of

Stacks = list[list[int]]  # each from its bottom


def stacks_of(words: list[str]) -> Stacks:
    text = " ".join(words).removesuffix(";") if words else ""
    return [[int(name[1:]) for name in stack.split()] for stack in text.split(";")] if text else []


def told(stacks: Stacks) -> list[str]:
    return [word for stack in sorted(stacks) for word in [*(f"b{block}" for block in stack), ";"]]


def carry_out(stacks: Stacks, plan: list[str], *, states: bool) -> tuple[Stacks, int]:
    """Does action after action, and returns the stacks and how many actions there were."""
    stacks, hand, actions = [list(stack) for stack in stacks], None, 0
    while plan:
        word, block, plan = plan[0], int(plan[1][1:]), plan[2:]
        if word in ("pick-up", "unstack"):
            assert hand is None
            (stack,) = (each for each in stacks if each[-1] == block)
            hand = stack.pop()
            if word == "unstack":
                assert f"b{stack[-1]}" == plan[0]
                plan = plan[1:]
            else:
                assert not stack
                stacks.remove(stack)
        else:
            assert hand == block
            if word == "stack":
                (stack,) = (each for each in stacks if f"b{each[-1]}" == plan[0])
                stack.append(block)
                plan = plan[1:]
            else:
                assert word == "put-down"
                stacks.append([block])
            hand = None
        actions += 1
        if states:
            stop = plan.index(".")
            assert plan[: stop + 1] == [":", *told(stacks), "."]
            plan = plan[stop + 1 :]
    assert hand is None
    return stacks, actions


def is_odd(order: list[int]) -> bool:
    """Whether a permutation takes an odd number of exchanges to sort."""
    order, exchanges = list(order), 0
    for place, block in enumerate(sorted(order)):
        other = order.index(block)
        if other != place:
            order[place], order[other] = order[other], order[place]
            exchanges += 1
    return exchanges % 2 == 1


@given(
    blocks=st.lists(st.integers(2, 5), min_size=1, max_size=2, unique=True),
    larger=st.lists(st.integers(6, 8), max_size=1),
    initial=st.sampled_from(["table", "stacks"]),
    goal=st.sampled_from(["any", "lexicographic"]),
    states=st.booleans(),
)
def test_plans_reach_their_goals(blocks, larger, initial, goal, states) -> None:
    task = BlocksworldTask(
        blocks=tuple(blocks), larger=tuple(larger), initial=initial, goal=goal, states=states, names=9, test_examples=10
    )
    table = check_sizes(task)
    others = [f"stacks_{n}" for n in blocks] if initial == "table" else []
    assert list(table) == ["train", *(f"blocks_{n}" for n in (*blocks, *larger)), *others]
    for name, split in table.items():
        for words, asked in read(task, name, split):
            middle, start = words.index("goal"), words.index("<sep>")
            assert asked == list(range(start + 1, len(words)))
            assert words[-1] == "<end>"
            stacks, wished = stacks_of(words[:middle]), [int(word[1:]) for word in words[middle + 1 : start]]
            assert words[:middle] == told(stacks)
            assert sorted(block for stack in stacks for block in stack) == sorted(wished)
            assert len(wished) in (blocks if name == "train" else [int(name.split("_")[1])])
            if initial == "table" and not name.startswith("stacks"):
                assert all(len(stack) == 1 for stack in stacks)
            if goal == "lexicographic":
                assert wished == sorted(wished)
            else:
                assert is_odd(wished) == (name != "train")
            reached, actions = carry_out(stacks, words[start + 1 : -1], states=states)
            assert reached == [wished]
            assert actions == 2 * (len(wished) - len(stacks)) + 2 * (len(wished) - 1)


def test_problems_are_random_as_they_say() -> None:
    task = BlocksworldTask(blocks=(4,), initial="stacks", names=6, test_examples=4000)
    stacks, names, goals = 0, np.zeros(6), np.zeros((6, 6))
    for words, _ in read(task, "train", task.table(0)["train"]):
        middle = words.index("goal")
        found = stacks_of(words[:middle])
        stacks += len(found)
        names[[block for stack in found for block in stack]] += 1
        goals[int(words[middle + 1][1:]), int(words[middle + 2][1:])] += 1
    assert stacks / 4000 == pytest.approx(1 + 3 / 2, abs=4 * (3 / 4 / 4000) ** 0.5)
    assert names == pytest.approx(np.full(6, 4000 * 4 / 6), abs=5 * 30)
    # The two lowest of a goal are any two blocks, as likely.
    assert goals == pytest.approx(np.where(np.eye(6), 0, 4000 / 30), abs=5 * 11.4)


def test_rows_of_words_make_examples_alone() -> None:
    task = BlocksworldTask(initial="stacks", states=True)
    words = words_of(task, "train", 12)
    whole, part = task.examples(words, np), task.examples(words[5:7], np)
    np.testing.assert_array_equal(whole.inputs[5:7], part.inputs)
    np.testing.assert_array_equal(whole.targets[5:7], part.targets)


def test_problems_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"got blocks=\[\] and larger=\[4\], expected at least one number of blocks"):
        BlocksworldTask(blocks=(), larger=(4,))
    with pytest.raises(UserError, match=r"names: got 12, expected at least 15, the blocks of a problem"):
        BlocksworldTask(larger=(15,))
