"""Facts and implications read back from among the noise."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.tasks.facts.out_of_context import OutOfContextTask
from tests.reading import check_numpy_and_jax_agree, check_sizes, read


@given(
    cities=st.integers(1, 6),
    subjects=st.integers(2, 12),
    train_subjects=st.integers(1, 11),
    noise=st.integers(1, 3),
    length=st.integers(3, 8),
)
def test_facts_and_implications_are_answered_rightly(cities, subjects, train_subjects, noise, length) -> None:
    settings = {"cities": cities, "subjects": subjects, "noise": noise, "length": length, "test_examples": 20}
    if train_subjects >= subjects:
        with pytest.raises(UserError, match=f"got {train_subjects}, expected fewer than the {subjects} subjects"):
            OutOfContextTask(train_subjects=train_subjects, **settings)
        return
    task = OutOfContextTask(train_subjects=train_subjects, **settings)
    for name, split in check_sizes(task).items():
        for words, asked in read(task, name, split):
            assert asked == [length]
            assert words[length - 1] == "<end>"
            subject, relation = (word for word in words[: length - 1] if not word.startswith("noise"))
            number = int(subject.removeprefix("subject"))
            kind = {"lives-in": "city", "animal-there": "animal"}[relation]
            assert words[length] == f"{kind}{number % cities}"
            if name != "train":
                assert (number < train_subjects) == name.startswith("train")
                assert (kind == "city") == name.endswith("facts")
            assert kind == "city" or number < train_subjects or name == "test_implications"


def test_a_third_is_of_each_kind_and_places_are_uniform() -> None:
    task = OutOfContextTask(test_examples=6000)
    assert task.shape().vocabulary == 128  # the paper's
    kinds, places, subjects = Counter(), Counter(), Counter()
    for words, _ in read(task, "train", task.table(0)["train"]):
        first, last = (place for place, word in enumerate(words[:15]) if not word.startswith("noise"))
        number = int(words[first].removeprefix("subject"))
        kinds[words[last], number < 20] += 1
        places[first, last] += 1
        subjects[number] += number >= 20
    expected = {("lives-in", True), ("animal-there", True), ("lives-in", False)}
    assert kinds.keys() == expected
    assert all(count == pytest.approx(2000, abs=4 * 37) for count in kinds.values())
    assert len(places) == 105
    assert all(count == pytest.approx(6000 / 105, abs=5 * 7.6) for count in places.values())
    assert all(subjects[number] == pytest.approx(2000 / 60, abs=5 * 5.8) for number in range(20, 80))


def test_a_compiled_program_makes_the_same_examples() -> None:
    check_numpy_and_jax_agree(OutOfContextTask())
