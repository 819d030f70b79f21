"""COGS against a parser that goes from a sentence to its logical form, which sentences of the published file check."""

import collections
import dataclasses
import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.config import from_json, to_json
from jaxgen.tasks.language.cogs import CogsTask
from tests.cogs_parser import Parse, parsed
from tests.texts import Pair, pairs

PUBLISHED = {
    "A rose was helped by a dog .": "rose ( x _ 1 ) AND help . theme ( x _ 3 , x _ 1 ) AND help . agent ( x _ 3 , x _ 6 ) AND dog ( x _ 6 )",  # noqa: E501
    "A cake was forwarded to Levi by Charlotte .": "cake ( x _ 1 ) AND forward . theme ( x _ 3 , x _ 1 ) AND forward . recipient ( x _ 3 , Levi ) AND forward . agent ( x _ 3 , Charlotte )",  # noqa: E501
    "The girl needed to cook .": "* girl ( x _ 1 ) ; need . agent ( x _ 2 , x _ 1 ) AND need . xcomp ( x _ 2 , x _ 4 ) AND cook . agent ( x _ 4 , x _ 1 )",  # noqa: E501
    "The monkey ate the brick in a glass on a TV .": "* monkey ( x _ 1 ) ; * brick ( x _ 4 ) ; eat . agent ( x _ 2 , x _ 1 ) AND eat . theme ( x _ 2 , x _ 4 ) AND brick . nmod . in ( x _ 4 , x _ 7 ) AND glass ( x _ 7 ) AND glass . nmod . on ( x _ 7 , x _ 10 ) AND tv ( x _ 10 )",  # noqa: E501
    "A cake rolled .": "cake ( x _ 1 ) AND roll . theme ( x _ 2 , x _ 1 )",
    "Emma ate the ring beside a bed .": "* ring ( x _ 3 ) ; eat . agent ( x _ 1 , Emma ) AND eat . theme ( x _ 1 , x _ 3 ) AND ring . nmod . beside ( x _ 3 , x _ 6 ) AND bed ( x _ 6 )",  # noqa: E501
    "A horse gave the cake beside a table to the mouse .": "* cake ( x _ 4 ) ; * mouse ( x _ 10 ) ; horse ( x _ 1 ) AND give . agent ( x _ 2 , x _ 1 ) AND give . theme ( x _ 2 , x _ 4 ) AND give . recipient ( x _ 2 , x _ 10 ) AND cake . nmod . beside ( x _ 4 , x _ 7 ) AND table ( x _ 7 )",  # noqa: E501
    "The dog sold the girl a cake .": "* dog ( x _ 1 ) ; * girl ( x _ 4 ) ; sell . agent ( x _ 2 , x _ 1 ) AND sell . recipient ( x _ 2 , x _ 4 ) AND sell . theme ( x _ 2 , x _ 6 ) AND cake ( x _ 6 )",  # noqa: E501
    "Liam hoped that the dog preferred to run .": "* dog ( x _ 4 ) ; hope . agent ( x _ 1 , Liam ) AND hope . ccomp ( x _ 1 , x _ 5 ) AND prefer . agent ( x _ 5 , x _ 4 ) AND prefer . xcomp ( x _ 5 , x _ 7 ) AND run . agent ( x _ 7 , x _ 4 )",  # noqa: E501
    "Camila was forwarded the cookie in a house beside the computer by Olivia .": "* cookie ( x _ 4 ) ; * computer ( x _ 10 ) ; forward . recipient ( x _ 2 , Camila ) AND forward . theme ( x _ 2 , x _ 4 ) AND forward . agent ( x _ 2 , Olivia ) AND cookie . nmod . in ( x _ 4 , x _ 7 ) AND house ( x _ 7 ) AND house . nmod . beside ( x _ 7 , x _ 10 )",  # noqa: E501
    "The child appreciated that Emma valued that a cookie was slid .": "* child ( x _ 1 ) ; appreciate . agent ( x _ 2 , x _ 1 ) AND appreciate . ccomp ( x _ 2 , x _ 5 ) AND value . agent ( x _ 5 , Emma ) AND value . ccomp ( x _ 5 , x _ 10 ) AND cookie ( x _ 8 ) AND slide . theme ( x _ 10 , x _ 8 )",  # noqa: E501
}


@pytest.mark.parametrize("sentence", PUBLISHED)
def test_the_parser_reads_published_sentences(sentence: str) -> None:
    assert Parse(sentence.split()).form() == PUBLISHED[sentence]


TASK = CogsTask(train_examples=3000, validation_examples=100, test_examples=100, case_examples=60, exposures=2)


@functools.cache
def corpus() -> dict[str, list[Pair]]:
    return pairs(TASK)


@functools.cache
def parses() -> dict[str, list[Parse]]:
    return {name: [parsed(pair) for pair in rows if len(pair[0]) > 1] for name, rows in corpus().items()}


def test_the_published_sizes() -> None:
    sizes = dict(CogsTask().shape().sizes)
    assert (sizes.pop("train"), sizes.pop("validation"), sizes.pop("test")) == (24_155, 3000, 3000)
    assert len(sizes) == 21
    assert set(sizes.values()) == {1000}


def test_every_logical_form_is_that_of_its_sentence() -> None:
    sentences = [" ".join(source) for rows in corpus().values() for source, _ in rows]
    assert len(set(sentences)) == len(sentences)
    assert sum(len(rows) for rows in parses().values()) == len(sentences) - 143


def test_words_alone() -> None:
    alone = {source[0]: " ".join(target) for source, target in corpus()["train"] if len(source) == 1}
    assert len(alone) == 143
    assert alone["shark"] == "LAMBDA a . shark ( a )"
    assert alone["Paula"] == "Paula"
    assert alone["touch"] == "LAMBDA a . LAMBDA b . LAMBDA e . touch . agent ( e , b ) AND touch . theme ( e , a )"
    assert alone["crawl"] == "LAMBDA a . LAMBDA e . crawl . agent ( e , a )"
    assert alone["roll"] == "LAMBDA a . LAMBDA e . roll . theme ( e , a )"


# What trains of each new word, and what its cases show; None: the word alone.
AS = {
    "subj_to_obj_common": ("hedgehog", "agent", {"theme"}),
    "subj_to_obj_proper": ("Lina", "agent", {"theme"}),
    "obj_to_subj_common": ("cockroach", "theme", {"agent"}),
    "obj_to_subj_proper": ("Charlie", "theme", {"agent"}),
    "prim_to_subj_common": ("shark", None, {"agent"}),
    "prim_to_subj_proper": ("Paula", None, {"agent"}),
    "prim_to_obj_common": ("shark", None, {"theme"}),
    "prim_to_obj_proper": ("Paula", None, {"theme"}),
    "only_seen_as_transitive_subj_as_unacc_subj": ("cobra", "agent", {"theme"}),
    "only_seen_as_unacc_subj_as_obj_omitted_transitive_subj": ("hippo", "theme", {"agent"}),
    "only_seen_as_unacc_subj_as_unerg_subj": ("hippo", "theme", {"agent"}),
}


def roles_of(word: str, parse: Parse) -> set[str]:
    at = {phrase.at for phrase in parse.phrases.values() if phrase.noun == word}
    return {role for _, role, _, to in parse.roles if to in at}


@pytest.mark.parametrize("case", AS)
def test_new_nouns_stand_where_they_did_not_train(case: str) -> None:
    word, trained, tested = AS[case]
    shown = [parse for parse in parses()["train"] if word in parse.words]
    assert len(shown) == (0 if trained is None else TASK.exposures)
    assert {role for parse in shown for role in roles_of(word, parse)} == ({trained} if trained else set())
    for parse in parses()[case]:
        assert roles_of(word, parse) == tested


def frames(form: str, rows: list[Parse]) -> set[tuple[str, ...]]:
    """Returns the roles that a verb has in sentences, in their order."""
    found = set()
    for parse in rows:
        if form in parse.words:
            at = parse.words.index(form)
            found.add(tuple(role for to, role in sorted((to, role) for _, role, of, to in parse.roles if of == at)))
    return found


@pytest.mark.parametrize(
    ("case", "form", "trained", "tested"),
    [
        ("active_to_passive", "blessed", {("agent", "theme")}, {("theme",), ("theme", "agent")}),
        ("passive_to_active", "squeezed", {("theme",)}, {("agent", "theme")}),
        ("obj_omitted_transitive_to_transitive", "baked", {("agent",)}, {("agent", "theme")}),
        ("unacc_to_transitive", "shattered", {("theme",)}, {("agent", "theme")}),
        (
            "do_dative_to_pp_dative",
            "teleported",
            {("agent", "recipient", "theme")},
            {("agent", "theme", "recipient")},
        ),
        ("pp_dative_to_do_dative", "shipped", {("agent", "theme", "recipient")}, {("agent", "recipient", "theme")}),
        ("prim_to_inf_arg", "crawl", set(), {("agent",)}),
    ],
)
def test_new_verbs_take_what_they_did_not_take(case: str, form: str, trained: set, tested: set) -> None:
    assert frames(form, parses()["train"]) == trained
    assert frames(form, parses()[case]) == tested
    assert all(form in parse.words for parse in parses()[case])


def test_structures_that_did_not_train() -> None:
    known = [parse for name, rows in parses().items() if "recursion" not in name for parse in rows]
    assert {parse.clauses for parse in known} == {0, 1, 2}
    assert {phrase.places for parse in known for phrase in parse.phrases.values()} == {0, 1, 2}
    subjects = {name: {bool(s.places) for parse in rows for s in parse.subjects} for name, rows in parses().items()}
    assert subjects.pop("obj_pp_to_subj_pp") == {True}
    assert set(map(frozenset, subjects.values())) == {frozenset({False})}
    evenly = dict.fromkeys(range(3, 13), TASK.case_examples // 10)
    assert collections.Counter(parse.clauses for parse in parses()["cp_recursion"]) == evenly
    deepest = [max(phrase.places for phrase in parse.phrases.values()) for parse in parses()["pp_recursion"]]
    assert collections.Counter(deepest) == evenly


def test_no_noun_comes_twice_in_a_sentence_and_only_cases_have_more_than_two_places() -> None:
    for name, rows in parses().items():
        for parse in rows:
            nouns = [phrase.noun for phrase in parse.phrases.values()]
            assert len(set(nouns)) == len(nouns)
            if "recursion" not in name:
                assert sum(phrase.places for phrase in parse.phrases.values()) <= 2


def test_the_shares_of_the_grammar() -> None:
    rows = [parse for name in ("train", "validation", "test") for parse in parses()[name]]
    assert sum(parse.clauses > 0 for parse in rows) / len(rows) == pytest.approx(0.077, abs=0.015)
    assert sum("was" in parse.words for parse in rows) / len(rows) == pytest.approx(0.45, abs=0.06)
    names = collections.Counter(p.noun for parse in rows for p in parse.phrases.values() if p.name)
    # 1 / zeta(1.4), and 1 / 100 of what is beyond the hundredth; sentences that come twice are left out.
    assert names["Emma"] / names.total() == pytest.approx(0.325, abs=0.05)
    assert len(names) > 95
    definite = collections.Counter(p.definite for parse in rows for p in parse.phrases.values() if not p.name)
    assert definite[True] / definite.total() == pytest.approx(0.5, abs=0.03)


@settings(max_examples=5)
@given(
    train=st.integers(1, 60),
    tests=st.integers(1, 10),
    cases=st.integers(1, 10),
    exposures=st.integers(1, 4),
    data_seed=st.integers(0, 5),
)
def test_any_sizes(train, tests, cases, exposures, data_seed) -> None:
    task = CogsTask(
        train_examples=train,
        validation_examples=tests,
        test_examples=tests,
        case_examples=cases,
        exposures=exposures,
        data_seed=data_seed,
    )
    assert from_json(to_json(task)) == task
    read = pairs(task)
    assert len(read["train"]) == train + 143 + 12 * exposures
    for rows in read.values():
        for pair in rows:
            if len(pair[0]) > 1:
                parsed(pair)


def test_more_training_examples_leave_the_tests_and_hold_the_fewer() -> None:
    fewer = CogsTask(train_examples=50, validation_examples=5, test_examples=5, case_examples=2)
    one, other = pairs(fewer), pairs(dataclasses.replace(fewer, train_examples=80))
    assert other["train"][: len(one["train"])] == one.pop("train")
    assert all(other[name] == one[name] for name in one)
    assert pairs(dataclasses.replace(fewer, data_seed=1))["test"] != one["test"]
