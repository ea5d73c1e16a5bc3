"""What nobody reads is not computed: the feed-forward layer of the last block runs at the end of a pass alone.

What the other blocks make of a column becomes keys and values, which all later columns attend to. What the last one
makes of it is read by the head, in front of labels or at the end of a prompt, and by the thought source in front of a
slot, where a pass ends: the columns of the question, most of a batch, are neither. Left out are two thirds of the
products of a block: a third of those of two layers, a twentieth of those of twelve. `tests/laws/test_last_block.py`
holds losses, gradients and logits equal.

Shapes: B rows, T columns of a pass, D width.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def last_feed_forward(decoder: nn.Module) -> nn.Module | None:
    """The feed-forward layer of the last block.

    None where it is not one layer that every column goes through, where it is given more than the columns (that of
    BLOOM adds the residual itself), or where it is compiled: graphs know no hooks.
    """
    stacks = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child)]
    config: Any = decoder.config
    routes_to_experts = any(getattr(config, name, None) for name in ("num_experts", "num_local_experts"))
    if not stacks or routes_to_experts:
        return None
    block = stacks[-1][-1]
    layer = getattr(block, "mlp", None)
    is_compiled = any(_is_compiled(each) for each in (decoder, block, layer))
    return layer if isinstance(layer, nn.Module) and not is_compiled and _takes_one(layer) else None


def _takes_one(layer: nn.Module) -> bool:
    """Whether a layer reads nothing but what enters it."""
    return len(inspect.signature(layer.forward).parameters) == 1


def _is_compiled(module: Any) -> bool:
    """Whether `module.compile()` or `torch.compile(module)` made it."""
    return getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")


@contextmanager
def feeding_forward_from(decoder: nn.Module, first: int) -> Iterator[None]:
    """Run the feed-forward layer of the last block from a column of a pass on; to earlier ones it adds nothing.

    Args:
        decoder: It runs once within the context.
        first: The column, counted from the first of the pass.
    """
    layer = last_feed_forward(decoder)
    if layer is None or torch.compiler.is_compiling() or first == 0:
        yield
        return

    def select(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (entering_BTD,) = inputs
        return (entering_BTD[:, first:].contiguous(),)

    def add_nothing(module: nn.Module, inputs: tuple[Tensor, ...], leaving_BRD: Tensor) -> Tensor:
        return functional.pad(leaving_BRD, (0, 0, first, 0))

    hooks = [layer.register_forward_pre_hook(select), layer.register_forward_hook(add_nothing)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
