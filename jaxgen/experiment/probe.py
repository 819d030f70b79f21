"""Reads the names in claims before anything is trained, by asking them of made-up values."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxgen.bounds import Bounds
from jaxgen.condition import Condition
from jaxgen.errors import UserError, shown, suggestion
from jaxgen.figures.made_up import MadeUp, Misspelt, made_up
from jaxgen.table import SeedTable

if TYPE_CHECKING:
    from jaxgen.experiment.claim import Claim


def check_names(claims: Sequence[Claim], conditions: Sequence[Condition]) -> None:
    """Refuses a claim that names what no condition has, or that asks the table what it cannot answer.

    What a claim computes from made-up values is ignored, errors in it too: only training shows whether these are ones.

    Raises:
      UserError: a name is wrong; the message has the nearest. Its cause is the error in the claim's own line.
    """
    table = made_up(conditions)
    for claim in claims:
        try:
            with warnings.catch_warnings(action="ignore"):
                _ask(claim, table)
        except Misspelt as error:
            raise UserError(f"claim '{claim.name}': {error}") from error


def _ask(claim: Claim, table: MadeUp) -> None:
    try:
        value = claim.value(table)
    except NameError as error:
        raise Misspelt(str(error)) from error
    except AttributeError as error:
        if error.obj is not table:
            return
        there = [name for name in dir(SeedTable) if not name.startswith("_")]
        raise Misspelt(f"a seed's table has no '{error.name}'{suggestion(error.name or '', there)}") from error
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:  # the call itself
            raise Misspelt(f"its value{_line(claim)} must be a function of the seed's table alone: {error}") from error
    except Misspelt:
        raise
    except Exception:
        return
    else:
        if isinstance(value, Bounds):
            return
        with contextlib.suppress(TypeError, ValueError):
            if not isinstance(value, str):
                float(value)
                return
        raise Misspelt(
            f"its value{_line(claim)} is {shown(value)}, expected a number, or True or False with expect=YES"
        )


def _line(claim: Claim) -> str:
    code = getattr(claim.value, "__code__", None)
    return f", in line {code.co_firstlineno}," if code else ""
