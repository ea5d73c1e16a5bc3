"""What nobody reads is not computed: the feed-forward layer of the last block runs at some columns alone.

What the other blocks make of a column becomes keys and values, which all later columns attend to. What the last one
makes of it is read, in a prompt, by the head at its end and by the thought source in front of a slot: most columns are
neither. Left out are two thirds of the products of a block: a third of those of two layers, a twentieth of those of
twelve. `tests/laws/test_last_block.py` holds logits and thoughts equal. Training finishes all states (decision 0017).

Shapes: B rows, T columns of a pass, R of them read, D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def last_feed_forward(decoder: nn.Module) -> nn.Module | None:
    """The feed-forward layer of the last block; None where it is not one layer that every column goes through."""
    stacks = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child)]
    config: Any = decoder.config
    routes_to_experts = any(getattr(config, name, None) for name in ("num_experts", "num_local_experts"))
    layer = getattr(stacks[-1][-1], "mlp", None) if stacks and not routes_to_experts else None
    return layer if isinstance(layer, nn.Module) else None


@contextmanager
def feeding_forward_at(decoder: nn.Module, columns: Sequence[int], num_columns: int) -> Iterator[None]:
    """Run the feed-forward layer of the last block at these columns of a pass; to the others it adds nothing.

    A compiled decoder is left as it is: its graphs know no hooks.

    Args:
        decoder: It runs once within the context.
        columns: Of the pass, ascending.
        num_columns: T.
    """
    layer = last_feed_forward(decoder)
    is_compiled = torch.compiler.is_compiling() or decoder._compiled_call_impl is not None
    if layer is None or is_compiled or len(columns) == num_columns:
        yield
        return
    read_R: Tensor | None = None

    def select(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal read_R
        entering_BTD, *others = inputs
        read_R = torch.tensor(columns, dtype=torch.long, device=entering_BTD.device)
        return entering_BTD.index_select(1, read_R), *others

    def spread(module: nn.Module, inputs: tuple[Tensor, ...], leaving_BRD: Tensor) -> Tensor:
        assert read_R is not None, "the columns were selected before the layer ran"
        rows, _, width = leaving_BRD.shape
        return leaving_BRD.new_zeros(rows, num_columns, width).index_copy(1, read_R, leaving_BRD)

    hooks = [layer.register_forward_pre_hook(select), layer.register_forward_hook(spread)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
