"""A prompt with its thoughts in place: what the decoder reads, so that one plain pass can be looked into.

In that pass the thoughts are held fixed: what is changed elsewhere does not change them.

Shapes: L positions, K thoughts, D width.
"""

import torch
from torch import Tensor, nn

from unspoken.data.collate import collate, inputs_of
from unspoken.model import LatentForCausalLM
from unspoken.records import StagedExample, Tokens


@torch.no_grad()
def filled(
    model: LatentForCausalLM, prompt: StagedExample, thoughts_KD: Tensor, written: Tokens | None = None
) -> Tensor:
    """Embeddings of a prompt, (1, L, D), with these thoughts in its slots and, behind it, words that were written."""
    pieces = [torch.from_numpy(prompt.input_ids).long()]
    if written is not None:
        pieces.append(torch.from_numpy(written).long())
    ids_L = torch.cat(pieces).to(model.device)
    embeds_LD: Tensor = model.get_input_embeddings()(ids_L).clone()
    if prompt.images and model.model.image_slots is not None:
        is_image_L = ids_L == torch.tensor(model.config.image_token_id, device=ids_L.device)
        images = inputs_of(collate([prompt], pad_id=0), model.device)["images"]
        embeds_LD = model.model.image_slots(embeds_LD.unsqueeze(0), is_image_L.unsqueeze(0), images).squeeze(0)
    embeds_LD[ids_L == model.config.latent_token_id] = thoughts_KD.to(embeds_LD)
    return embeds_LD.unsqueeze(0)


def decoder_layers(model: LatentForCausalLM) -> nn.ModuleList | None:
    """The blocks of the decoder, in order; None when it keeps them in an unusual way."""
    wanted = int(getattr(model.config.text_config, "num_hidden_layers", 0))
    lists = [each for each in model.model.language_model.modules() if isinstance(each, nn.ModuleList)]
    return next((each for each in lists if len(each) == wanted), None)
