"""TRL's GRPOTrainer trains a latent model as it is: slots in the prompt, gradients through thoughts, answers paid."""

import copy
import os
from dataclasses import replace

import pytest
import torch

from unspoken.run_directory import open_run

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # or TRL would report its use when it is imported and started
trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'unspoken[rl]'")
datasets = pytest.importorskip("datasets")

MODEL = "tests/models/hops-coconut"
QUESTIONS = ["g f h e e c a d b g c a d b f h ? c", "a b b c c d d e e f f g g h h a ? b"]


@pytest.fixture
def run():
    """A run whose model has random weights: what is trained already answers alike, and no reward tells it apart."""
    run = open_run(MODEL)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in run.model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.08, generator=generator)
    return run


def trainer_of(run, folder, reward, **settings):
    """A trainer whose prompts come from the chat template, which puts the thoughts behind the question."""
    prompts = [[{"role": "user", "content": question}] for question in QUESTIONS * 2]
    arguments = trl.GRPOConfig(
        str(folder), max_steps=2, per_device_train_batch_size=8, num_generations=4, max_completion_length=3,
        learning_rate=1e-3, logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
        bf16=False, **settings,
    )  # fmt: skip
    return trl.GRPOTrainer(
        model=run.model, reward_funcs=reward, args=arguments, processing_class=run.tokenizer,
        train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
    )  # fmt: skip


class Letters:
    """Pays the early letters of the alphabet, and keeps what it was shown."""

    __name__ = "letters"

    def __init__(self):
        self.prompts, self.answers = [], []

    def __call__(self, prompts, completions, **_):
        texts = [completion[0]["content"] for completion in completions]
        self.prompts += prompts
        self.answers += texts
        return [sum(letter in "abcd" for letter in text) for text in texts]


def test_trl_trains_a_latent_model_unmodified(run, tmp_path, monkeypatch):
    before = copy.deepcopy(run.model.state_dict())
    reward = Letters()
    trainer = trainer_of(run, tmp_path, reward)
    thoughts, real = [], run.model.model.forward

    def watched(*args, **kwargs):
        output = real(*args, **kwargs)
        if torch.is_grad_enabled():
            thoughts.append(output)
        return output

    monkeypatch.setattr(run.model.model, "forward", watched)
    result = trainer.train()
    assert result.global_step == 2
    # what TRL itself does by default; ours recomputes whole passes and keeps the cache
    assert trainer.args.gradient_checkpointing
    assert run.model.is_gradient_checkpointing
    assert len(reward.answers) == 16
    assert {prompt[0]["content"] for prompt in reward.prompts} <= set(QUESTIONS)
    assert any(any(letter in answer for letter in "abcdefgh") for answer in reward.answers)
    assert all("latent" not in answer for answer in reward.answers)
    losses = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["step"] for line in losses] == [1, 2]
    assert max(line["reward_std"] for line in losses) > 0, "or nothing was learned"
    assert thoughts
    assert all(output.thought_mask.sum(dim=1).eq(4).all() for output in thoughts), "four thoughts in every row"
    assert all(output.num_passes == 5 for output in thoughts)
    changed = [name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])]
    assert len(changed) > 20


def test_the_gradient_of_trl_reaches_the_model_through_the_thoughts(run, tmp_path):
    """What only the question is read by gets another gradient when thoughts are cut off from it."""
    gradients = []
    for detached in (False, True):
        model = copy.deepcopy(run.model)
        source = model.model.thought_source
        if detached:
            real = source.forward
            source.forward = lambda history, real=real: real(history).detach()
        reward = Letters()
        torch.manual_seed(0)
        trainer = trainer_of(replace(run, model=model), tmp_path, reward)
        trainer.args.max_steps = 1
        found = {}

        def keep(optimizer, args, kwargs, model=model, found=found):
            found.update({name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None})

        trainer.create_optimizer()
        trainer.optimizer.register_step_pre_hook(keep)
        trainer.train()
        gradients.append((reward.answers, found))
    (answers, through), (same, cut) = gradients
    assert answers == same, "the same was drawn: only the way back differs"
    name = "model.language_model.h.0.attn.c_attn.weight"
    assert float((through[name] - cut[name]).norm()) > 1e-3 * float(through[name].norm())
