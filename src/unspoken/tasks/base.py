"""What every task offers: examples of each split, how they read, and how an answer is scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from unspoken.config import Settings
from unspoken.records import Example, Ledger, Score, Split, TextFormat


class Task(Settings, ABC):
    """A data set. Its fields are its settings: the keys of the recipe's `task` section.

    A task knows no tensor and no token. Adding one takes one file in this folder, one line in `TASKS`, one recipe.
    """

    name: str
    """The key of the task in `TASKS`."""

    @property
    def text(self) -> TextFormat:
        """How the pieces of an example are written."""
        return TextFormat()

    @property
    def max_new_tokens(self) -> int:
        """Longest answer to generate, words of the reasoning included."""
        return 128

    @property
    def has_images(self) -> bool:
        """Whether rows name images."""
        return False

    @property
    def is_caption(self) -> bool:
        """Whether answers are captions: texts that are compared by what they share, not only word by word."""
        return False

    @property
    def has_frontiers(self) -> bool:
        """Whether each step has its frontier (`Example.frontiers`), a word names a node, and the last one the answer.

        Method `superposition` learns from these. False also where frontiers are for inspection alone, as those of
        prontoqa, which end at a property and not at an answer.
        """
        return False

    @property
    def image_root(self) -> Path | None:
        """The folder outside of which no image is read; None: images lie where the task itself put them."""
        return None

    @abstractmethod
    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The examples of a split, always the same ones in the same order, and the account of the rows they came from.

        Rows that the settings leave out on purpose (a range of hops) are listed in the account without an error.

        Raises:
            DataError: The split has no source, or rows of it are rejected (every one is named).
        """

    def counterfactual(self, example: Example, rng: Random) -> Example | None:
        """The same question with one fact changed so that its answer changes.

        Args:
            example: The question.
            rng: Chooses among several such changes.

        Returns:
            The changed question; None when the task knows no such change, or the question allows none.
        """
        return None

    def next_node(self, example: Example, num_steps: int) -> tuple[str, int] | None:
        """How to make a model name the node that its search holds, after so many steps that it did not write.

        Returns:
            What to write for it so that its next word is a node, and how many steps from the root a correct node is;
            None when the task has no graphs.
        """
        return None

    def previous_caption(self, example: Example) -> str | None:
        """The last caption that the question shows, which a writer may copy; None where there is none."""
        return (example.captions[-1] or None) if example.captions else None

    def facts(self, answer: str) -> Mapping[str, str]:
        """What an answer says, by the name of each fact, in their order; empty where the task cannot tell."""
        return {}

    def shifts(self) -> Mapping[str, "Task"]:
        """Named variants of the task whose test rows are unlike those of training."""
        return {}

    def words(self) -> Sequence[str] | None:
        """Every word of the task in a fixed order, for a word-level tokenizer; None: collect them from training rows.

        A word is what `data.tokenize.WORD` matches; a line break is one.
        """
        return None

    def score(self, example: Example, text: str) -> Score:
        """Judge a generated text (new tokens only): what follows the last `answer_start` must equal the answer."""
        predicted = self.read_answer(text)
        if predicted is None:
            return Score("no answer", None)
        right = predicted == self.normalise(example.answer)
        return Score("right" if right else "wrong", predicted)

    def credit(self, example: Example, predicted: str | None) -> float | None:
        """What a read answer, or None, is worth from 0 to 1, where more than right and wrong is known; else None."""
        return None

    def read_answer(self, text: str) -> str | None:
        """The normalised answer in a generated text, or None when there is none."""
        marker = self.text.answer_start.strip()
        if marker and marker not in text:
            return None
        answer = self.normalise(text.rpartition(marker)[2] if marker else text)
        return answer or None

    def normalise(self, answer: str) -> str:
        """The form in which answers are compared: single spaces, no thousands separators (as the released Coconut)."""
        return " ".join(answer.replace(",", "").split())

    def describe(self) -> dict[str, Any]:
        """The settings as plain values, for fingerprints and reports."""
        return self.model_dump(mode="json")
