"""Several trains of thought for each question: drawn, scored again, told apart and brought together."""

from unspoken.trajectories.records import Scores, Trajectories
from unspoken.trajectories.replay import replay
from unspoken.trajectories.rollout import Chance, rollout

__all__ = ["Chance", "Scores", "Trajectories", "replay", "rollout"]
