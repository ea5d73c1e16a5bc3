"""What does not fit with method superposition."""

from collections.abc import Iterator

from unspoken.methods.superposition import Superposition
from unspoken.recipe.problems import Problem
from unspoken.tasks import Task
from unspoken.tasks.prosqa import ProsQA


def superposition_problems(method: Superposition, task: Task) -> Iterator[Problem]:
    """Whether the rows of a task hold what the method learns from, and all of it is learned."""
    if not task.has_frontiers:
        yield Problem(
            "method.name",
            "superposition needs a task whose search frontiers are known, word by word, and "
            f"{task.model_dump()['name']} has none; use task hops or prosqa, or method coconut",
        )
        return
    if isinstance(task, ProsQA) and task.rendering == "words":
        yield Problem(
            "task.rendering",
            "superposition learns answers of one token, and in words an answer is a sentence; "
            "set task.rendering: symbols",
        )
        return
    hops = task.describe().get("max_hops", task.describe().get("hops", 0))
    if hops > method.final_stage:
        yield Problem(
            "method.max_stage",
            f"rows have up to {hops} hops, and those with more than max_stage={method.final_stage} would never train "
            f"their answer; raise it to {hops}, or lower the hops of the task",
        )
