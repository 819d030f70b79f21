"""English sentences and their logical forms: COGS (Kim and Linzen, A Compositional Generalization Challenge Based on
Semantic Interpretation, arXiv 2010.05465), drawn anew from its grammar, with the probabilities and words of the
original generator.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from jaxgen.config import PositiveInt
from jaxgen.tasks.language.cogs_words import NOUNS, NOUNS_ALONE, VERBS, Verb
from jaxgen.tasks.language.text import Draws, Sentences, Span, TextTask, token_numbers

# A clause consists of slots: literal words; a verb by its class, as a participle after `was`; and noun phrases, named #
# by their function in the clause. This table gives their roles in the logical form.
_ROLES = {
    "agent": "agent",
    "speaker": "agent",  # of a clause with a subordinate clause
    "recipient": "recipient",
    "receiver": "recipient",  # as a subject
    "object": "theme",
    "gift": "theme",  # as the object of a dative
    "changed": "theme",  # as the subject of an unaccusative
    "patient": "theme",  # as the subject of a passive
}
_SAYS = "speaker says that clause"
_ACTIVE = (
    "agent unergative",
    "agent unaccusative object",
    "agent omissible",
    "agent omissible object",
    "agent transitive object",
    "agent wants to infinitive",
    "agent dative gift to recipient",
    "agent dative recipient gift",
)
_PASSIVE = (
    "patient was transitive",
    "patient was transitive by agent",
    "patient was omissible",
    "patient was omissible by agent",
    "patient was unaccusative",
    "patient was unaccusative by agent",
    "patient was dative to recipient",
    "patient was dative to recipient by agent",
)
_RECEIVED = ("receiver was dative gift", "receiver was dative gift by agent")
_CHANGED = ("changed unaccusative",)

# The kinds of a noun phrase: (weight, list of nouns, whether a place follows).
Phrases = tuple[tuple[float, str, bool], ...]
_PERSON: Phrases = ((0.5, "animate", False), (0.5, "proper", False))
_PHRASES: dict[str, Phrases] = {
    "agent": _PERSON,
    "speaker": _PERSON,
    "recipient": _PERSON,
    "receiver": _PERSON,
    "object": (
        (0.25, "inanimate", False),
        (0.25, "inanimate", True),
        (0.125, "animate", False),
        (0.125, "animate", True),
        (0.25, "proper", False),
    ),
    "gift": ((0.5, "inanimate", False), (0.5, "inanimate", True)),
    "changed": ((0.5, "inanimate", False), (0.25, "animate", False), (0.25, "proper", False)),
    "patient": ((1.0, "inanimate", False),),
}
_PLACED_THING: Phrases = ((1.0, "inanimate", True),)
_PLACED_PERSON: Phrases = ((1.0, "animate", True),)
_PLACED: Phrases = ((0.5, "inanimate", True), (0.5, "animate", True))


def _each(weight: float, clauses: Sequence[str]) -> tuple[tuple[float, str], ...]:
    """Returns the clauses with equal weights that sum to `weight`."""
    return tuple((weight / len(clauses), clause) for clause in clauses)


class _Grammar(NamedTuple):
    """The distribution of sentences."""

    clauses: tuple[tuple[float, str], ...]  # (weight, slots) of clauses without a subordinate clause
    says: float  # the probability that a clause has a subordinate clause
    phrases: Mapping[str, Phrases] = {}  # the phrases that differ from _PHRASES
    verbs: Mapping[str, Verb] = {}  # the only verb of a class, if not those of VERBS
    deep: range = range(3)  # the allowed depth of subordinate clauses in a sentence
    places: range = range(3)  # the allowed number of places in a sentence
    another_place: float = 0.1  # the probability that a place has another place
    evenly: Literal["", "deep", "places"] = ""  # which of the two numbers is uniform


_MAIN = _Grammar(
    clauses=(
        *_each(0.49 * 0.842, _ACTIVE),
        *_each(0.06, _CHANGED),
        *_each(0.375, _PASSIVE),
        *_each(0.075, _RECEIVED),
    ),
    says=0.49 * 0.158,
    # The published sentences of the main grammar have fewer names than the cases, whose weights are those above.
    phrases={
        "object": (
            (1 / 4, "inanimate", False),
            (1 / 4, "inanimate", True),
            (1 / 6, "animate", False),
            (1 / 6, "animate", True),
            (1 / 6, "proper", False),
        )
    },
)


def _only(clause: str, says: float, verb: str = "", noun: str = "") -> _Grammar:
    """Returns the grammar of clauses with a given verb (`class past=lemma`) or a given subject (`noun`)."""
    name, _, forms = verb.partition(" ")
    past, _, lemma = forms.partition("=")
    return _Grammar(
        clauses=((1.0, clause),),
        says=says,
        phrases={clause.split()[0]: ((1.0, noun, False),)} if noun else {},
        verbs={name: Verb(past, past, lemma)} if verb else {},
    )


def _is_name(nouns: str) -> bool:
    return nouns == "proper" or nouns[0].isupper()


def _as_subject(noun: str) -> _Grammar:
    return _Grammar(clauses=_each(1.0, _ACTIVE), says=0.077, phrases={"agent": ((1.0, noun, False),)})


def _as_object(noun: str) -> _Grammar:
    common: Phrases = ((0.5, noun, False), (0.5, noun, True))
    clauses = (
        "agent unaccusative object",
        "agent omissible object",
        "agent transitive object",
        "agent dative object to recipient",
        "agent dative recipient object",
    )
    phrases = {"object": ((1.0, noun, False),) if _is_name(noun) else common}
    return _Grammar(clauses=_each(1.0, clauses), says=0.1, phrases=phrases)


_BLESSED, _SQUEEZED = "transitive blessed=bless", "transitive squeezed=squeeze"
_TELEPORTED, _SHIPPED = "dative teleported=teleport", "dative shipped=ship"
_BAKED, _SHATTERED = "omissible baked=bake", "unaccusative shattered=shatter"

# The exposure of each new word in the training set: one kind of sentence, or the word alone.
_SHOWN = (
    _as_subject("hedgehog"),
    _as_subject("Lina"),
    _as_object("cockroach"),
    _as_object("Charlie"),
    _only("agent omissible", 0.05, _BAKED),
    _only("changed unaccusative", 0.1, _SHATTERED),
    _only("agent transitive object", 0.1, noun="cobra"),
    _only("changed unaccusative", 0.05, noun="hippo"),
    _only("agent transitive object", 0.1, _BLESSED),
    _only("patient was transitive", 0.03, _SQUEEZED),
    _only("agent dative recipient gift", 0.1, _TELEPORTED),
    _only("agent dative gift to recipient", 0.1, _SHIPPED),
)
_SHOWN_ALONE = {"shark": "noun", "Paula": "name", "crawl": "unergative"}

_CASES: dict[str, _Grammar] = {
    "subj_to_obj_common": _as_object("hedgehog"),
    "subj_to_obj_proper": _as_object("Lina"),
    "obj_to_subj_common": _as_subject("cockroach"),
    "obj_to_subj_proper": _as_subject("Charlie"),
    "prim_to_subj_common": _as_subject("shark"),
    "prim_to_subj_proper": _as_subject("Paula"),
    "prim_to_obj_common": _as_object("shark"),
    "prim_to_obj_proper": _as_object("Paula"),
    "prim_to_inf_arg": _only("agent wants to infinitive", 0.04, "infinitive crawl=crawl"),
    "obj_pp_to_subj_pp": _Grammar(
        clauses=(
            *_each(0.55 * 0.7, _ACTIVE),
            *_each(0.05, _CHANGED),
            *_each(0.2, _PASSIVE),
            *_each(0.2, _RECEIVED),
        ),
        says=0.55 * 0.3,
        phrases={
            "agent": _PLACED_PERSON,
            "speaker": _PLACED_PERSON,
            "receiver": _PLACED_PERSON,
            "patient": _PLACED_THING,
            "changed": _PLACED,
        },
    ),
    "cp_recursion": _Grammar(
        clauses=(
            *_each(0.25, _ACTIVE),
            *_each(0.25, _CHANGED),
            *_each(0.25, _PASSIVE),
            *_each(0.25, _RECEIVED),
        ),
        says=0.96,
        deep=range(3, 13),
        places=range(4),  # no published sentence has more
        evenly="deep",
    ),
    "pp_recursion": _Grammar(
        clauses=_each(
            1.0,
            (
                "agent unaccusative object",
                "agent omissible object",
                "agent transitive object",
                "agent dative gift to recipient",
                "agent dative recipient gift",
            ),
        ),
        says=0.1,
        phrases={"object": _PLACED, "gift": _PLACED_THING},
        deep=range(4),  # no published sentence has more
        places=range(3, 13),
        another_place=0.9,
        evenly="places",
    ),
    "active_to_passive": _only("patient was transitive", 0.05, _BLESSED)._replace(
        clauses=_each(1.0, ("patient was transitive", "patient was transitive by agent"))
    ),
    "passive_to_active": _only("agent transitive object", 0.1, _SQUEEZED),
    "obj_omitted_transitive_to_transitive": _only("agent omissible object", 0.09, _BAKED),
    "unacc_to_transitive": _only("agent unaccusative object", 0.09, _SHATTERED),
    "do_dative_to_pp_dative": _only("agent dative gift to recipient", 0.1, _TELEPORTED),
    "pp_dative_to_do_dative": _only("agent dative recipient gift", 0.1, _SHIPPED),
    "only_seen_as_transitive_subj_as_unacc_subj": _only("changed unaccusative", 0.05, noun="cobra"),
    "only_seen_as_unacc_subj_as_obj_omitted_transitive_subj": _only("agent omissible", 0.05, noun="hippo"),
    "only_seen_as_unacc_subj_as_unerg_subj": _only("agent unergative", 0.05, noun="hippo"),
}

# The logical form of a word alone, by its kind.
_MEANINGS = {
    "noun": "LAMBDA a . {} ( a )",
    "name": "{}",
    "omissible": "LAMBDA a . LAMBDA b . LAMBDA e . {0} . agent ( e , b ) AND {0} . theme ( e , a )",
    "transitive": "LAMBDA a . LAMBDA b . LAMBDA e . {0} . agent ( e , b ) AND {0} . theme ( e , a )",
    "unaccusative": "LAMBDA a . LAMBDA e . {} . theme ( e , a )",
    "unergative": "LAMBDA a . LAMBDA e . {} . agent ( e , a )",
}
# Zipf's law with this exponent, over infinitely many words; the mass beyond a list is spread evenly over the list.
_EXPONENT, _ZETA = 1.4, 3.1055472779775810
# The key of the random draws, beside the data's seed and the grammar's number.
_GRAMMARS = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CogsTask(TextTask):
    """Sentences of an English grammar, answered by their logical forms.

    `The captain ate a cake .` gives `* captain ( x _ 1 ) ; eat . agent ( x _ 2 , x _ 1 ) AND eat . theme ( x _ 2 ,
    x _ 4 ) AND cake ( x _ 4 )`: a variable is the index of its word, from 0; definite nouns (with `the`) come first;
    the rest is sorted by variables; nouns are in lower case (`a TV` is `tv`). Words follow Zipf's law in the order of
    their lists, and no noun occurs twice in a sentence. A clause may have a subordinate clause (`Liam hoped that ...`)
    and an object may be at a place (`a cake on the table`); a sentence has up to two of each.

    Splits: `train` are `train_examples` sentences, the 143 words alone of the published set, and `exposures` sentences
    (published: 1 and 100) for each of 12 new words; `validation` and `test` come from the same grammar. The 21 other
    splits have `case_examples` each and are named as published. 18 show a new word in a role that it did not have in
    training (`subj_to_obj_common`: a hedgehog was only a subject, and is now an object), and three a new structure:
    places of subjects (`obj_pp_to_subj_pp`), 3 to 12 nested clauses (`cp_recursion`), or 3 to 12 places in a row
    (`pp_recursion`), with equally many sentences of each depth. No sentence occurs twice.

    The sentences are drawn anew from the published distribution; tests/from_outside/test_cogs.py compares the two.
    """

    version: ClassVar[int] = 2

    train_examples: PositiveInt = 24_000
    validation_examples: PositiveInt = 3_000
    test_examples: PositiveInt = 3_000
    case_examples: PositiveInt = 1_000
    exposures: PositiveInt = 1

    def symbols(self) -> tuple[str, ...]:
        return _words()

    def spans(self) -> Mapping[str, Span]:
        train = self.train_examples + len(_words_alone()) + self.exposures * len(_SHOWN)
        return {
            "train": Span(train, 1, sum(_longest(_MAIN))),
            "validation": Span(self.validation_examples, 3, sum(_longest(_MAIN))),
            "test": Span(self.test_examples, 3, sum(_longest(_MAIN))),
            **{name: Span(self.case_examples, 3, sum(_longest(grammar))) for name, grammar in _CASES.items()},
        }

    def sentences(self) -> Mapping[str, Sentences]:
        return _sentences(self)


Pair = tuple[list[str], list[str]]


@functools.lru_cache(maxsize=2)
def _sentences(task: CogsTask) -> Mapping[str, Sentences]:
    token, seen = token_numbers(_words()), set[str]()

    def distinct(sampler: _Sampler, count: int) -> list[Pair]:
        pairs: list[Pair] = []
        while len(pairs) < count:
            source, target = sampler.sentence(len(pairs))
            if " ".join(source) not in seen:
                seen.add(" ".join(source))
                pairs.append((source, target))
        return pairs

    cases = {name: _Sampler(task, grammar, i + 1) for i, (name, grammar) in enumerate(_CASES.items())}
    shown = [_Sampler(task, grammar, len(cases) + i + 1) for i, grammar in enumerate(_SHOWN)]
    main = _Sampler(task, _MAIN, 0)
    pairs = {name: distinct(sampler, task.case_examples) for name, sampler in cases.items()}
    pairs["test"] = distinct(main, task.test_examples)
    pairs["validation"] = distinct(main, task.validation_examples)
    exposed = itertools.chain.from_iterable(distinct(sampler, task.exposures) for sampler in shown)
    # The training set is drawn last, so that a larger one contains a smaller one.
    pairs["train"] = [*_words_alone(), *exposed, *distinct(main, task.train_examples)]
    return {
        name: Sentences.of([([token[word] for word in s], [token[word] for word in t]) for s, t in rows])
        for name, rows in pairs.items()
    }


@functools.cache
def _words_alone() -> tuple[Pair, ...]:
    kinds = dict(_SHOWN_ALONE) | {noun: "name" if noun in NOUNS["proper"] else "noun" for noun in NOUNS_ALONE}
    for kind in _MEANINGS:
        kinds |= {verb.lemma: kind for verb in VERBS.get(kind, ())}
    return tuple(([word], _MEANINGS[kind].format(word).split()) for word, kind in kinds.items())


class _Sampler:
    """Draws sentences of one grammar. The facts of a logical form are keyed by the indices of their variables."""

    def __init__(self, task: CogsTask, grammar: _Grammar, number: int) -> None:
        self._draws = Draws(seed=task.data_seed, stream=_GRAMMARS + number)
        self._grammar = grammar

    def sentence(self, number: int) -> Pair:
        """Draws sentences until one has no repeated noun and an allowed number of clauses and places.

        Args:
          number: the index of the sentence in its split, which chooses its depth if depths are uniform.
        """
        grammar = self._grammar
        while True:
            self._words: list[str] = []
            self._nouns: list[str] = []
            self._definite: list[str] = []
            self._facts: dict[tuple[int, int], str] = {}
            self._places = 0
            deep = self._of(grammar.deep, number) if grammar.evenly == "deep" else self._more(grammar.says)
            self._row = self._of(grammar.places, number) if grammar.evenly == "places" else None
            self._clause(deep)
            unlike = len(set(self._nouns)) == len(self._nouns)
            if unlike and deep in grammar.deep and self._places in grammar.places:
                break
        facts = " AND ".join(fact for _, fact in sorted(self._facts.items()))
        target = " ; ".join([*self._definite, facts])
        first, *rest = self._words
        return [first[0].upper() + first[1:], *rest, "."], target.split()

    def _of(self, numbers: range, number: int) -> int:
        return numbers[number % len(numbers)]

    def _more(self, probability: float) -> int:
        """Draws a geometric number: how often an event with this probability repeats."""
        count = 0
        while self._draws.uniform() < probability:
            count += 1
        return count

    def _clause(self, deep: int) -> int:
        """Writes a clause with `deep` nested clauses, and returns the index of its verb."""
        verb_at, verb, arguments = -1, "", []
        slots = _SAYS if deep else self._choice(self._grammar.clauses)[1]
        for slot in slots.split():
            if slot in _ROLES:
                at, argument = self._phrase(slot)
                arguments.append((at, _ROLES[slot], argument))
            elif slot == "clause":
                at = self._clause(deep - 1)
                arguments.append((at, "ccomp", f"x _ {at}"))
            elif slot == "infinitive":
                at, lemma = self._verb(slot)
                agent_at, _, agent = arguments[0]
                arguments.append((at, "xcomp", f"x _ {at}"))
                self._facts[at, agent_at] = f"{lemma} . agent ( x _ {at} , {agent} )"
            elif slot in VERBS:
                verb_at, verb = self._verb(slot)
            else:
                self._words.append(slot)
        for at, role, argument in arguments:
            self._facts[verb_at, at] = f"{verb} . {role} ( x _ {verb_at} , {argument} )"
        return verb_at

    def _verb(self, kind: str) -> tuple[int, str]:
        """Writes a verb, and returns its index and lemma."""
        verb = self._grammar.verbs.get(kind) or VERBS[kind][self._of_zipf(len(VERBS[kind]))]
        self._words.append(verb.participle if self._words[-1] == "was" else verb.past)
        return len(self._words) - 1, verb.lemma

    def _phrase(self, slot: str) -> tuple[int, str]:
        """Writes a noun phrase, and returns the index of its noun and its symbol in the logical form."""
        _, nouns, placed = self._choice(self._grammar.phrases.get(slot) or _PHRASES[slot])
        noun = self._noun(nouns)
        if _is_name(nouns):
            self._words.append(noun)
            return len(self._words) - 1, noun
        first = at = self._determined(noun)
        for _ in range((self._row or 1 + self._more(self._grammar.another_place)) if placed else 0):
            _, where = self._choice(((0.333, "on"), (0.333, "in"), (0.334, "beside")))
            self._words.append(where)
            place = self._noun(where)
            place_at = self._determined(place)
            self._facts[at, place_at] = f"{noun.lower()} . nmod . {where} ( x _ {at} , x _ {place_at} )"
            noun, at = place, place_at
            self._places += 1
        return first, f"x _ {first}"

    def _determined(self, noun: str) -> int:
        definite = self._draws.uniform() < 0.5
        self._words += ["the" if definite else "a", noun]
        at = len(self._words) - 1
        if definite:
            self._definite.append(f"* {noun.lower()} ( x _ {at} )")
        else:
            self._facts[at, -1] = f"{noun.lower()} ( x _ {at} )"
        return at

    def _noun(self, nouns: str) -> str:
        words = NOUNS.get(nouns, (nouns,))
        self._nouns.append(words[self._of_zipf(len(words))])
        return self._nouns[-1]

    def _of_zipf(self, count: int) -> int:
        return bisect.bisect(_zipf(count), self._draws.uniform())

    def _choice(self, weighted: tuple[Any, ...]) -> Any:
        """Returns a random one of these tuples, which begin with their weights."""
        left = self._draws.uniform() * sum(each[0] for each in weighted)
        for each in weighted:
            left -= each[0]
            if left < 0:
                return each
        return weighted[-1]


@functools.cache
def _zipf(count: int) -> tuple[float, ...]:
    """Returns the probabilities of being among the first 1, 2, ... count - 1 of `count` words."""
    law = [rank**-_EXPONENT / _ZETA for rank in range(1, count + 1)]
    beyond = (1 - sum(law)) / count
    return tuple(itertools.accumulate(each + beyond for each in law[:-1]))


def _longest(grammar: _Grammar) -> tuple[int, int]:
    """Returns the largest lengths of a sentence and of its logical form."""

    def of(slots: str) -> tuple[int, int]:
        words = facts = 0
        for slot in slots.split():
            if slot in _ROLES:
                # `the cake`, and `* cake ( x _ 3 ) ;`, `eat . theme ( x _ 1 , x _ 3 ) AND`.
                words, facts = words + 2, facts + 8 + 13
            else:
                words += slot != "clause"
                facts += {"clause": 13, "infinitive": 26}.get(slot, 0)
        return words, facts

    last = [of(clause) for _, clause in grammar.clauses]
    says = of(_SAYS)
    deep, places = grammar.deep.stop - 1, grammar.places.stop - 1
    # A place adds one noun and `on`, and `cake . nmod . on ( x _ 3 , x _ 6 ) AND`.
    return (
        deep * says[0] + max(words for words, _ in last) + 3 * places + 1,
        deep * says[1] + max(facts for _, facts in last) + (8 + 15) * places,
    )


@functools.cache
def _words() -> tuple[str, ...]:
    verbs = [*itertools.chain(*VERBS.values()), *itertools.chain(*(each.verbs.values() for each in _CASES.values()))]
    nouns = [*itertools.chain(*NOUNS.values()), "hedgehog", "Lina", "cockroach", "Charlie", "cobra", "hippo"]
    nouns += [noun.lower() for name in NOUNS for noun in NOUNS[name] if not _is_name(name)]
    meanings = " ".join(_MEANINGS.values()).replace("{0}", "").replace("{}", "")
    symbols = f"the a The A was to that by on in beside * ; x _ nmod {meanings} recipient ccomp xcomp"
    places = map(str, range(max(_longest(grammar)[0] for grammar in _CASES.values())))
    forms = [form for verb in verbs for form in verb]
    return tuple(dict.fromkeys([*symbols.split(), *nouns, *_SHOWN_ALONE, *forms, *places]))
