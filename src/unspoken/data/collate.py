"""StagedExample -> Batch: rows side by side, first thoughts in one column."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unspoken.records import IGNORED, Batch, StagedExample


def collate(
    rows: Sequence[StagedExample], *, pad_id: int, latent_id: int = -1, thought_columns: int = 0, align: bool = True
) -> Batch:
    """Pad rows to one length so that as few columns as possible hold a slot.

    Rows are padded on the left until all first thoughts share a column, and then on the right; rows without thoughts
    are padded on the right only. Padding is masked by position: its id may be that of a real token.

    Args:
        rows: At least one.
        pad_id: What padding holds.
        latent_id: Id of `<|latent|>`; needed with `thought_columns`.
        thought_columns: Give the batch at least this many slot columns, by masked slots at the end. Ranks that share
            parameters must run the same number of passes.
        align: False pads on the left only, so that all rows end in the same column: prompts for `generate`.

    Returns:
        The batch; its labels are those of the rows.
    """
    ends = max(len(row.input_ids) for row in rows)
    if align:
        first = max((row.first_thought for row in rows if row.first_thought is not None), default=0)
        lefts = [0 if row.first_thought is None else first - row.first_thought for row in rows]
        ends = max(left + len(row.input_ids) for left, row in zip(lefts, rows, strict=True))
    else:
        lefts = [ends - len(row.input_ids) for row in rows]
    dummies = max(thought_columns - max(row.num_thoughts for row in rows), 0)
    shape = (len(rows), ends + dummies)
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    input_ids[:, ends:] = latent_id
    attention_mask, position_ids = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    for index, (left, row) in enumerate(zip(lefts, rows, strict=True)):
        span = slice(left, left + len(row.input_ids))
        input_ids[index, span] = row.input_ids
        attention_mask[index, span] = 1
        position_ids[index, span] = np.arange(len(row.input_ids))
        labels[index, span] = row.labels
    batch = Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        position_ids=torch.from_numpy(position_ids),
        labels=torch.from_numpy(labels),
    )
    if any(row.images for row in rows):
        batch["images"] = _images(rows)
    foreseen = [row.foreseen for row in rows if row.foreseen is not None]
    if len(foreseen) == len(rows):
        batch["foreseen"] = torch.from_numpy(np.stack(foreseen))
    return batch


def inputs_of(batch: Batch, device: torch.device | str) -> dict[str, Tensor]:
    """What a model reads of a batch, on its device: everything but what is right."""
    tensors: dict[str, Tensor] = {**batch}  # type: ignore[dict-item]
    return {key: tensor.to(device) for key, tensor in tensors.items() if key not in ("labels", "foreseen")}


def _images(rows: Sequence[StagedExample]) -> Tensor:
    """The images of each row side by side, (B, I, ...)."""
    arrays = [[image.array() for image in row.images] for row in rows]
    shape = next(array.shape for row in arrays for array in row)
    stacked = np.zeros((len(rows), max(map(len, arrays)), *shape), dtype=np.float32)
    for index, row in enumerate(arrays):
        for place, array in enumerate(row):
            stacked[index, place] = array
    return torch.from_numpy(stacked)
