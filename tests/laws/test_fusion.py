"""Fusion of images: exact for any weights, whatever the batch, and it knows the order of the images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.laws.test_images import seeing_model, seeing_row, seeing_rows
from unspoken.data.collate import collate, inputs_of
from unspoken.errors import RecipeError
from unspoken.model.fusion import Fusion

SETTINGS = {"layers": 2, "heads": 2, "pool": "none", "most_images": 4, "dropout": 0.0}
POOLS = ["none", "mean", "attention"]


def fusing_model(pool):
    model = seeing_model(fusion={**SETTINGS, "pool": pool})
    with torch.no_grad():  # weights as large as those of a trained model: new ones hardly mix anything
        for parameter in model.model.image_slots.fusion.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


def logits_of(model, rows):
    batch = collate(rows, pad_id=0)
    with torch.no_grad():
        logits = model(**inputs_of(batch, "cpu")).logits
    return [logits[index][batch["attention_mask"][index].bool()] for index in range(len(rows))]


@pytest.mark.parametrize("pool", POOLS)
def test_a_row_alone_equals_the_row_in_a_batch(pool):
    model, rows = fusing_model(pool), seeing_rows()
    together = logits_of(model, rows)
    for row, among in zip(rows, together, strict=True):
        (alone,) = logits_of(model, [row])
        torch.testing.assert_close(alone, among, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_the_order_of_the_images_changes_what_is_answered(pool):
    model, row = fusing_model(pool), seeing_row(np.random.default_rng(3), 3, 2)
    turned = replace(row, images=row.images[::-1])
    (there,), (back,) = logits_of(model, [row]), logits_of(model, [turned])
    assert (there[-1] - back[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("pool", POOLS)
def test_every_image_reaches_the_slots_of_the_first(pool):
    fusion = Fusion({**SETTINGS, "pool": pool}, slots=3, width=8, std=0.5)
    slots = torch.randn(3, 3, 8, requires_grad=True)
    fusion(slots, torch.ones(1, 3, dtype=torch.bool))[0].sum().backward()
    assert (slots.grad.abs().amax(dim=(1, 2)) > 0).all()


@pytest.mark.parametrize("pool", POOLS)
def test_slots_may_be_rounded_more_coarsely_than_what_the_norm_makes_of_them(pool, monkeypatch):
    """Autocast on CUDA runs layer norms in fp32; on a CPU it does not, so here the layer does it."""
    plain = torch.nn.LayerNorm.forward
    monkeypatch.setattr(torch.nn.LayerNorm, "forward", lambda layer, entering: plain(layer, entering.float()))
    model = fusing_model(pool).train()
    batch = inputs_of(collate(seeing_rows(), pad_id=0), "cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**batch).logits.float().sum().backward()
    assert all(each.grad.isfinite().all() for each in model.model.image_slots.fusion.parameters())


def test_images_of_other_rows_reach_nothing():
    fusion = Fusion(SETTINGS, slots=3, width=8, std=0.5)
    slots = torch.randn(5, 3, 8, requires_grad=True)
    is_there = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
    fusion(slots, is_there)[:2].sum().backward()
    assert (slots.grad[:2].abs().amax(dim=(1, 2)) > 0).all()
    assert slots.grad[2:].abs().max() == 0


def test_a_mean_is_the_mean_of_what_the_blocks_made():
    fusion = Fusion({**SETTINGS, "pool": "mean"}, slots=1, width=4, std=0.5)
    fused, is_there = torch.randn(1, 3, 4), torch.tensor([[True, True, False]])
    torch.testing.assert_close(fusion._pooled(fused, is_there)[0], fused[0, :2].mean(dim=0))


def test_more_images_than_places_are_named():
    with pytest.raises(ValueError, match="a row has 5 images, fusion has 4 places"):
        logits_of(fusing_model("none"), [seeing_row(np.random.default_rng(0), 5, 1)])


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(RecipeError, match=r"fusion\.heads"):
        Fusion({**SETTINGS, "heads": 3}, slots=1, width=8, std=0.5)


def test_rows_without_images_go_past_the_fusion():
    rng = np.random.default_rng(0)
    rows = [seeing_row(rng, 0, 2), seeing_row(rng, 0, 1)]
    assert all(logits.isfinite().all() for logits in logits_of(fusing_model("mean"), rows))
