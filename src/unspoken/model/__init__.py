"""Tensors to tensors: the latent model. It knows no task, no recipe and no file format of ours."""

from unspoken.model.configuration import LatentConfig
from unspoken.model.modeling import LatentForCausalLM, LatentModel, register

register()

__all__ = ["LatentConfig", "LatentForCausalLM", "LatentModel"]
