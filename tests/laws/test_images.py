"""Image slots: exact for any weights, whatever the batch, the number of images, slots and thoughts."""

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig

from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import batch_of, columns_of
from unspoken.data.collate import inputs_of
from unspoken.data.stage import stage
from unspoken.errors import RecipeError
from unspoken.model.vision import build_projector, encode
from unspoken.records import TokenizedExample

IMAGE = 36
SLOTS, PATCHES, FEATURES = 3, 4, 6
ARCHS = ["gpt2", "llama", "qwen2"]
PROJECTORS = {
    "linear": {"slots": PATCHES, "num_patches": PATCHES, "projector": {"name": "linear"}},
    "pooled": {"slots": 2, "num_patches": 1, "projector": {"name": "mlp", "hidden": 8}},
    "queries": {"slots": SLOTS, "num_patches": PATCHES, "projector": {"name": "queries", "heads": 2}},
}


class Array:
    """An image input that holds its array."""

    def __init__(self, values):
        self.values = values

    def array(self):
        return self.values


def seeing_model(arch="gpt2", kind="queries", encoder=None, fusion=None, **kwargs):
    settings = {**PROJECTORS[kind], "feature_size": FEATURES, "encoder": encoder, "fusion": fusion}
    return tiny_model(arch, image_token_id=IMAGE, vision=settings, **kwargs)


def seeing_row(rng, num_images, num_thoughts, kind="queries", shape=None):
    """Random images and words, then thoughts and an answer."""
    settings = PROJECTORS[kind]
    shape = shape or (settings["num_patches"], FEATURES)
    images = tuple(Array(rng.normal(size=shape).astype(np.float32)) for _ in range(num_images))
    start = np.full(num_images * settings["slots"], IMAGE, dtype=np.int32)
    words = [rng.integers(1, 35, size=rng.integers(3, 9)).astype(np.int32) for _ in range(2)]
    example = TokenizedExample(str(rng.integers(1 << 30)), start, (), (words[0],), (), words[1], images=images)
    return stage(example, np.concatenate([start, words[0]]), num_thoughts, [words[1]], TOKENS, markers=True)


COUNTS = [(1, 2), (2, 0), (0, 3), (3, 1), (1, 4)]


def seeing_rows(kind="queries", seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    return [seeing_row(rng, *counts, kind=kind, **kwargs) for counts in COUNTS]


def run(model, rows):
    batch = batch_of(rows)
    with torch.no_grad():
        return batch, model(**inputs_of(batch, "cpu"))


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kind", PROJECTORS)
def test_a_row_alone_equals_the_row_in_any_batch(arch, kind):
    model, rows = seeing_model(arch, kind), seeing_rows(kind)
    batch, together = run(model, rows)
    for index, row in enumerate(rows):
        _, alone = run(model, [row])
        torch.testing.assert_close(
            alone.logits[0], together.logits[index, columns_of(batch, index)], atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("kind", PROJECTORS)
def test_the_slots_hold_what_the_projector_made_and_nothing_else_is_touched(kind):
    model, rows = seeing_model(kind=kind), seeing_rows(kind)
    slots = PROJECTORS[kind]["slots"]
    for row in rows:
        ids = torch.from_numpy(row.input_ids).long()
        embeds = model.get_input_embeddings()(ids).detach().clone()
        for place, image in enumerate(row.images):
            features = torch.from_numpy(image.array()).unsqueeze(0)
            embeds[place * slots : (place + 1) * slots] = model.model.image_slots.projector(features)[0].detach()
        # thoughts one after the other, each from a pass over everything before it
        for column in (ids == TOKENS.latent).nonzero().flatten().tolist():
            with torch.no_grad():
                states = model.model.language_model(inputs_embeds=embeds[None, :column], use_cache=False)
            embeds[column] = states.last_hidden_state[0, -1]
        with torch.no_grad():
            states = model.model.language_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state
            expected = model.lm_head(states)[0]
        _, found = run(model, [row])
        torch.testing.assert_close(found.logits[0], expected, atol=1e-5, rtol=1e-4)


def test_changing_an_image_changes_thoughts_and_logits_of_its_row_and_of_no_other():
    model, rows = seeing_model(), seeing_rows()
    batch, before = run(model, rows)
    rows[3].images[1].values = -rows[3].images[1].values
    _, after = run(model, rows)
    for index in range(len(rows)):
        columns = columns_of(batch, index)
        same = torch.equal(before.logits[index, columns], after.logits[index, columns])
        assert same == (index != 3)
    thoughts = [output.thoughts[3][output.thought_mask[3]] for output in (before, after)]
    assert not torch.allclose(*thoughts)


def test_the_order_of_images_matters():
    model, rows = seeing_model(), seeing_rows()
    _, before = run(model, [rows[1]])
    rows[1].images[0].values, rows[1].images[1].values = rows[1].images[1].values, rows[1].images[0].values
    assert not torch.allclose(before.logits, run(model, [rows[1]])[1].logits)


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_sees_the_images_of_its_own_row(beams):
    model, rng = seeing_model(), np.random.default_rng(3)
    prompts = [seeing_row(rng, images, 2) for images in (2, 1, 3)]
    batch = batch_of(prompts, align=False)
    inputs = inputs_of(batch, "cpu")
    inputs.pop("position_ids")
    options = {"max_new_tokens": 5, "do_sample": False, "num_beams": beams, "pad_token_id": 0, "eos_token_id": 0}
    together = model.generate(**inputs, **options)[:, inputs["input_ids"].size(1) :]
    for index, prompt in enumerate(prompts):
        alone = inputs_of(batch_of([prompt], align=False), "cpu")
        alone.pop("position_ids")
        written = model.generate(**alone, **options)[0, alone["input_ids"].size(1) :]
        assert together[index, : len(written)].tolist() == written.tolist()


def test_gradient_reaches_projector_and_embeddings():
    model, rows = seeing_model(), seeing_rows()
    batch = batch_of(rows)
    model(**inputs_of(batch, "cpu"), labels=batch["labels"]).loss.backward()
    for name, parameter in model.model.image_slots.named_parameters():
        assert parameter.grad is not None, name
        # a bias of all keys shifts every weight of the attention alike, and changes nothing
        if "keys.bias" not in name and "norm.bias" not in name:
            assert parameter.grad.abs().sum() > 0, name


ENCODER = CLIPVisionConfig(
    hidden_size=FEATURES, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
)


@pytest.mark.parametrize("kind", ["linear", "pooled", "queries"])
def test_features_made_before_equal_features_made_by_the_model(kind):
    settings = {"model_type": "clip_vision_model", **ENCODER.to_diff_dict()}
    live = seeing_model(kind=kind, encoder=settings)
    rows = seeing_rows(kind, shape=(3, 8, 8))
    _, expected = run(live, rows)
    with torch.no_grad():
        for row in rows:
            for image in row.images:
                pixels = torch.from_numpy(image.values).unsqueeze(0)
                image.values = encode(live.model.image_slots.encoder, pixels, pooled=kind == "pooled")[0].numpy()
    live.model.image_slots.encoder = None
    _, found = run(live, rows)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-4)


def test_gradient_reaches_an_encoder_that_is_part_of_the_model():
    model = seeing_model(encoder={"model_type": "clip_vision_model", **ENCODER.to_diff_dict()})
    batch = batch_of(seeing_rows(shape=(3, 8, 8)))
    model(**inputs_of(batch, "cpu"), labels=batch["labels"]).loss.backward()
    gradient = model.model.image_slots.encoder.get_parameter("embeddings.patch_embedding.weight").grad
    assert gradient.abs().sum() > 0


def test_a_seeing_model_is_saved_and_read_back(tmp_path):
    from transformers import AutoModelForCausalLM

    model, rows = seeing_model(), seeing_rows()
    model.save_pretrained(tmp_path)
    _, expected = run(model, rows)
    _, found = run(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), rows)
    assert torch.equal(found.logits, expected.logits)


def test_slots_without_images_and_images_that_do_not_fit_are_refused():
    model, rows = seeing_model(), seeing_rows()
    inputs = inputs_of(batch_of(rows), "cpu")
    with pytest.raises(ValueError, match="there are image slots in input_ids, but no images"):
        model(**{key: value for key, value in inputs.items() if key != "images"})
    with pytest.raises(ValueError, match="got 1 images a row for 5 rows"):
        model(**{**inputs, "images": inputs["images"][:, :1]})
    with pytest.raises(ValueError, match=r"features of shape \(4, 2\), expected \(4, 6\)"):
        model(**{**inputs, "images": inputs["images"][..., :2]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "conv"}, "unknown name 'conv'; known: linear, mlp, queries"),
        ({"name": "linear", "depth": 2}, "unexpected keyword argument 'depth'"),
        ({"name": "linear"}, "4 patches make as many slots, not 3; or use the projector queries"),
    ],
)
def test_a_projector_that_cannot_be_is_named(settings, message):
    with pytest.raises(RecipeError, match=message):
        build_projector(settings, 4, 6, 3, 16, 0.02)


def test_no_sampler_writes_the_token_of_an_image_slot():
    model = seeing_model()
    assert model.config.image_token_id in model.generation_config.suppress_tokens
