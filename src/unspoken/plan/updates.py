"""What learning from rewards does in an update, before anything is drawn.

An update draws trajectories for some questions and learns from all of them; `unspoken.training.reinforce` says how.
"""

from dataclasses import dataclass, replace

from unspoken.methods.reinforcement import Reinforcement
from unspoken.plan.estimate import Estimate
from unspoken.plan.shape import Shape
from unspoken.recipe import Recipe
from unspoken.recipe.batching import Batching


@dataclass(frozen=True, slots=True)
class Updates:
    """What an update does.

    Attributes:
        questions: Asked in it, over all processes.
        trajectories: Of each question.
        at_once: Trajectories of one process that are in a backward pass together, at most.
        steps: Optimizer steps in it, at most.
        fewest: Thoughts of the shortest trajectory.
        most: Of the longest.
        source: What draws them.
        stops: Decisions on stopping of a trajectory, at most.
        words: Tokens of the longest answer.
        words_by_chance: Whether they are decisions, or the likeliest.
        temperatures: Of thoughts and stopping, at the first and at the last update.
    """

    questions: int
    trajectories: int
    at_once: int
    steps: int
    fewest: int
    most: int
    source: str
    stops: int
    words: int
    words_by_chance: bool
    temperatures: tuple[float, float]

    @property
    def drawn(self) -> int:
        """Trajectories of an update."""
        return self.questions * self.trajectories

    @property
    def decisions(self) -> int:
        """Decisions of a trajectory by chance, at most; whether to stop and what to think instead is one."""
        return self.most + self.words * self.words_by_chance


def read_updates(recipe: Recipe, method: Reinforcement, processes: int) -> Updates:
    """What an update of the recipe does."""
    train, halt_after = recipe.train, recipe.thoughts.get("halt_after")
    share = -(-train.batch_size // processes)
    per_step = -(-share // min(method.minibatches, share))
    at_once = max((train.micro_batch_size or share * method.trajectories) // method.trajectories, 1)
    fewest = method.num_thoughts if halt_after is None else min(halt_after, method.num_thoughts)
    return Updates(
        questions=train.batch_size,
        trajectories=method.trajectories,
        at_once=min(at_once, per_step) * method.trajectories,
        steps=method.passes * min(method.minibatches, share),
        fewest=fewest,
        most=method.num_thoughts,
        source=recipe.thoughts["name"],
        stops=method.num_thoughts - fewest,
        words=recipe.evaluate.max_new_tokens or recipe.task.max_new_tokens,
        words_by_chance=method.token_temperature > 0,
        temperatures=(method.temperature, method.final_temperature or method.temperature),
    )


def batching_of(recipe: Recipe, updates: Updates, processes: int) -> Batching:
    """How the questions of an optimizer step are cut into backward passes."""
    share = -(-recipe.train.batch_size // processes)
    questions = updates.at_once // updates.trajectories
    return Batching(processes, questions, -(-share // questions))


def with_drawing(found: Estimate, updates: Updates, shape: Shape, length: float, processes: int) -> Estimate:
    """An estimate of a supervised step as one of an update: what is drawn needs a cache, and the time is not known.

    Args:
        found: Of a step on as many rows as trajectories are in a backward pass together.
        updates: What an update does.
        shape: Of the decoder.
        length: Mean positions of a whole trajectory.
        processes: Processes of the run.
    """
    # keys and values, and the room that a growing cache keeps free
    a_trajectory = 2 * 2 * 4 * shape.layers * shape.kv_heads * shape.head_width * length
    more = -(-updates.drawn // processes) * a_trajectory
    return replace(
        found,
        memory=found.memory + more,
        smaller=tuple(
            (rows, memory + more) for rows, memory in found.smaller if rows and rows % updates.trajectories == 0
        ),
        seconds=None,
    )
