"""Ways to train. A new one is one file here and one line in `METHODS`."""

from unspoken.methods.base import Method
from unspoken.methods.coconut import Coconut
from unspoken.methods.contrastive import Contrastive
from unspoken.methods.cot import CoT, NoCoT
from unspoken.methods.icot import ICoT
from unspoken.methods.reinforcement import GRPO, PPO, RLOO, Reinforcement
from unspoken.methods.superposition import Superposition

METHODS: dict[str, type[Method]] = {
    "cot": CoT,
    "no_cot": NoCoT,
    "coconut": Coconut,
    "icot": ICoT,
    "superposition": Superposition,
    "ppo": PPO,
    "grpo": GRPO,
    "rloo": RLOO,
    "contrastive": Contrastive,
}

__all__ = ["METHODS", "Contrastive", "Method", "Reinforcement"]
