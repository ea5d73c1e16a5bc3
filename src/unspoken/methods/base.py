"""What every method decides: the stage of an epoch, and how an example is laid out at a stage.

The loss is the model's next-token cross entropy at the labels; a method chooses the labels.
"""

from abc import ABC, abstractmethod
from random import Random

from unspoken.config import Settings
from unspoken.data.stage import question_tokens
from unspoken.errors import RecipeError
from unspoken.records import StagedExample, ThoughtTokens, TokenizedExample, Tokens


class Method(Settings, ABC):
    """A way to train. Its fields are its settings: the keys of the recipe's `method` section.

    Adding one takes one file in this folder, one line in `METHODS`, one recipe.
    """

    name: str
    """The key of the method in `METHODS`."""
    redraw: bool = False
    """Shuffle the premises and choose a wording of the question anew each time a row is drawn."""

    @abstractmethod
    def stage(self, epoch: int) -> int:
        """The stage of an epoch, counted from 0; 0 means nothing has been taken from the words yet."""

    @property
    @abstractmethod
    def final_stage(self) -> int:
        """The last stage the method knows."""

    @abstractmethod
    def layout(self, example: TokenizedExample, stage: int, tokens: ThoughtTokens, rng: Random) -> StagedExample:
        """What the model reads and learns to write at a stage; all chance comes from `rng`."""

    @abstractmethod
    def prompt(
        self, example: TokenizedExample, stage: int, tokens: ThoughtTokens, num_thoughts: int | None = None
    ) -> StagedExample:
        """What the model reads at a stage before it writes: `layout` without the target and without chance.

        Args:
            example: The row.
            stage: The stage of the model.
            tokens: Ids of the thought tokens.
            num_thoughts: Thoughts to give it; default: those of the stage.

        Raises:
            RecipeError: Thoughts are asked of a method that has none.
        """

    def most_thoughts(self, stage: int) -> int:
        """The largest number of thoughts that `layout` or `prompt` gives any row at a stage."""
        return 0

    def refuse_thoughts(self, num_thoughts: int | None) -> None:
        """For the prompts of methods without thoughts."""
        if num_thoughts:
            raise RecipeError(
                "method", [f"{self.name} has no thoughts, found a budget of {num_thoughts}; leave it out"]
            )

    def question(self, example: TokenizedExample, rng: Random) -> Tokens:
        """The question of a training example, redrawn if the settings say so."""
        return question_tokens(example, rng if self.redraw else None)
