"""The 15 tasks of Neural Networks and the Chomsky Hierarchy (Deletang et al., arXiv 2207.02098).

Shape letters: N examples, W random words, S input positions.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from jaxgen.config import NonNegativeInt, PositiveInt, added
from jaxgen.errors import UserError
from jaxgen.tasks.base import IGNORED, Array, Source, Split, TaskShape, clean_split
from jaxgen.tasks.strings.chomsky_numbers import NUMBER_RULES
from jaxgen.tasks.strings.chomsky_strings import STRING_RULES, Rule, odds_first_as_told
from jaxgen.tasks.strings.lengths import LengthTask, Question, taken

Name = Literal[
    "even_pairs",
    "modular_arithmetic",
    "parity_check",
    "cycle_navigation",
    "stack_manipulation",
    "reverse_string",
    "modular_arithmetic_brackets",
    "solve_equation",
    "duplicate_string",
    "missing_duplicate_string",
    "odds_first",
    "binary_addition",
    "binary_multiplication",
    "compute_sqrt",
    "bucket_sort",
]
_RULES = STRING_RULES | NUMBER_RULES
_ENCODER_SPECIAL = ("<empty>", "<end>", "<pad>")
_COMPUTE = "<compute>"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChomskyTask(LengthTask):
    """One of four regular, four deterministic context-free and seven context-sensitive tasks, by its published name.

    Examples are those of the paper's code: length 1 to 40 to train, `test_up_to=500` for its score, the mean
    over all lengths from 41 (`longer` draws them uniformly), where the answer's tokens are scored one by one.

    Formats:
    - `decoder`: a `LengthTask`'s sequence, for a causal model that reads its own answer;
    - `encoder`: the prompt and as many `<empty>` as the paper has outputs for its length, each of which answers one
      token, as in the paper's models, so no answer is among the inputs. Encoders read it, and recurrent networks, which
      have then read the whole prompt. If the answer's length varies (the stack, binary sums and products), the
      termination token `<end>` follows it. The paper trains but does not score the padding after it; here this padding
      is IGNORED. With `computation` c there are c times as many `<compute>` as the prompt has tokens between the two,
      at which nothing is asked. The paper gives them to networks with a tape.

    Differences from the paper: here every example draws its own length, while in the paper a batch has one length. So
    an encoder sees `<pad>` in training, which no split of one length has, and must not attend to it. Inputs and outputs
    share one vocabulary with the special tokens; in the paper outputs have their own classes.

    `odds_first` answers the second, fourth, ... symbol first, as the published code does; `odds_as_told` puts the
    first, third, ... first, as its description says.
    """

    name: Name
    max_length: PositiveInt = 40
    format: Literal["decoder", "encoder"] = "decoder"
    odds_as_told: bool = False
    computation: NonNegativeInt = added(0)

    def validate(self) -> None:
        super().validate()
        if self.odds_as_told and self.name != "odds_first":
            raise UserError(f"task.odds_as_told: is of 'odds_first', got '{self.name}'")
        if self.format == "encoder" and self.context is not None:
            raise UserError(f"task.context: got {self.context}, expected none: an 'encoder' reads one example")
        if self.format == "decoder" and self.computation:
            raise UserError(
                f"task.computation: got {self.computation}, expected 0: only format 'encoder' has '{_COMPUTE}'"
            )

    def rule(self) -> Rule:
        """Returns the task's rule."""
        rule = _RULES[self.name]
        return rule._replace(question=odds_first_as_told) if self.odds_as_told else rule

    def symbols(self) -> tuple[str, ...]:
        return self.rule().symbols

    def token_names(self) -> tuple[str, ...]:
        if self.format == "decoder":
            return super().token_names()
        return self.symbols() + _ENCODER_SPECIAL + (_COMPUTE,) * (self.computation > 0)

    def shape(self) -> TaskShape:
        shape = super().shape()
        if self.format == "decoder":
            return shape
        ends = self.token_names().index(_COMPUTE if self.computation else "<empty>")
        return dataclasses.replace(shape, source=Source(ends, self.longest()))

    def places(self, longest: int) -> tuple[int, int]:
        rule = self.rule()
        return longest, rule.outputs(longest) - rule.terminated

    def question_words(self, longest: int) -> int:
        return self.rule().words(longest)

    def variety(self, length: int) -> float:
        return self.shown_length(length) * math.log10(self.rule().choices)

    def shown_length(self, length: int) -> int:
        return length - (length + 1) % 2 if self.name == "modular_arithmetic" else length

    def question(self, words_NW: Array, length_N: Array, longest: int, xp: Any) -> Question:
        return self.rule().question(words_NW, length_N, longest, xp)

    def laid_out(self, question: Question, longest: int, xp: Any) -> Split:
        if self.format == "decoder":
            return super().laid_out(question, longest, xp)
        rule = self.rule()
        empty, end, pad = (xp.int32(len(rule.symbols) + i) for i in range(len(_ENCODER_SPECIAL)))
        place_1S = xp.arange(self._inputs(longest), dtype=xp.int32)[None]
        prompt_N1 = question.prompt_N[:, None]
        output_NS = place_1S - prompt_N1 * (1 + self.computation)
        answer_N1 = question.answer_N[:, None]
        inputs_NS = xp.where(output_NS < rule.outputs(question.prompt_N)[:, None], empty, pad)
        prompt_NS = taken(question.prompt_NP, place_1S + xp.zeros_like(output_NS), xp)
        last_NS = xp.where((output_NS == answer_N1) & rule.terminated, end, xp.int32(IGNORED))
        targets_NS = xp.where(output_NS < answer_N1, taken(question.answer_NA, output_NS, xp), last_NS)
        targets_NS = xp.where(output_NS < 0, xp.int32(IGNORED), targets_NS)
        inputs_NS = xp.where(output_NS < 0, xp.int32(len(rule.symbols) + len(_ENCODER_SPECIAL)), inputs_NS)
        return clean_split(xp.where(place_1S < prompt_N1, prompt_NS, inputs_NS), targets_NS, xp)

    def _inputs(self, longest: int) -> int:
        if self.format == "decoder":
            return super()._inputs(longest)
        return longest * (1 + self.computation) + self.rule().outputs(longest)
