"""The stock `Trainer` of transformers evaluates and predicts with a latent model as with any other."""

import pytest
import torch
from tests.conftest import TOKENS, tiny_model
from transformers import Trainer, TrainingArguments

ROW = torch.tensor([1, 2, 3, 4, 5, TOKENS.start, TOKENS.latent, TOKENS.latent, TOKENS.end, 7, 0])
ROWS = [{"input_ids": ROW, "labels": ROW}] * 4


def trainer(model, folder, **kwargs):
    arguments = TrainingArguments(
        str(folder), report_to="none", use_cpu=True, per_device_eval_batch_size=2, disable_tqdm=True
    )
    return Trainer(model, arguments, eval_dataset=ROWS, **kwargs)


def test_it_predicts_the_logits(tmp_path):
    model = tiny_model()
    found = trainer(model, tmp_path).predict(ROWS)
    with torch.no_grad():
        expected = model(ROW[None]).logits[0]
    assert found.predictions.shape == (4, *expected.shape)
    for row in found.predictions:
        torch.testing.assert_close(torch.tensor(row), expected)
    assert found.metrics["test_loss"] == pytest.approx(model(ROW[None], labels=ROW[None]).loss.item())


def test_metrics_are_computed_from_the_logits(tmp_path):
    def of(predicted):
        return {"shape": predicted.predictions.shape}

    assert trainer(tiny_model(), tmp_path, compute_metrics=of).evaluate()["eval_shape"] == (4, len(ROW), 40)


def test_where_something_is_learned_no_logits_are_kept_alive():
    model = tiny_model()
    assert model(ROW[None], labels=ROW[None]).logits is None
    assert model(ROW[None]).logits.shape == (1, len(ROW), 40)
    with torch.no_grad():
        assert model(ROW[None], labels=ROW[None]).logits.shape == (1, len(ROW), 40)
