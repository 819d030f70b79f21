"""Which changes of a claim are changes of what it says."""

import importlib.util
import itertools
from pathlib import Path

import pytest

from jaxgen.experiment.digests import claim_digest

NOTEBOOK = '''"""A notebook."""
from jaxgen.bounds import least
from jaxgen.experiment import Typical, at_least
from jaxgen.experiment.claims import sooner

LEVEL = 0.9
NAMES = ("a", "b")

def best(t, name):
    """The best."""
    return t.max(name, "accuracy/test")  # a comment

claim = Typical(
    name="c", says="It is so", place="Fig. 1", paper="1", note="n",
    value=lambda t: least(best(t, name) for name in NAMES) / LEVEL, expect=at_least(0.5),
)
made = sooner("a", than="b", level=LEVEL, times=2, place="Fig. 1", paper="3")
'''
numbers = itertools.count()


def digests(tmp_path: Path, *changes: tuple[str, str]) -> tuple[str, str]:
    text = NOTEBOOK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / f"notebook_{next(numbers)}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return claim_digest(module.claim), claim_digest(module.made)


@pytest.mark.parametrize(
    "change",
    [
        ("It is so", "It is thus"),
        ('note="n"', 'note="another"'),
        ("  # a comment", ""),
        ('    """The best."""\n', ""),
        ("value=lambda t: least(best", "value=lambda t: least(\n        best"),
        ('"""A notebook."""\n', '"""A notebook."""\n\nUNUSED = 1\n'),
    ],
)
def test_words_and_looks_change_nothing(tmp_path: Path, change: tuple[str, str]) -> None:
    assert digests(tmp_path, change) == digests(tmp_path)


@pytest.mark.parametrize(
    ("change", "made_too"),
    [
        (("at_least(0.5)", "at_least(0.4)"), False),
        (("LEVEL = 0.9", "LEVEL = 0.8"), True),
        (('NAMES = ("a", "b")', 'NAMES = ("a",)'), False),
        (("return t.max(", "return t.min("), False),
        (("value=lambda t: least", "value=lambda t: 2 * least"), False),
        (("Typical", "EverySeed"), False),
        (("times=2", "times=3"), True),
        (('than="b"', 'than="c"'), True),
    ],
)
def test_what_decides_the_verdict_changes_it(tmp_path: Path, change: tuple[str, str], made_too: bool) -> None:
    before, after = digests(tmp_path), digests(tmp_path, change)
    assert (before[0] != after[0]) is (change[0] not in ("times=2", 'than="b"'))
    assert (before[1] != after[1]) is made_too
