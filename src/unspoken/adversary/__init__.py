"""A judge of captions beside the supervised loss, and three ways in which its judgement reaches the model."""

from unspoken.adversary.adversary import Adversary, Judged, Step
from unspoken.adversary.build import build_adversary
from unspoken.adversary.material import Material, material_of

__all__ = ["Adversary", "Judged", "Material", "Step", "build_adversary", "material_of"]
