"""Data sets. A new one is one file here and one line in `TASKS`."""

from unspoken.tasks.aokvqa import AOKVQA
from unspoken.tasks.base import Task
from unspoken.tasks.custom import Custom
from unspoken.tasks.gsm8k import GSM8K
from unspoken.tasks.hops import Hops
from unspoken.tasks.multiplication import Multiplication
from unspoken.tasks.prontoqa import ProntoQA
from unspoken.tasks.prosqa import ProsQA
from unspoken.tasks.scienceqa import ScienceQA
from unspoken.tasks.shapes import Shapes
from unspoken.tasks.stories import Stories
from unspoken.tasks.toy_stories import ToyStories

TASKS: dict[str, type[Task]] = {
    "hops": Hops,
    "prosqa": ProsQA,
    "prontoqa": ProntoQA,
    "gsm8k": GSM8K,
    "multiplication": Multiplication,
    "shapes": Shapes,
    "aokvqa": AOKVQA,
    "scienceqa": ScienceQA,
    "toy_stories": ToyStories,
    "stories": Stories,
    "custom": Custom,
}

__all__ = ["TASKS", "Task"]
