"""Does a judgement reach the model? Asked before the first step: a signal that arrives nowhere changes nothing."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unspoken.errors import RecipeError
from unspoken.model import LatentForCausalLM

Parts = Mapping[str, Sequence[nn.Parameter]]
"""Parts of a model by name, with their parameters."""


def before_words(model: LatentForCausalLM) -> dict[str, list[nn.Parameter]]:
    """What stands before the states that words are read from.

    The table of the head does not count, which is often that of the embeddings, too: it is reached behind the states.
    """
    of_head = {id(each) for each in model.lm_head.parameters()}
    parts = {"language model": model.model.language_model, "image slots": model.model.image_slots}
    return {
        name: [each for each in part.parameters() if id(each) not in of_head]
        for name, part in parts.items()
        if part is not None
    }


def check_reach(judgement: Tensor, parts: Parts) -> None:
    """Refuse a judgement that does not arrive at every part that is trained and could hear of it.

    A part is reached when any of its parameters has a gradient other than 0: some have none by their nature.

    Args:
        judgement: The adversarial loss alone.
        parts: Those of which nothing is trained do not count.

    Raises:
        RecipeError: Names the parts that are not reached.
    """
    trained = {
        name: learning
        for name, parameters in parts.items()
        if (learning := [each for each in parameters if each.requires_grad])
    }
    if not trained:
        text = f"nothing that learns hears of its judgement, which reaches {', '.join(parts)}"
        raise RecipeError("adversary.signal", [f"{text}; set model.train_decoder: true, or another signal"])
    unreached = [name for name, parameters in trained.items() if not reached(judgement, parameters)]
    if unreached:
        text = f"no gradient of the adversarial loss reaches the {', the '.join(unreached)}"
        raise RecipeError("adversary.signal", [f"{text}; nothing would be learned from it. Choose another signal"])


def reached(judgement: Tensor, parameters: list[nn.Parameter]) -> bool:
    """Whether any of the parameters has a gradient other than 0."""
    if not judgement.requires_grad:
        return False
    gradients = torch.autograd.grad(judgement, parameters, retain_graph=True, allow_unused=True)
    return any(bool(each.any()) for each in gradients if each is not None)
