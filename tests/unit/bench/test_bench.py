import json

import pytest
import torch

from unspoken.bench.bench import bench, training
from unspoken.bench.cases import Case, batch, build
from unspoken.bench.clock import alternate, ratio
from unspoken.errors import RecipeError

TINY = Case(
    "tiny", layers=1, heads=2, width=16, vocabulary=64, rows=3, generated_rows=2, question=9, thoughts=2, answer=4
)


def test_ratios_are_medians_over_rounds_so_a_slow_round_cancels():
    assert ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0


def test_actions_take_turns_after_one_round_that_is_not_measured():
    order = []
    samples = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert {name: len(seconds) for name, seconds in samples.items()} == {"a": 3, "b": 3}


def test_the_measured_loss_is_that_of_the_definition():
    _, model = build(TINY)
    inputs = batch(TINY)
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    for column in range(10, 12):
        state = model.model.language_model(inputs_embeds=embeds[:, :column], use_cache=False).last_hidden_state[:, -1:]
        embeds = torch.cat([embeds[:, :column], state, embeds[:, column + 1 :]], dim=1)
    logits = model.lm_head(model.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state)
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())
    for row in training(TINY, None, 1):
        assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_file_holds_every_row_with_its_ratios(tmp_path):
    text = bench(tmp_path / "bench.json", cases=[TINY], repeats=2, staged_rows=20, progress=lambda step: None)
    report = json.loads((tmp_path / "bench.json").read_text())
    names = [row["name"] for row in report["rows"]]
    assert names == [
        "staging 20 rows of ProsQA",
        "collating 20 rows of ProsQA",
        "training step, tiny",
        "training step, checkpointed, tiny",
        "generation of 64 tokens, batch 2, tiny",
        "generation of 64 tokens, batch 1, tiny",
        "training step, kept features of an image a row, tiny",
        "trajectories, 1 of each of 8 questions, 2 layers, width 128",
        "trajectories, 8 of each of 8 questions, 2 layers, width 128",
    ]
    assert report["rows"][-2]["ratio_to_one"] == 1.0
    looked = report["rows"][-3]
    assert looked["ratio_to_words"] == ratio(looked["samples"]["images"], looked["samples"]["words"])
    assert all(name in text for name in names)
    first = report["rows"][2]
    assert first["ratio_to_plain"] == ratio(first["samples"]["ours"], first["samples"]["plain"])
    assert first["ratio_to_reference"] is None
    assert report["machine"]["packages"]["torch"] == torch.__version__


def test_a_reference_that_is_not_there_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.delenv("UNSPOKEN_REFERENCE_PYTHON", raising=False)
    with pytest.raises(RecipeError, match=r"holds no coconut\.py(.|\n)*UNSPOKEN_REFERENCE_PYTHON: not set"):
        bench(tmp_path / "bench.json", tmp_path, cases=[TINY])
    assert not (tmp_path / "bench.json").exists()
