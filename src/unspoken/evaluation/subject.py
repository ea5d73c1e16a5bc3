"""A run and the rows it is asked about, as trained and under a change."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from transformers import Cache

from unspoken.data.tokenizer import thought_tokens
from unspoken.evaluation.predict import answers, judge
from unspoken.evaluation.recorded import Recorded, record, same_shape
from unspoken.model import LatentForCausalLM
from unspoken.prepare import tokenize_rows
from unspoken.records import Example, Ledger, Prediction, StagedExample, TokenizedExample
from unspoken.run_directory import Run
from unspoken.trajectories.halting import halted


class Change:
    """One change, and everything else as it was. This one changes nothing."""

    def applies(self, row: int) -> bool:
        """Whether a row can be changed in this way; the others are left out, and counted."""
        return True

    def prompt(self, prompt: StagedExample) -> StagedExample:
        """What the model reads."""
        return prompt

    @contextmanager
    def thinking(self, model: LatentForCausalLM, rows: Sequence[int]) -> Iterator[None]:
        """How the model fills the slots of a batch of rows."""
        yield

    def cache(self, model: LatentForCausalLM, rows: Sequence[int]) -> Cache | None:
        """The cache that a batch of rows writes to; None: the model's own."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A run and rows it is asked about.

    Attributes:
        run: The run.
        examples: The rows as text.
        tokenized: The rows as tokens.
        progress: Told the name of a condition, the rows answered and the rows there are.
    """

    run: Run
    examples: Sequence[Example]
    tokenized: Sequence[TokenizedExample]
    progress: Callable[[str, int, int], None] = field(repr=False)

    @classmethod
    def of(cls, run: Run, examples: Sequence[Example], progress: Callable[[str, int, int], None]) -> "Subject":
        """Tokenise rows for a run.

        Raises:
            DataError: A row does not fit the model.
        """
        ledger = Ledger(rows_in=len(examples), rows_kept=len(examples))
        rows = tokenize_rows(run.recipe, examples, ledger, run.tokenizer, run.model)
        return cls(run, examples, rows.tokenized, progress)

    def prompts(self, num_thoughts: int | None = None) -> list[StagedExample]:
        """What the run reads; with as many thoughts as trained, or as its policy wants, or another number."""
        tokens, stage = thought_tokens(self.run.tokenizer), self.run.stage
        prompts = [self.run.recipe.method.prompt(row, stage, tokens, num_thoughts) for row in self.tokenized]
        return prompts if num_thoughts is not None else halted(self.run.model, prompts, self.batch_size)

    def record(self) -> Recorded:
        """What the model thinks about the rows."""
        answers = [self.run.recipe.task.normalise(example.answer) for example in self.examples]
        return record(self.run.model, self.prompts(), answers, self.batch_size)

    @property
    def batch_size(self) -> int:
        """Rows answered together."""
        return self.run.recipe.evaluate.batch_size

    def longest_as(self, answered: Mapping[int, Prediction]) -> dict[int, int]:
        """Longest answer of each row, in tokens, when it is to think no more in words than it did here.

        As many as it wrote, and as the right answer takes: else one that was too short could not become right.
        """
        forced = [prompt.num_forced for prompt in self.prompts(0)]
        return {
            row: max(prediction.num_tokens, len(self.tokenized[row].answer) - forced[row])
            for row, prediction in answered.items()
        }

    def answer(
        self,
        name: str,
        prompts: Sequence[StagedExample],
        change: Change | None = None,
        *,
        at_most: Mapping[int, int] | None = None,
    ) -> dict[int, Prediction]:
        """The answers by row, of the rows that the change applies to.

        Args:
            name: Of the condition, for the progress bar.
            prompts: What the run reads, row by row.
            change: What is done to its thoughts.
            at_most: Longest answer of each row in tokens; default: that of an evaluation.
        """
        run = self.run
        change = change or Change()
        chosen = [row for row in range(len(prompts)) if change.applies(row)]
        longest = run.recipe.evaluate.max_new_tokens or run.recipe.task.max_new_tokens
        if at_most is not None:
            longest = max((at_most[row] for row in chosen), default=1)
        found: dict[int, Prediction] = {}
        for group in same_shape([prompts[row] for row in chosen]):
            rows = [chosen[index] for index in group]
            used = [change.prompt(prompts[row]) for row in rows]
            thinking = _thinking(run.model, change, rows)
            for index, tokens in answers(run.model, used, self.batch_size, longest, thinking=thinking):
                row = rows[index]
                said = tokens if at_most is None else tokens[: at_most[row]]
                found[row] = judge(run.model, run.tokenizer, run.recipe.task, self.examples[row], used[index], said)
                self.progress(name, len(found), len(chosen))
        return found


def _thinking(
    model: LatentForCausalLM, change: Change, rows: Sequence[int]
) -> Callable[[Sequence[int]], AbstractContextManager[Cache | None]]:
    """What holds while a batch of these rows is answered, the batch given by its places in `rows`."""

    @contextmanager
    def thinking(indices: Sequence[int]) -> Iterator[Cache | None]:
        batch = [rows[index] for index in indices]
        cache = change.cache(model, batch)
        with change.thinking(model, batch):
            yield cache

    return thinking


def both(
    first: Mapping[int, Prediction], second: Mapping[int, Prediction]
) -> tuple[list[Prediction], list[Prediction]]:
    """The answers of the rows that both conditions hold, in the same order."""
    rows = sorted(first.keys() & second.keys())
    return [first[row] for row in rows], [second[row] for row in rows]
