"""`torch.compile` on the decoder, to be measured beside the decoder as it is. Training does not use it.

The cache of a training step stays outside of the graphs: its buffer is shared between passes behind autograd's back,
which the compiler cannot follow (decision 0006). So each block is cut into two graphs, around the call that appends its
keys and values.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unspoken.model import LatentForCausalLM
from unspoken.model.cache import GrowingLayer


class CompiledDecoder:
    """The decoder of a model, compiled for any length of a pass.

    Args:
        model: Its weights are used, not copied.
    """

    def __init__(self, model: LatentForCausalLM) -> None:
        self._decoder = model.model.language_model
        self._decoder.compile(dynamic=True)
        self._call = self._decoder._compiled_call_impl
        self._decoder._compiled_call_impl = None
        self._update = GrowingLayer.update
        self._update_outside = torch.compiler.disable(GrowingLayer.update)  # type: ignore[no-untyped-call]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The model runs compiled for a while; what is not compiled yet is compiled when it first runs."""
        self._decoder._compiled_call_impl = self._call
        setattr(GrowingLayer, "update", self._update_outside)  # noqa: B010
        try:
            yield
        finally:
            self._decoder._compiled_call_impl = None
            setattr(GrowingLayer, "update", self._update)  # noqa: B010
