"""COGS as it was published (github.com/najoungkim/COGS, data/*.tsv): its counts, and whether ours are of the same law.

Counts are of the whole files: `main` are the 30,000 sentences of the main grammar in train, dev and test; the others
are the cases of gen, 1,000 sentences each.
"""

import collections
import functools
import hashlib
from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from jaxgen.tasks.language.cogs import CogsTask
from jaxgen.tasks.language.cogs_words import NOUNS
from tests.cogs_parser import Parse

pytestmark = pytest.mark.report("https://github.com/najoungkim/COGS")

FREQUENT = ("girl", "boy", "Emma", "Liam", "cake", "donut", "table", "stage", "house", "room")

# Of every sentence: how many clauses say another one; how many places there are; the roles of the last clause, in
# order; of a last clause of `agent theme`, what the theme is; and of all nouns, the first of each list of words.
PUBLISHED: dict[str, dict[str, dict]] = {
    "main": {
        "clauses": {0: 27148, 1: 2655, 2: 197},
        "places": {0: 23652, 1: 5784, 2: 564},
        "frame": {
            "agent": 2036,
            "agent recipient theme": 2058,
            "agent theme": 6337,
            "agent theme recipient": 2047,
            "agent xcomp": 1661,
            "theme": 1276,
            "was recipient theme": 1532,
            "was recipient theme agent": 1590,
            "was theme": 2582,
            "was theme agent": 5249,
            "was theme recipient": 1718,
            "was theme recipient agent": 1914,
        },
        "noun": {
            "Emma": 5146,
            "Liam": 2180,
            "boy": 2555,
            "cake": 6119,
            "donut": 2594,
            "girl": 5754,
            "house": 772,
            "room": 281,
            "stage": 578,
            "table": 1433,
            "another": 42603,
        },
        "object": {
            "animate": 1018,
            "animate, placed": 1025,
            "inanimate": 1605,
            "inanimate, placed": 1672,
            "proper": 1017,
        },
    },
    "subj_to_obj_common": {
        "clauses": {0: 889, 1: 95, 2: 16},
        "places": {0: 490, 1: 463, 2: 47},
        "frame": {"agent recipient theme": 187, "agent theme": 627, "agent theme recipient": 186},
        "noun": {
            "Emma": 187,
            "Liam": 102,
            "boy": 85,
            "girl": 212,
            "house": 57,
            "room": 20,
            "stage": 46,
            "table": 115,
            "another": 2233,
        },
        "object": {"new": 297, "new, placed": 330},
    },
    "subj_to_obj_proper": {
        "clauses": {0: 877, 1: 107, 2: 16},
        "places": {0: 1000},
        "frame": {"agent recipient theme": 225, "agent theme": 566, "agent theme recipient": 209},
        "noun": {"Emma": 199, "Liam": 79, "boy": 105, "girl": 195, "another": 1995},
        "object": {"new": 566},
    },
    "obj_to_subj_common": {
        "clauses": {0: 914, 1: 79, 2: 7},
        "places": {0: 652, 1: 315, 2: 33},
        "frame": {
            "agent": 91,
            "agent recipient theme": 181,
            "agent theme": 462,
            "agent theme recipient": 147,
            "agent xcomp": 119,
        },
        "noun": {
            "Emma": 82,
            "Liam": 30,
            "boy": 36,
            "cake": 179,
            "donut": 72,
            "girl": 106,
            "house": 44,
            "room": 11,
            "stage": 27,
            "table": 84,
            "another": 1921,
        },
        "object": {"animate": 61, "animate, placed": 63, "inanimate": 125, "inanimate, placed": 113, "proper": 100},
    },
    "obj_to_subj_proper": {
        "clauses": {0: 913, 1: 75, 2: 12},
        "places": {0: 633, 1: 329, 2: 38},
        "frame": {
            "agent": 66,
            "agent recipient theme": 193,
            "agent theme": 470,
            "agent theme recipient": 160,
            "agent xcomp": 111,
        },
        "noun": {
            "Emma": 88,
            "Liam": 36,
            "boy": 47,
            "cake": 193,
            "donut": 79,
            "girl": 110,
            "house": 48,
            "room": 13,
            "stage": 46,
            "table": 90,
            "another": 1930,
        },
        "object": {"animate": 58, "animate, placed": 59, "inanimate": 121, "inanimate, placed": 122, "proper": 110},
    },
    "prim_to_subj_common": {
        "clauses": {0: 912, 1: 83, 2: 5},
        "places": {0: 638, 1: 329, 2: 33},
        "frame": {
            "agent": 89,
            "agent recipient theme": 182,
            "agent theme": 466,
            "agent theme recipient": 153,
            "agent xcomp": 110,
        },
        "noun": {
            "Emma": 99,
            "Liam": 49,
            "boy": 37,
            "cake": 185,
            "donut": 66,
            "girl": 93,
            "house": 31,
            "room": 15,
            "stage": 25,
            "table": 92,
            "another": 1932,
        },
        "object": {"animate": 57, "animate, placed": 62, "inanimate": 115, "inanimate, placed": 118, "proper": 114},
    },
    "prim_to_subj_proper": {
        "clauses": {0: 902, 1: 89, 2: 9},
        "places": {0: 617, 1: 348, 2: 35},
        "frame": {
            "agent": 61,
            "agent recipient theme": 186,
            "agent theme": 478,
            "agent theme recipient": 183,
            "agent xcomp": 92,
        },
        "noun": {
            "Emma": 108,
            "Liam": 39,
            "boy": 54,
            "cake": 188,
            "donut": 72,
            "girl": 120,
            "house": 54,
            "room": 14,
            "stage": 27,
            "table": 85,
            "another": 1980,
        },
        "object": {"animate": 70, "animate, placed": 69, "inanimate": 123, "inanimate, placed": 117, "proper": 99},
    },
    "prim_to_obj_common": {
        "clauses": {0: 889, 1: 95, 2: 16},
        "places": {0: 490, 1: 463, 2: 47},
        "frame": {"agent recipient theme": 187, "agent theme": 627, "agent theme recipient": 186},
        "noun": {
            "Emma": 187,
            "Liam": 102,
            "boy": 85,
            "girl": 212,
            "house": 57,
            "room": 20,
            "stage": 46,
            "table": 115,
            "another": 2233,
        },
        "object": {"new": 297, "new, placed": 330},
    },
    "prim_to_obj_proper": {
        "clauses": {0: 877, 1: 107, 2: 16},
        "places": {0: 1000},
        "frame": {"agent recipient theme": 225, "agent theme": 566, "agent theme recipient": 209},
        "noun": {"Emma": 199, "Liam": 79, "boy": 105, "girl": 195, "another": 1995},
        "object": {"new": 566},
    },
    "prim_to_inf_arg": {
        "clauses": {0: 891, 1: 107, 2: 2},
        "places": {0: 1000},
        "frame": {"agent xcomp": 1000},
        "noun": {"Emma": 47, "Liam": 33, "boy": 45, "girl": 75, "another": 911},
    },
    "obj_pp_to_subj_pp": {
        "clauses": {0: 923, 1: 77},
        "places": {1: 591, 2: 409},
        "frame": {
            "agent": 154,
            "agent recipient theme": 47,
            "agent theme": 193,
            "agent theme recipient": 52,
            "agent xcomp": 78,
            "theme": 84,
            "was recipient theme": 122,
            "was recipient theme agent": 34,
            "was theme": 104,
            "was theme agent": 80,
            "was theme recipient": 30,
            "was theme recipient agent": 22,
        },
        "noun": {
            "Emma": 49,
            "Liam": 17,
            "boy": 128,
            "cake": 195,
            "donut": 91,
            "girl": 300,
            "house": 145,
            "room": 42,
            "stage": 116,
            "table": 267,
            "another": 1871,
        },
        "object": {"animate": 32, "animate, placed": 14, "inanimate": 56, "inanimate, placed": 36, "proper": 55},
    },
    "cp_recursion": {
        "clauses": {3: 100, 4: 100, 5: 100, 6: 100, 7: 100, 8: 100, 9: 100, 10: 100, 11: 100, 12: 100},
        "places": {0: 828, 1: 151, 2: 17, 3: 4},
        "frame": {
            "agent": 60,
            "agent recipient theme": 20,
            "agent theme": 80,
            "agent theme recipient": 27,
            "agent xcomp": 20,
            "theme": 311,
            "was recipient theme": 127,
            "was recipient theme agent": 75,
            "was theme": 137,
            "was theme agent": 86,
            "was theme recipient": 36,
            "was theme recipient agent": 21,
        },
        "noun": {
            "Emma": 638,
            "Liam": 433,
            "boy": 420,
            "cake": 252,
            "donut": 84,
            "girl": 648,
            "house": 20,
            "room": 10,
            "stage": 7,
            "table": 40,
            "another": 6760,
        },
        "object": {"animate": 9, "animate, placed": 15, "inanimate": 22, "inanimate, placed": 20, "proper": 14},
    },
    "pp_recursion": {
        "clauses": {0: 913, 1: 80, 2: 5, 3: 2},
        "places": {3: 100, 4: 100, 5: 100, 6: 100, 7: 100, 8: 100, 9: 100, 10: 100, 11: 100, 12: 100},
        "frame": {"agent recipient theme": 185, "agent theme": 640, "agent theme recipient": 175},
        "noun": {
            "Emma": 217,
            "Liam": 93,
            "boy": 134,
            "cake": 242,
            "donut": 93,
            "girl": 290,
            "house": 551,
            "room": 332,
            "stage": 443,
            "table": 682,
            "another": 6879,
        },
        "object": {"animate, placed": 302, "inanimate, placed": 338},
    },
    "active_to_passive": {
        "clauses": {0: 895, 1: 101, 2: 4},
        "places": {0: 1000},
        "frame": {"was theme": 209, "was theme agent": 791},
        "noun": {"Emma": 95, "Liam": 34, "boy": 53, "cake": 172, "donut": 74, "girl": 102, "another": 1370},
    },
    "passive_to_active": {
        "clauses": {0: 890, 1: 102, 2: 8},
        "places": {0: 560, 1: 400, 2: 40},
        "frame": {"agent theme": 1000},
        "noun": {
            "Emma": 203,
            "Liam": 93,
            "boy": 97,
            "cake": 161,
            "donut": 58,
            "girl": 225,
            "house": 61,
            "room": 14,
            "stage": 38,
            "table": 99,
            "another": 1549,
        },
        "object": {"animate": 114, "animate, placed": 150, "inanimate": 241, "inanimate, placed": 290, "proper": 205},
    },
    "obj_omitted_transitive_to_transitive": {
        "clauses": {0: 899, 1: 92, 2: 9},
        "places": {0: 570, 1: 394, 2: 36},
        "frame": {"agent theme": 1000},
        "noun": {
            "Emma": 210,
            "Liam": 91,
            "boy": 97,
            "cake": 154,
            "donut": 60,
            "girl": 223,
            "house": 60,
            "room": 13,
            "stage": 35,
            "table": 98,
            "another": 1535,
        },
        "object": {"animate": 121, "animate, placed": 152, "inanimate": 236, "inanimate, placed": 278, "proper": 213},
    },
    "unacc_to_transitive": {
        "clauses": {0: 899, 1: 92, 2: 9},
        "places": {0: 570, 1: 394, 2: 36},
        "frame": {"agent theme": 1000},
        "noun": {
            "Emma": 210,
            "Liam": 91,
            "boy": 97,
            "cake": 154,
            "donut": 60,
            "girl": 223,
            "house": 60,
            "room": 13,
            "stage": 35,
            "table": 98,
            "another": 1535,
        },
        "object": {"animate": 121, "animate, placed": 152, "inanimate": 236, "inanimate, placed": 278, "proper": 213},
    },
    "do_dative_to_pp_dative": {
        "clauses": {0: 913, 1: 80, 2: 7},
        "places": {0: 487, 1: 458, 2: 55},
        "frame": {"agent theme recipient": 1000},
        "noun": {
            "Emma": 294,
            "Liam": 128,
            "boy": 104,
            "cake": 315,
            "donut": 116,
            "girl": 283,
            "house": 64,
            "room": 18,
            "stage": 38,
            "table": 128,
            "another": 2174,
        },
    },
    "pp_dative_to_do_dative": {
        "clauses": {0: 917, 1: 76, 2: 7},
        "places": {0: 506, 1: 443, 2: 51},
        "frame": {"agent recipient theme": 1000},
        "noun": {
            "Emma": 306,
            "Liam": 140,
            "boy": 142,
            "cake": 320,
            "donut": 106,
            "girl": 279,
            "house": 68,
            "room": 10,
            "stage": 41,
            "table": 118,
            "another": 2105,
        },
    },
    "only_seen_as_transitive_subj_as_unacc_subj": {
        "clauses": {0: 40, 1: 910, 2: 50},
        "places": {0: 1000},
        "frame": {"theme": 1000},
        "noun": {"Emma": 128, "Liam": 50, "boy": 68, "girl": 137, "another": 1627},
    },
    "only_seen_as_unacc_subj_as_obj_omitted_transitive_subj": {
        "clauses": {0: 40, 1: 920, 2: 40},
        "places": {0: 1000},
        "frame": {"agent": 1000},
        "noun": {"Emma": 129, "Liam": 66, "boy": 55, "girl": 131, "another": 1619},
    },
    "only_seen_as_unacc_subj_as_unerg_subj": {
        "clauses": {0: 40, 1: 920, 2: 40},
        "places": {0: 1000},
        "frame": {"agent": 1000},
        "noun": {"Emma": 129, "Liam": 66, "boy": 55, "girl": 131, "another": 1619},
    },
}

Law = Mapping[str, Mapping]


def law(parses: list[Parse]) -> Law:
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for parse in parses:
        phrases = parse.phrases.values()
        counts["clauses"][parse.clauses] += 1
        counts["places"][sum(phrase.places for phrase in phrases)] += 1
        frame = parse.frame()
        counts["frame"][frame] += 1
        counts["noun"].update(p.noun if p.noun in FREQUENT else "another" for p in phrases)
        if frame == "agent theme":
            theme = parse.phrases[max(to for _, role, _, to in parse.roles if role == "theme")]
            kinds = (kind for kind in ("inanimate", "animate", "proper") if theme.noun in NOUNS[kind])
            counts["object"][next(kinds, "new") + ", placed" * (theme.places > 0)] += 1
    return counts


def unlike(one: Mapping, other: Mapping) -> float:
    """Returns the probability that two counts of one law differ by so much."""
    table = np.array([[counts.get(value, 0) for value in {**one, **other}] for counts in (one, other)])
    rare = table.sum(axis=0) < 10
    table = np.concatenate([table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)], axis=1)
    table = table[:, table.sum(axis=0) > 0]
    return 1.0 if table.shape[1] < 2 else float(stats.chi2_contingency(table).pvalue)


@functools.cache
def corpus() -> dict[str, list[tuple[list[str], list[str]]]]:
    task = CogsTask()
    names, read = task.token_names(), {}
    for split, (tokens, sources, targets) in task.sentences().items():
        words, at, read[split] = [names[token] for token in tokens.tolist()], 0, []
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            read[split].append((words[at : at + source], words[at + source : at + source + target]))
            at += source + target
    read["main"] = [*read.pop("train"), *read.pop("validation"), *read.pop("test")]
    return read


@pytest.mark.long
def test_the_words_alone_are_the_published_ones() -> None:
    lines = sorted("\t".join(map(" ".join, pair)) for pair in corpus()["main"] if len(pair[0]) == 1)
    assert len(lines) == 143
    # Of the sorted lines `word<TAB>logical form` of kind `primitive` in train.tsv.
    digest = "92b10d90364505176da14647c8291e450b35b99be209484c55ab3ee7d2071666"
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest


def test_the_words_are_the_published_ones() -> None:
    names = CogsTask().token_names()[3:]
    assert len(set(names)) == len(names)
    words = sorted(name for name in names if not name.isdigit())
    assert len(words) == 815
    # Of the sorted words of sentences and logical forms in train, dev, test and gen, less the numbers.
    digest = "3f21b74d2091d14fdc8ca5aa5b38552a318eabac3134700929ec0b9018286820"
    assert hashlib.sha256(" ".join(words).encode()).hexdigest() == digest


@pytest.mark.long
@pytest.mark.parametrize("case", PUBLISHED)
def test_sentences_are_of_the_published_law(case: str) -> None:
    ours = law([Parse(source) for source, _ in corpus()[case] if len(source) > 1])
    assert set(ours) == set(PUBLISHED[case])
    chances = {feature: unlike(PUBLISHED[case][feature], counts) for feature, counts in ours.items()}
    assert min(chances.values()) > 1e-4, chances
