"""The compiled decoder is one that can be switched on and off; a stand-in for the compiler keeps the test short."""

import torch
from tests.conftest import TOKENS, tiny_model

from unspoken.bench.compiled import CompiledDecoder
from unspoken.model.cache import GrowingLayer


def test_it_is_used_only_where_it_is_asked_for(monkeypatch):
    calls = []

    def compile(function, **settings):
        def called(*args, **kwargs):
            calls.append(settings)
            return function(*args, **kwargs)

        return called

    monkeypatch.setattr(torch, "compile", compile)
    model, update = tiny_model().train(), GrowingLayer.update
    row = torch.tensor([[5, 3, 8, TOKENS.latent, TOKENS.latent, 7]])
    compiled = CompiledDecoder(model)
    plain = model(row).logits
    assert not calls
    with compiled.in_use():
        assert GrowingLayer.update is not update
        assert torch.equal(model(row).logits, plain)
    assert calls == 3 * [{"dynamic": True}]
    assert GrowingLayer.update is update
    model(row)
    assert len(calls) == 3
