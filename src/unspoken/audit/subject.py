"""The run under audit, and how it answers rows under a change."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from transformers import Cache

from unspoken.audit.interventions import Intervention
from unspoken.audit.recorded import Recorded, record, same_shape
from unspoken.data.tokenizer import thought_tokens
from unspoken.evaluation.predict import answers, judge
from unspoken.prepare import tokenize_rows
from unspoken.records import Example, Ledger, Prediction, StagedExample, TokenizedExample
from unspoken.run_directory import Run


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
        """What the run reads; with as many thoughts as trained, or another number."""
        tokens, stage = thought_tokens(self.run.tokenizer), self.run.stage
        return [self.run.recipe.method.prompt(row, stage, tokens, num_thoughts) for row in self.tokenized]

    def record(self) -> Recorded:
        """What the model thinks about the rows."""
        answers = [self.run.recipe.task.normalise(example.answer) for example in self.examples]
        return record(self.run.model, self.prompts(), answers, self.batch_size)

    @property
    def batch_size(self) -> int:
        """Rows answered together."""
        return self.run.recipe.evaluate.batch_size

    def answer(
        self,
        name: str,
        prompts: Sequence[StagedExample],
        intervention: Intervention | None = None,
        *,
        at_most: int | None = None,
    ) -> dict[int, Prediction]:
        """The answers by row, of the rows that the intervention applies to.

        Args:
            name: Of the condition, for the progress bar.
            prompts: What the run reads, row by row.
            intervention: What is done to its thoughts.
            at_most: Longest answer in tokens; default: that of an evaluation.
        """
        run = self.run
        longest = at_most or run.recipe.evaluate.max_new_tokens or run.recipe.task.max_new_tokens
        chosen = [row for row in range(len(prompts)) if intervention is None or intervention.applies(row)]
        found: dict[int, Prediction] = {}
        for group in same_shape([prompts[row] for row in chosen]):
            rows = [chosen[index] for index in group]
            used = [prompts[row] if intervention is None else intervention.prompt(prompts[row]) for row in rows]
            thinking = _thinking(run, intervention, rows)
            for index, tokens in answers(run.model, used, self.batch_size, longest, thinking=thinking):
                row = rows[index]
                found[row] = judge(run.model, run.tokenizer, run.recipe.task, self.examples[row], used[index], tokens)
                self.progress(name, len(found), len(chosen))
        return found


def _thinking(
    run: Run, intervention: Intervention | None, rows: Sequence[int]
) -> Callable[[Sequence[int]], AbstractContextManager[Cache | None]]:
    """What holds while a batch of these rows is answered, the batch given by its places in `rows`."""

    @contextmanager
    def thinking(indices: Sequence[int]) -> Iterator[Cache | None]:
        if intervention is None:
            yield None
            return
        batch = [rows[index] for index in indices]
        cache = intervention.cache(run.model, batch)
        with intervention.thinking(run.model, batch):
            yield cache

    return thinking


def both(
    first: Mapping[int, Prediction], second: Mapping[int, Prediction]
) -> tuple[list[Prediction], list[Prediction]]:
    """The answers of the rows that both conditions hold, in the same order."""
    rows = sorted(first.keys() & second.keys())
    return [first[row] for row in rows], [second[row] for row in rows]
