"""Whether the functions of a figure ask for keys that are measured, found out before anything trains."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from jaxgen.condition import Condition
from jaxgen.errors import UserError
from jaxgen.figures.kinds import BySetting
from jaxgen.figures.made_up import Misspelt, made_up
from jaxgen.figures.settings import setting


def check_asked(figure: BySetting, conditions: Sequence[Condition]) -> None:
    """Raises `UserError` if a function of a figure asks for what none of its conditions measures."""
    seed = made_up(conditions)
    chosen = [each.name for each in conditions if figure.conditions is None or each.name in figure.conditions]
    names = [each.name for each in conditions if each.name in chosen and setting(each, figure.x) is not None]
    for value in figure.values.values():
        missing = []
        for name in names:
            # The function may fail on values that are made up; of true ones the report tells.
            with contextlib.suppress(Exception):
                try:
                    value(seed, name)
                except Misspelt as absence:
                    missing.append(str(absence))
        if missing and len(missing) == len(names):
            raise UserError(f"figure '{figure.name}': {missing[0]}")
