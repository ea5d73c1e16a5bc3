"""The key-value cache of a training step and of generation: it grows pass by pass without being copied.

A cache that concatenates copies all keys and values in every pass, and in training keeps each copy alive for the
backward pass. Here all passes share one buffer per layer: each writes its columns behind those of the earlier passes
and attends to a view. In the backward pass the gradients of all views are summed in one buffer, too.
`tests/laws/test_cache.py` holds it equal to concatenation.

Shapes: B rows, H key-value heads, T columns so far, E width of a head.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class _Store:
    """One buffer for all columns of a sequence, and one for their gradients."""

    def __init__(self, num_columns: int) -> None:
        self.num_columns = num_columns
        self.length = 0
        self.buffer: Tensor | None = None
        self.gradient: Tensor | None = None
        self.backward_pass = -1

    def begin_anew_in(self, backward_pass: int) -> None:
        """Forget what another backward pass has summed; one for some parameters alone leaves its sum behind."""
        if self.backward_pass != backward_pass:
            self.backward_pass, self.gradient = backward_pass, None

    def make_room(self, previous: Tensor | None, new: Tensor) -> Tensor:
        """The buffer, with `previous` in front and space for `new` behind it.

        It is the same buffer as before unless it is full or somebody has cropped or rearranged the columns since.
        """
        start = 0 if previous is None else previous.size(2)
        stop, buffer = start + new.size(2), self.buffer
        if (
            buffer is None
            or start != self.length
            or stop > buffer.size(2)
            or (previous is not None and (previous.data_ptr(), len(previous)) != (buffer.data_ptr(), len(buffer)))
        ):
            if stop > self.num_columns:
                self.num_columns = 2 * stop
            rows, heads, _, width = new.shape
            buffer = new.new_empty(rows, heads, self.num_columns, width)
            if previous is not None:
                buffer[:, :, :start] = previous.detach()
            self.buffer, self.length = buffer, start
        return buffer


class _Append(torch.autograd.Function):
    """Write new columns into the store and return the view of all columns so far.

    `previous`, the view that the last append returned, is an input only for the order it imposes on the backward pass:
    the gradient of a view is complete when those of all later views have been summed.
    """

    @staticmethod
    def forward(ctx: Any, new_BHTE: Tensor, previous: Tensor | None, store: _Store) -> Tensor:
        buffer = store.make_room(previous, new_BHTE)
        start, stop = store.length, store.length + new_BHTE.size(2)
        # the views that earlier passes saved never reach these columns, so their version must not change
        buffer.data[:, :, start:stop] = new_BHTE
        store.length = stop
        ctx.store, ctx.start, ctx.stop = store, start, stop
        ctx.set_materialize_grads(False)
        return buffer[:, :, :stop]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, None, None]:
        store: _Store = ctx.store
        store.begin_anew_in(torch._C._current_graph_task_id())
        if gradient is not None:
            if store.gradient is None:
                assert store.buffer is not None, "forward came first"
                store.gradient = torch.zeros_like(store.buffer)
            store.gradient[:, :, : ctx.stop] += gradient
        if store.gradient is None:
            return None, None, None
        new_gradient = store.gradient[:, :, ctx.start : ctx.stop]
        if ctx.start == 0:  # the first columns come last: nothing is added any more
            store.gradient = None
        return new_gradient, None, None


class GrowingLayer(DynamicLayer):
    """One layer's keys and values, each in a buffer of `num_columns` that doubles when it is full.

    Rows may be rearranged and columns cropped between updates when no gradient is wanted, as generation does.
    """

    keys: Tensor | None
    values: Tensor | None
    is_initialized: bool

    def __init__(self, num_columns: int) -> None:
        super().__init__()
        self._key_store, self._value_store = _Store(num_columns), _Store(num_columns)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new columns, (B, H, T, E) each; returns all columns so far."""
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        append: Callable[[Tensor, Tensor | None, _Store], Tensor] = _Append.apply
        self.keys = append(key_states, self.keys, self._key_store)
        self.values = append(value_states, self.values, self._value_store)
        return self.keys, self.values


class ExtensionLayer(DynamicLayer):
    """Given keys and values as the past; remembers which columns one pass added to them.

    Args:
        keys: Keys of the past, (B, H, T, E); default: there is no past.
        values: Values of the past, (B, H, T, E).
    """

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        super().__init__()
        if keys is not None:
            self.keys, self.values = keys, values
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.added: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Concatenate new columns, (B, H, T, E) each; returns all columns so far."""
        self.added = (key_states, value_states)
        return super().update(key_states, value_states)


def growing_cache(num_columns: int = 0) -> Cache:
    """An empty cache with room for `num_columns` at first; its layers appear as the decoder first writes to them."""
    return Cache(layer_class_to_replicate=partial(GrowingLayer, num_columns))


def rearrange_columns(cache: Cache, order_TC: Tensor) -> None:
    """Put the columns of each row into another order, (T, C): which of the old ones stands in each place."""
    for layer in cache.layers:
        places = order_TC[:, None, :, None]
        layer.keys = layer.keys.gather(2, places.expand_as(layer.keys))
        layer.values = layer.values.gather(2, places.expand_as(layer.values))


def scratch_copy(cache: Cache) -> Cache:
    """A cache with the same columns that can be extended and thrown away; `cache` stays as it is."""
    if all(isinstance(layer, GrowingLayer) for layer in cache.layers):
        return Cache(layers=[ExtensionLayer(layer.keys, layer.values) for layer in cache.layers])
    return copy.deepcopy(cache)
