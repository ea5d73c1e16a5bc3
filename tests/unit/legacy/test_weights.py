import pickle

import pytest
import torch
from tests.conftest import tiny_model
from transformers import AutoModelForCausalLM

from unspoken.errors import CheckpointError
from unspoken.legacy import import_checkpoint


def released(model, *, wrapped=True):
    """The state dict that the released code saves for the decoder of this model, whose tokens it has in its order."""
    decoder = AutoModelForCausalLM.from_config(model.config.text_config)
    setattr(decoder, decoder.base_model_prefix, model.model.language_model)
    decoder.set_output_embeddings(model.lm_head)
    state = decoder.state_dict()
    if not wrapped:
        return state
    order = [*range(len(model.lm_head.weight) - 2), -1, -2]
    tables = [key for key, value in state.items() if len(value) == len(order)]
    state |= {key: state[key][order] for key in tables}
    return {f"base_causallm.{key}": value for key, value in state.items()} | {"embedding.weight": state[tables[0]]}


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_released_checkpoint_gives_the_same_model(tmp_path, arch, wrapped):
    trained, other = tiny_model(arch), tiny_model(arch, seed=5)
    torch.save(released(trained, wrapped=wrapped), tmp_path / "checkpoint_3")
    other.load_state_dict(import_checkpoint(tmp_path / "checkpoint_3"), strict=True)
    ids = torch.tensor([[1, 2, 38, 37, 37, 39, 5]])
    torch.testing.assert_close(other(input_ids=ids).logits, trained(input_ids=ids).logits, rtol=0, atol=0)


def test_masks_that_old_libraries_saved_are_left_out(tmp_path):
    state = released(tiny_model())
    state["base_causallm.transformer.h.0.attn.bias"] = torch.ones(1, 1, 8, 8)
    state["base_causallm.transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(state, tmp_path / "checkpoint_1")
    tiny_model().load_state_dict(import_checkpoint(tmp_path / "checkpoint_1"), strict=True)


def test_every_key_that_no_rule_covers_is_named(tmp_path):
    state = released(tiny_model()) | {"navigator.weight": torch.ones(1), "value_head.bias": torch.ones(1)}
    torch.save(state, tmp_path / "checkpoint_1")
    with pytest.raises(CheckpointError, match=r"navigator\.weight, value_head\.bias"):
        import_checkpoint(tmp_path / "checkpoint_1")


def test_an_embedding_that_is_not_the_models_is_refused(tmp_path):
    torch.save(released(tiny_model()) | {"embedding.weight": torch.ones(40, 16)}, tmp_path / "checkpoint_1")
    with pytest.raises(CheckpointError, match=r"embedding\.weight that is not its model's"):
        import_checkpoint(tmp_path / "checkpoint_1")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = {key: value.clone() for key, value in released(tiny_model()).items()}
    state["base_causallm.transformer.ln_f.weight"][0] = torch.nan
    torch.save(state, tmp_path / "checkpoint_1")
    with pytest.raises(CheckpointError, match=r"NaN or infinity in model\.language_model\.ln_f\.weight"):
        import_checkpoint(tmp_path / "checkpoint_1")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_in_a_file_is_executed(tmp_path):
    touched = tmp_path / "touched"
    (tmp_path / "plain").write_bytes(pickle.dumps({"a": Payload(str(touched))}, protocol=2))
    torch.save({"a": Payload(str(touched))}, tmp_path / "zipped")
    for name in ("plain", "zipped"):
        with pytest.raises(CheckpointError, match="cannot be read as weights"):
            import_checkpoint(tmp_path / name)
    assert not touched.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(tmp_path, share):
    whole = tmp_path / "whole"
    torch.save(released(tiny_model()), whole)
    data = whole.read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        import_checkpoint(tmp_path / "cut")


def test_what_holds_no_weights_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    torch.save([torch.ones(1)], tmp_path / "list")
    torch.save({"step": 3}, tmp_path / "numbers")
    torch.save({}, tmp_path / "nothing")
    for name in ("empty", "list", "numbers", "nothing", "absent", "."):
        with pytest.raises(CheckpointError):
            import_checkpoint(tmp_path / name)


def test_a_checkpoint_of_multicoco_gives_its_words_and_leaves_its_eyes(tmp_path):
    trained, other = tiny_model(), tiny_model(seed=5)
    state = {f"module.base_causallm.{key}": value for key, value in released(trained, wrapped=False).items()}
    eyes = {"module.vision_encoder.logit_scale": torch.ones(1), "module.vision_projector.bias": torch.ones(16)}
    torch.save({**state, **eyes}, tmp_path / "checkpoint_10.pt")
    weights = import_checkpoint(tmp_path / "checkpoint_10.pt")
    assert torch.equal(weights["lm_head.weight"], trained.lm_head.weight), "its tokens stand in our order"
    other.load_state_dict(weights, strict=True)
    ids = torch.tensor([[1, 2, 38, 37, 37, 39, 5]])
    torch.testing.assert_close(other(input_ids=ids).logits, trained(input_ids=ids).logits, rtol=0, atol=0)
