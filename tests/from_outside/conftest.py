"""Cases from outside: what public reports, papers' data and peers' tests say went wrong, with the right value.

A test here says which report it came from: `@pytest.mark.report("jax-ml/jax#19085")`, an issue or pull request on
GitHub, or a URL. What jaxgen's own development finds is tested beside its subject, in tests/.
"""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not any(mark.args for mark in item.iter_markers("report")):
            raise pytest.UsageError(
                f"{item.nodeid}: expected @pytest.mark.report(...) with the public report it is from"
            )
