"""A parser of the sentences of COGS, which writes the logical form of what it has read."""

import dataclasses

from jaxgen.tasks.language.cogs_words import NOUNS, VERBS
from tests.texts import Pair

LEMMAS = {form: verb.lemma for verbs in VERBS.values() for verb in verbs for form in verb} | {
    "baked": "bake",
    "blessed": "bless",
    "crawl": "crawl",
    "shattered": "shatter",
    "shipped": "ship",
    "squeezed": "squeeze",
    "teleported": "teleport",
}
UNACCUSATIVE = {verb.past for verb in VERBS["unaccusative"]} | {"shattered"}
DATIVE = {verb.participle for verb in VERBS["dative"]} | {"shipped", "teleported"}


@dataclasses.dataclass
class Phrase:
    at: int
    noun: str
    name: bool
    definite: bool = False
    places: int = 0

    def __str__(self) -> str:
        return self.noun if self.name else f"x _ {self.at}"


class Parse:
    """The phrases of a sentence, and the roles (verb, role, place of the verb, place of the argument)."""

    def __init__(self, sentence: list[str]) -> None:
        *self.words, full_stop = sentence
        assert full_stop == "."
        assert self.words[0][0].isupper()
        if self.words[0] in ("A", "The"):
            self.words[0] = self.words[0].lower()
        self.phrases: dict[int, Phrase] = {}
        self.roles: list[tuple[str, str, int, int]] = []
        self.subjects: list[Phrase] = []
        self.clauses = -1
        self.i = 0
        self.clause()
        assert self.i == len(self.words)

    def here(self) -> str:
        return self.words[self.i] if self.i < len(self.words) else ""

    def take(self, word: str) -> bool:
        found = self.here() == word
        self.i += found
        return found

    def noun(self) -> Phrase:
        definite = self.take("the")
        name = not definite and not self.take("a")
        phrase = self.phrases[self.i] = Phrase(self.i, self.here(), name, definite)
        assert name == (phrase.noun in (*NOUNS["proper"], "Lina", "Paula", "Charlie"))
        self.i += 1
        return phrase

    def phrase(self) -> Phrase:
        first = last = self.noun()
        while (where := self.here()) in ("on", "in", "beside"):
            self.i += 1
            place = self.noun()
            self.roles.append((last.noun.lower(), f"nmod . {where}", last.at, place.at))
            first.places, last = first.places + 1, place
        return first

    def is_phrase(self) -> bool:
        return self.here() in ("the", "a") or self.here()[:1].isupper()

    def clause(self) -> int:
        self.clauses += 1
        subject = self.phrase()
        self.subjects.append(subject)
        passive = self.take("was")
        at, form = self.i, self.here()
        self.i += 1
        roles = {subject.at: "theme" if passive or (form in UNACCUSATIVE and not self.is_phrase()) else "agent"}
        if passive:
            if form in DATIVE and self.is_phrase():
                roles = {subject.at: "recipient", self.phrase().at: "theme"}
            elif self.take("to"):
                roles[self.phrase().at] = "recipient"
            if self.take("by"):
                roles[self.phrase().at] = "agent"
        elif self.take("that"):
            roles[self.clause()] = "ccomp"
        elif self.take("to"):
            roles[self.i] = "xcomp"
            self.roles.append((LEMMAS[self.here()], "agent", self.i, subject.at))
            self.i += 1
        elif self.is_phrase():
            first = self.phrase()
            if self.is_phrase():
                roles |= {first.at: "recipient", self.phrase().at: "theme"}
            else:
                roles[first.at] = "theme"
                if self.take("to"):
                    roles[self.phrase().at] = "recipient"
        self.roles += [(LEMMAS[form], role, at, argument) for argument, role in roles.items()]
        return at

    def frame(self) -> str:
        """Returns the roles of the last clause, in the order of its words."""
        verbs = {of for _, role, of, _ in self.roles if not role.startswith("nmod")}
        last = max(verbs - {to for _, role, _, to in self.roles if role == "xcomp"})
        roles = sorted((to, role) for _, role, of, to in self.roles if of == last)
        return "was " * (self.words[last - 1] == "was") + " ".join(role for _, role in roles)

    def form(self) -> str:
        """Writes the logical form, word by word of the sentence."""
        definite, facts = [], []
        for at in range(len(self.words)):
            phrase = self.phrases.get(at)
            if phrase and not phrase.name:
                noun = phrase.noun.lower()
                (definite if phrase.definite else facts).append(f"{'* ' * phrase.definite}{noun} ( x _ {at} )")
            for argument in range(len(self.words)):
                for head, role, of, to in self.roles:
                    if (of, to) == (at, argument):
                        facts.append(f"{head} . {role} ( x _ {at} , {self.phrases.get(to, f'x _ {to}')} )")
        return " ; ".join([*definite, " AND ".join(facts)])


def parsed(pair: Pair) -> Parse:
    parse = Parse(pair[0])
    assert parse.form() == " ".join(pair[1])
    return parse
