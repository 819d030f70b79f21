"""A reader of PCFG SET, which evaluates an expression from its last word to its first."""

import collections
import itertools

ARITY = {
    **dict.fromkeys(("copy", "reverse", "shift", "echo", "swap_first_last", "repeat"), 1),
    **dict.fromkeys(("append", "prepend", "remove_first", "remove_second"), 2),
}
HELD_OUT = {
    ("swap_first_last", "repeat"),
    ("append", "remove_second"),
    ("repeat", "remove_second"),
    ("append", "swap_first_last"),
}


def apply(function: str, arguments: list[list[str]]) -> list[str]:
    first, result = arguments[0], collections.deque(arguments[0])
    if function == "reverse":
        result.reverse()
    elif function == "shift":
        result.rotate(-1)
    elif function == "echo":
        result.append(first[len(first) - 1])
    elif function == "swap_first_last":
        result[0], result[-1] = result[-1], result[0]
    elif function in ("repeat", "append"):
        result.extend(arguments[-1])
    elif function == "prepend":
        result.extendleft(arguments[1][::-1])
    elif function == "remove_first":
        return arguments[1]
    else:
        assert function in ("copy", "remove_second")
    return list(result)


def value(source: list[str]) -> list[str]:
    """Evaluates from the last word to the first: a function finds its arguments on the stack."""
    stack: list[list[str]] = []
    for starts_new, words in itertools.groupby(reversed(source), key=lambda word: word in ARITY or word == ","):
        if not starts_new:
            stack.append(list(words)[::-1])
            continue
        for word in words:
            if word != ",":
                stack.append(apply(word, [stack.pop() for _ in range(ARITY[word])]))
    (only,) = stack
    return only


def functions(source: list[str]) -> list[str]:
    return [word for word in source if word in ARITY]


def strings(source: list[str]) -> list[tuple[str, ...]]:
    groups = itertools.groupby(source, key=lambda word: word in ARITY or word == ",")
    return [tuple(words) for other, words in groups if not other]


def depth(source: list[str]) -> int:
    """Returns how many functions stand one inside another at most."""
    stack: list[int] = []
    for starts_new, words in itertools.groupby(reversed(source), key=lambda word: word in ARITY or word == ","):
        if not starts_new:
            stack.append(0)
            continue
        for word in words:
            if word != ",":
                stack.append(1 + max(stack.pop() for _ in range(ARITY[word])))
    (only,) = stack
    return only


def holds_out(source: list[str]) -> bool:
    return not HELD_OUT.isdisjoint(itertools.pairwise(source))
