"""START HERE: the records an example becomes on its way from a row to a report.

    row -> Example -> TokenizedExample -> StagedExample -> Batch -> (model) -> Prediction -> Evaluation

Every record is frozen. Each arrow is one function: `Task.parse`, `data.tokenize`, `Method.layout`, `data.collate`,
`LatentForCausalLM.forward` or `generate`, `Task.score`, `evaluate.statistics`.

Shapes: B rows of a batch, L columns, K thoughts, D width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NotRequired, Protocol, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # tasks and the command line read these records without waiting for torch
    from torch import Tensor

Split: TypeAlias = Literal["train", "validation", "test"]
Tokens: TypeAlias = npt.NDArray[np.int32]
"""Token ids of one piece of text, shape (length,)."""

IGNORED = -100
"""Label of a position that is not trained (Hugging Face's convention)."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The directed graph behind a generated question: the oracle's knowledge, never shown to the model.

    Attributes:
        names: Name of each node; the index in this tuple is the node's id.
        edges: (from, to) pairs of node ids.
        root: Where the search starts.
        target: The node that answers the question.
        distractor: The wrong node that the question offers, or None when it offers none.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    root: int
    target: int
    distractor: int | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One question as a person reads it, whatever file or generator it came from.

    Attributes:
        id: Unique within its data set; randomness that concerns this row is seeded by it.
        question: The question itself, after the premises.
        steps: The reasoning in words, in order; may be empty.
        answer: The gold answer, as it is to be written.
        premises: Facts that precede the question and may stand in any order. Empty when the question is one fixed text.
        rewordings: Other wordings of `question` with the same meaning (options in the other order).
        frontiers: For step k = 0, 1, ... the words a correct search may hold after it (nodes at depth k + 1 on some
            shortest path). Empty when the task has no oracle.
        graph: The graph behind the question, for the oracle; None when there is none.
        images: Paths of the image files that the question is about, in order; they are seen before it is read.
        choices: The answers that the question offers, in its order, each as `answer` would write it; of equal choices
            all but the first are written as the first. Empty when it offers none.
        direct_answers: What annotators answered who saw no choices; empty when nobody was asked.
        other_steps: Further reasonings that lead to the same answer, each as `steps`; training may take one an epoch.
        captions: What is said of each image, in their order; empty where nothing is.
        next_image: Path of the image that the answer describes and nobody sees; None where there is none.
    """

    id: str
    question: str
    steps: tuple[str, ...]
    answer: str
    premises: tuple[str, ...] = ()
    rewordings: tuple[str, ...] = ()
    frontiers: tuple[tuple[str, ...], ...] = ()
    graph: Graph | None = None
    images: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    direct_answers: tuple[str, ...] = ()
    other_steps: tuple[tuple[str, ...], ...] = ()
    captions: tuple[str, ...] = ()
    next_image: str | None = None


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How the pieces of an example are written. The defaults are those of the released Coconut.

    Attributes:
        premise_separator: Stands between premises, and between the last premise and the question.
        question_end: Follows the question.
        step_end: Follows each step.
        answer_start: Precedes the answer; the answer is read from what follows its last occurrence in the output.
    """

    premise_separator: str = " "
    question_end: str = "\n"
    step_end: str = "\n"
    answer_start: str = "### "


@dataclass(frozen=True, slots=True)
class ThoughtTokens:
    """The ids of the tokens that stand for thoughts.

    Attributes:
        latent: `<|latent|>`, one per slot.
        start: `<|start-latent|>`, before the slots.
        end: `<|end-latent|>`, after them.
    """

    latent: int
    start: int
    end: int


class ImageInput(Protocol):
    """An image as the model takes it."""

    def array(self) -> npt.NDArray[np.float32]:
        """Its features, (patches, width), or its pixels, (3, height, width)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedExample:
    """An example whose pieces are tokenised, each on its own and only once; staging joins them anew at every stage.

    Attributes:
        id: As in `Example`.
        start: What begins every sequence: the beginning-of-sequence token where the tokenizer has one, and the slots of
            the images.
        premises: Token ids of each premise with the separator before it.
        questions: The question, then its rewordings, each with its ending.
        steps: Each step with its ending.
        answer: The answer with its start and the end-of-sequence token.
        answer_start: How many of the first tokens of `answer` are its start (`###`), not the answer itself.
        frontiers: As in `Example`, each word one token id.
        openings: Token ids of each premise without a separator, as it reads when it comes first. A subword tokenizer
            joins the separator to the word after it, so these are not the ends of `premises`. Empty: as `premises`.
        images: What fills the image slots, in order.
        choices: Each choice as `answer`, with its start and the end-of-sequence token.
        other_steps: As in `Example`, each step with its ending.
        foreseen: Unit vectors of the next image and of the answer in the space of the model's heads, (2, E); None
            without heads.
    """

    id: str
    start: Tokens
    premises: tuple[Tokens, ...]
    questions: tuple[Tokens, ...]
    steps: tuple[Tokens, ...]
    answer: Tokens
    answer_start: int = 0
    frontiers: tuple[tuple[int, ...], ...] = ()
    openings: tuple[Tokens, ...] = ()
    images: tuple[ImageInput, ...] = ()
    choices: tuple[Tokens, ...] = ()
    other_steps: tuple[tuple[Tokens, ...], ...] = ()
    foreseen: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StagedExample:
    """An example laid out for one method at one stage: what the model reads, and what it is trained to write.

    Attributes:
        id: As in `Example`.
        input_ids: Question, thought slots (and their markers), remaining words, shape (length,).
        labels: The same positions; `IGNORED` where nothing is trained. Not shifted: position t holds token t itself.
            In a prompt, which is a staged example without a target, all are ignored.
        num_thoughts: How many thought slots `input_ids` holds.
        first_thought: Index of the first slot, or None without thoughts; the slots are contiguous.
        num_forced: In a prompt, how many of its last tokens already belong to the output (an answer start that the
            method gives instead of having it generated).
        images: As in `TokenizedExample`.
        foreseen: As in `TokenizedExample`.
    """

    id: str
    input_ids: Tokens
    labels: Tokens
    num_thoughts: int
    first_thought: int | None
    num_forced: int = 0
    images: tuple[ImageInput, ...] = ()
    foreseen: npt.NDArray[np.float32] | None = None


class Batch(TypedDict):
    """What `LatentForCausalLM.forward` takes. Rows are left-padded so that all first thoughts share a column.

    Attributes:
        input_ids: (B, L) token ids; thought slots hold the id of `<|latent|>`.
        attention_mask: (B, L) 1 where a position is real, 0 where it is padding.
        position_ids: (B, L) 0 at the first real position of each row; padding holds 0.
        labels: (B, L) as in `StagedExample`; padding is `IGNORED`. Absent in a batch of prompts.
        images: (B, I, ...) arrays of the images, zeros where a row has fewer than I. Absent where no row has one.
        foreseen: (B, 2, E) what the heads of the model are to tell, beside labels. Absent where no row has any.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: NotRequired[Tensor]
    images: NotRequired[Tensor]
    foreseen: NotRequired[Tensor]


Verdict: TypeAlias = Literal["right", "wrong", "no answer"]


@dataclass(frozen=True, slots=True)
class Score:
    """Judgement of one generated text.

    Attributes:
        verdict: "no answer" when no answer could be read from the text; it counts as not right, and is counted apart.
        predicted: The answer that was read, normalised as the task compares it; None without one.
    """

    verdict: Verdict
    predicted: str | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of an evaluation: one JSON line of `predictions.jsonl`.

    Attributes:
        id: The example's id.
        question: What was asked, premises included.
        expected: The gold answer.
        text: The generated text (only new tokens, never the prompt).
        predicted: As in `Score`.
        verdict: As in `Score`.
        num_thoughts: Thought slots the model filled before it wrote.
        num_tokens: Tokens it wrote, end of sequence included.
        num_passes: Forward passes this row needed, one after the other: its thoughts and its tokens.
        log_likelihoods: Of each choice, see `likelihood.log_likelihoods`; None where there are none or nobody asked.
        likeliest: The choice whose log-likelihood is highest.
        credit: What `predicted` is worth where that may lie between wrong and right, see `Task.credit`; else None.
        images: The files of its images, in order; None without.
        ended: Whether the text ends with the end of sequence, not the limit; None where the task writes no captions.
        next_image: The file of the image that the answer describes and nobody sees; None without.
    """

    id: str
    question: str
    expected: str
    text: str
    predicted: str | None
    verdict: Verdict
    num_thoughts: int
    num_tokens: int
    num_passes: int
    log_likelihoods: tuple[float, ...] | None = None
    likeliest: str | None = None
    credit: float | None = None
    images: tuple[str, ...] | None = None
    ended: bool | None = None
    next_image: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The aggregate of predictions over one data set under one condition.

    The last six are None where no row offers choices, or no row can be worth something between wrong and right.

    Attributes:
        accuracy: Share of rows answered right; rows without an answer are in the denominator.
        interval: 95% Wilson interval of the accuracy.
        n: Rows evaluated; each row of the data counted exactly once.
        num_right: Rows answered right.
        num_unanswered: Rows from which no answer could be read.
        tokens_per_answer: Mean tokens written.
        thoughts_per_answer: Mean thoughts filled.
        passes_per_answer: Mean forward passes, thoughts and tokens.
        choice_accuracy: Share of rows with choices whose likeliest choice is the answer.
        choice_interval: Its 95% Wilson interval.
        choice_n: Rows with choices.
        soft_accuracy: Mean credit of the written answers.
        soft_interval: Its 95% interval, see `statistics.wilson`.
        soft_n: Rows whose answer has a credit.
    """

    accuracy: float
    interval: tuple[float, float]
    n: int
    num_right: int
    num_unanswered: int
    tokens_per_answer: float
    thoughts_per_answer: float
    passes_per_answer: float
    choice_accuracy: float | None = None
    choice_interval: tuple[float, float] | None = None
    choice_n: int | None = None
    soft_accuracy: float | None = None
    soft_interval: tuple[float, float] | None = None
    soft_n: int | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was not used.

    Attributes:
        source: File the row came from.
        row: Line number (JSON lines, text) or 1-based position in the list (JSON).
        reason: What is wrong with it, in a sentence.
    """

    source: str
    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """Row accounting: `rows_in == rows_kept + len(rejected)`, always.

    Attributes:
        rows_in: Rows found in the source.
        rows_kept: Rows that became examples.
        rejected: Every row that did not, with its reason.
        notes: Remarks that reject nothing (duplicate rows, empty steps), each with its count.
    """

    rows_in: int
    rows_kept: int
    rejected: Sequence[Rejection] = field(default=())
    notes: Sequence[str] = field(default=())
