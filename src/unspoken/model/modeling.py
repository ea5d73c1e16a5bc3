"""The latent model: a decoder of Hugging Face, with positions whose embeddings are thoughts.

`LatentModel` owns the decoder and the pass loop and returns states; `LatentForCausalLM` adds the head. That is Hugging
Face's own layout, so `generate`, `Trainer`, TRL, PEFT and lm-eval work on it unchanged. Slots are found by token id in
`input_ids`, so nothing above the model needs to know about them.

Shapes: B rows, L columns, S slot columns, D width, V vocabulary.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationConfig,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.cache_utils import DynamicLayer
from transformers.generation import GenerationMode
from transformers.utils import ModelOutput

from unspoken.errors import RecipeError
from unspoken.model.cache import growing_cache
from unspoken.model.configuration import LatentConfig
from unspoken.model.decoder import check_decoder
from unspoken.model.embedding_heads import EmbeddingHeads, states_before_words
from unspoken.model.loss import (
    first_trained_column,
    head_logits,
    next_token_loss,
    share_of_step,
    trained_states,
)
from unspoken.model.passes import Sequence, Single, build_schedule
from unspoken.model.vision import ImageSlots
from unspoken.thoughts import ThoughtSource, Vocabulary, build_source


@dataclass
class LatentModelOutput(ModelOutput):
    """What `LatentModel` returns.

    Attributes:
        last_hidden_state: (B, L, D) states of the last layer, after the final norm.
        past_key_values: The cache with all columns, when asked for.
        thoughts: (B, S, D) what the slots were filled with; None without slots.
        thought_mask: (B, S) true where the row itself has a slot in that column.
        num_passes: How often the decoder ran.
    """

    last_hidden_state: Tensor | None = None
    past_key_values: Cache | None = None
    thoughts: Tensor | None = None
    thought_mask: Tensor | None = None
    num_passes: int | None = None


@dataclass
class LatentCausalLMOutput(ModelOutput):
    """What `LatentForCausalLM` returns.

    Attributes:
        loss: Cross entropy at labelled positions, when labels are given; with heads also their weighted losses.
        logits: (B, kept, V); None in training, see `LatentForCausalLM.forward`.
        past_key_values: As in `LatentModelOutput`.
        thoughts: As in `LatentModelOutput`.
        thought_mask: As in `LatentModelOutput`.
        num_passes: As in `LatentModelOutput`.
        loss_words: The part of the loss that is of words; None without heads, where it is the loss.
        loss_image: That of the guess about the next image, without its weight; None without heads.
        loss_text: That of the guess about the answer, likewise.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    thoughts: Tensor | None = None
    thought_mask: Tensor | None = None
    num_passes: int | None = None
    loss_words: Tensor | None = None
    loss_image: Tensor | None = None
    loss_text: Tensor | None = None


class LatentPreTrainedModel(PreTrainedModel):
    """What both models share with Hugging Face's machinery."""

    config_class = LatentConfig
    config: LatentConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)

    def _init_weights(self, module: nn.Module) -> None:
        """The decoder initialises its own modules; sources keep PyTorch's defaults."""

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs: Any) -> None:
        """Checkpoint whole passes; the decoder's own checkpointing drops the cache and so changes the loss."""
        for module in self.modules():
            if isinstance(module, LatentModel):
                module.checkpoint_passes = enable

    @property
    def num_positions(self) -> int:
        """The longest sequence the decoder takes; a very large number where it has no limit."""
        return int(getattr(self.config.text_config, "max_position_embeddings", None) or sys.maxsize)

    @property
    def is_activation_checkpointing(self) -> bool:
        """Whether passes are recomputed in the backward pass."""
        return any(module.checkpoint_passes for module in self.modules() if isinstance(module, LatentModel))

    @property
    def is_gradient_checkpointing(self) -> bool:
        """The older name of `is_activation_checkpointing`."""
        return self.is_activation_checkpointing


class LatentModel(LatentPreTrainedModel):
    """The decoder and the pass loop.

    Args:
        config: See `LatentConfig`.
        language_model: The decoder to use; default: a new one from `config.text_config`.

    Raises:
        RecipeError: The decoder is none that passes are exact for, see `check_decoder`; or a source or schedule does
            not fit.
    """

    def __init__(self, config: LatentConfig, language_model: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.language_model = language_model or AutoModel.from_config(config.text_config)
        check_decoder(self.language_model)
        self.thought_source = build_source(config.thought_source, config.hidden_size)
        self.schedule = build_schedule(config.schedule, self.thought_source)
        self.checkpoint_passes = config.checkpoint_passes
        self.image_slots: ImageSlots | None = None
        if config.vision is not None:
            std = float(getattr(config.text_config, "initializer_range", 0.02))
            self.image_slots = ImageSlots(config.vision, config.hidden_size, std)
            self._no_split_modules = _blocks(self.image_slots.encoder)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The decoder's embedding table."""
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's embedding table."""
        self.language_model.set_input_embeddings(value)

    @contextmanager
    def thinking_with(self, source: ThoughtSource, *, in_one_pass: bool = False) -> Iterator[None]:
        """Fill the slots from another source for a while.

        Args:
            source: What fills them. The schedule stays as it is if the source allows it.
            in_one_pass: Use the schedule `single`, for sources that read no state.
        """
        trained, schedule = self.thought_source, self.schedule
        self.thought_source = source
        if in_one_pass:
            self.schedule = build_schedule({"name": "single"}, source)
        elif isinstance(schedule, Single) and source.reads_states:
            self.schedule = build_schedule({"name": "sequential"}, source)
        try:
            yield
        finally:
            self.thought_source, self.schedule = trained, schedule

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        images: Tensor | None = None,
        first_read: int = 0,
        **kwargs: Any,
    ) -> LatentModelOutput:
        """Run the decoder over new columns, filling each thought slot on the way.

        Args:
            input_ids: (B, L); positions that hold `config.latent_token_id` are slots.
            attention_mask: (B, P + L) with P columns in the cache; default: all real.
            position_ids: (B, L); default: counted from the first real position of each row.
            past_key_values: Cache with P columns, which grows by L; default: none.
            inputs_embeds: (B, L, D) instead of `input_ids`; there are no slots then.
            use_cache: Whether to return a cache when none was given.
            images: What fills the image slots of `input_ids`, see `ImageSlots.forward`; ignored where there are none.
            first_read: The states of columns before it are not read by the caller and may mean nothing.
            **kwargs: Accepted for Hugging Face's tools; `output_hidden_states` and `output_attentions` are refused.

        Raises:
            ValueError: A slot has no state before it, rows are packed, or an unsupported output is asked for.
        """
        if kwargs.get("output_hidden_states") or kwargs.get("output_attentions"):
            raise ValueError("a latent model returns the last states only; run `language_model` for inner ones")
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds, and not both")
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if self.image_slots is not None and input_ids is not None:
            is_image = self._is_token(input_ids, embeds, self.config.image_token_id)
            if is_image.any():
                if images is None:
                    raise ValueError("there are image slots in input_ids, but no images; give images=")
                embeds = self.image_slots(embeds, is_image, images)
        rows, length = embeds.shape[:2]
        past_length = past_key_values.get_seq_length() if past_key_values is not None else 0
        if attention_mask is None:
            self._check_not_packed(position_ids)
            attention_mask = torch.ones(rows, past_length + length, dtype=torch.long, device=embeds.device)
        if position_ids is None:
            position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)[:, -length:]
        is_thought = self._is_token(input_ids, embeds, self.config.latent_token_id)
        columns: list[int] = is_thought.any(dim=0).nonzero().flatten().tolist()
        if columns:
            self._check_slots(is_thought, attention_mask[:, -length:].bool())
        owned = past_key_values is None
        sequence = Sequence(
            decoder=self.language_model,
            embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            is_thought=is_thought,
            is_marker=self._is_token(input_ids, embeds, self.config.start_latent_token_id),
            cache=growing_cache(length) if owned else past_key_values,
            checkpointed=self.checkpoint_passes and owned and torch.is_grad_enabled(),
            first_read=0 if self.thought_source.reads_window else first_read,
        )
        sequence.think(columns, self.thought_source, self.schedule)
        return LatentModelOutput(
            last_hidden_state=torch.cat(sequence.chunks, dim=1) if len(sequence.chunks) > 1 else sequence.chunks[0],
            past_key_values=sequence.cache if use_cache or not owned else None,
            thoughts=torch.stack([sequence.filled[column] for column in columns], dim=1) if columns else None,
            thought_mask=(is_thought & attention_mask[:, -length:].bool())[:, columns] if columns else None,
            num_passes=sequence.num_passes,
        )

    @staticmethod
    def _is_token(input_ids: Tensor | None, embeds: Tensor, token_id: int | None) -> Tensor:
        if input_ids is None or token_id is None:
            return torch.zeros(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        return input_ids == token_id

    @staticmethod
    def _check_not_packed(position_ids: Tensor | None) -> None:
        """Refuse positions that begin again: what stands behind would attend to what stands before."""
        if position_ids is None:
            return
        packed = (position_ids.diff(dim=1) < 0).any(dim=1).nonzero().flatten().tolist()
        if packed:
            raise ValueError(
                f"positions of row {packed[0]} begin again: packed rows are not supported; give one row each"
            )

    @staticmethod
    def _check_slots(is_thought: Tensor, is_real: Tensor) -> None:
        """Refuse slots without a state before them; slots in padding only take part in the count of passes."""
        preceded = torch.zeros_like(is_real)
        preceded[:, 1:] = is_real[:, :-1]
        orphans = is_thought & is_real & ~preceded
        if is_thought[:, 0].any() or orphans.any():
            row, column = (is_thought & ~preceded).nonzero()[0].tolist()
            raise ValueError(
                f"row {row} has a thought slot at column {column} with no real position before it in this call; "
                "a thought is made from the state before its slot, so put the question in front of it"
            )


class LatentForCausalLM(LatentPreTrainedModel, GenerationMixin):
    """A language model that can think in vectors between the question and the answer.

    Args:
        config: See `LatentConfig`.
        language_model: The decoder to use; default: a new one.
        lm_head: The head to use; default: a new one, tied to the embeddings if `config.tie_word_embeddings`.
    """

    def __init__(
        self, config: LatentConfig, language_model: PreTrainedModel | None = None, lm_head: nn.Module | None = None
    ) -> None:
        super().__init__(config)
        for unsupported in ("logit_scale", "logits_scaling"):
            if getattr(config.text_config, unsupported, None) not in (None, 1, 1.0):
                raise RecipeError("model", [f"{config.text_config.model_type} scales its logits by {unsupported}"])
        self.model = LatentModel(config, language_model)
        self.lm_head = lm_head or nn.Linear(config.hidden_size, config.vocab_size, bias=config.head_bias)
        self.embedding_heads: EmbeddingHeads | None = None
        if config.embedding_heads is not None:
            self.embedding_heads = EmbeddingHeads(config.embedding_heads, config.hidden_size)
        self.model.thought_source.attach(Vocabulary(self))
        table = self.model.get_input_embeddings()
        name = next(name for name, module in self.model.language_model.named_modules() if module is table)
        self._tied_weights_keys = {"lm_head.weight": f"model.language_model.{name}.weight"}
        # slots are placed by the prompt, so no sampler may write their tokens
        image_tokens = [] if config.image_token_id is None else [config.image_token_id]
        self.generation_config.suppress_tokens = sorted([*config.thought_token_ids, *image_tokens])
        self.post_init()

    @classmethod
    def from_decoder(cls, causal_lm: PreTrainedModel, config: LatentConfig) -> "LatentForCausalLM":
        """Give a Hugging Face causal language model thought slots; its weights are used, not copied.

        Args:
            causal_lm: Any causal language model; its vocabulary already holds the thought tokens.
            config: Its `text_config` is that of `causal_lm`; its `head_bias` is set to what the head has.
        """
        head = causal_lm.get_output_embeddings()
        config.head_bias = getattr(head, "bias", None) is not None
        model = cls(config, causal_lm.base_model, head)
        model.tie_weights()
        return model

    def get_input_embeddings(self) -> nn.Module:
        """The decoder's embedding table."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's embedding table."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the head."""
        self.lm_head = value

    @property
    def _softcap(self) -> float | None:
        """What the decoder bounds its logits by; None without a bound."""
        return getattr(self.config.text_config, "final_logit_softcapping", None)

    def read(self, states: Tensor) -> Tensor:
        """Probabilities of all tokens, (..., V) in fp32, as the head reads them from states or thoughts, (..., D)."""
        return self.logits(states).softmax(dim=-1)

    def logits(self, states: Tensor) -> Tensor:
        """Logits of all tokens, (..., V) in fp32, as the head reads them from states or thoughts, (..., D)."""
        return head_logits(self.lm_head, states, self._softcap).float()

    def _prepare_cache_for_generation(
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        generation_mode: GenerationMode,
        batch_size: int,
        max_cache_length: int,
    ) -> None:
        """Where one token a row is written at a time, by a cache that is not copied for it."""
        given = model_kwargs.get("past_key_values")
        super()._prepare_cache_for_generation(
            generation_config, model_kwargs, generation_mode, batch_size, max_cache_length
        )
        made = model_kwargs.get("past_key_values")
        if (
            given is None
            and generation_mode in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)
            and generation_config.cache_implementation in (None, "dynamic")
            and isinstance(made, DynamicCache)
            and all(type(layer) is DynamicLayer for layer in made.layers)
        ):
            model_kwargs["past_key_values"] = growing_cache()

    @staticmethod
    def create_masks_for_generate(*, attention_mask: Tensor | None, **_: Any) -> Tensor | None:
        """The mask as it is, whatever the cache: each pass makes its own of it, for as many columns as it sees."""
        return attention_mask

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor | None = None,
        images: Tensor | None = None,
        foreseen: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        num_rows_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> LatentCausalLMOutput:
        """States of `LatentModel`, then logits and loss only where they are needed.

        Args:
            input_ids: See `LatentModel.forward`.
            attention_mask: See `LatentModel.forward`.
            position_ids: See `LatentModel.forward`.
            past_key_values: See `LatentModel.forward`.
            inputs_embeds: See `LatentModel.forward`.
            labels: (B, L), not shifted, -100 where nothing is trained.
            use_cache: See `LatentModel.forward`.
            logits_to_keep: Logits of this many last columns (0: all) or of these columns. Default: all of them, but
                where there are labels and gradients none but those of the loss, which are not returned.
            images: See `LatentModel.forward`.
            foreseen: What the heads are to tell, see `EmbeddingHeads.losses`; counts where there are labels.
            num_items_in_batch: See `next_token_loss`.
            num_rows_in_batch: Rows with labels in the whole optimizer step, by which each of several micro-batches
                counts in the losses of the heads; where it is not known, each counts by its words.
            **kwargs: See `LatentModel.forward`.
        """
        # in training only the logits of the loss are needed; where a `Trainer` predicts, it asks for all
        trains = labels is not None and torch.is_grad_enabled()
        kept = logits_to_keep if trains or logits_to_keep is not None else 0
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            images=images,
            first_read=_first_column_of_head(input_ids if inputs_embeds is None else inputs_embeds, labels, kept),
            **kwargs,
        )
        states_BLD, softcap = output.last_hidden_state, self._softcap
        loss = logits = None
        parts: dict[str, Tensor] = {}
        if labels is not None:
            states_ND, targets_N = trained_states(states_BLD, labels)
            loss = next_token_loss(head_logits(self.lm_head, states_ND, softcap), targets_N, num_items_in_batch)
            if (heads := self.embedding_heads) is not None and foreseen is not None:
                share = share_of_step(labels, targets_N, num_items_in_batch, num_rows_in_batch)
                losses = heads.losses(heads(states_before_words(states_BLD, labels)), foreseen)
                parts = {"loss_words": loss, **{f"loss_{kind}": share * each for kind, each in losses.items()}}
                loss = loss + share * sum(heads.weights[kind] * each for kind, each in losses.items())
        if kept is not None:
            columns = slice(-kept, None) if isinstance(kept, int) else kept
            logits = head_logits(self.lm_head, states_BLD[:, columns], softcap)
        return LatentCausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=output.past_key_values,
            thoughts=output.thoughts,
            thought_mask=output.thought_mask,
            num_passes=output.num_passes,
            **parts,
        )


def _first_column_of_head(inputs: Tensor | None, labels: Tensor | None, kept: int | Tensor | None) -> int:
    """The first column whose state the head reads, for the loss or for the logits that are kept."""
    if inputs is None or isinstance(kept, Tensor) or kept == 0:
        return 0
    of_logits = inputs.size(1) if kept is None else max(inputs.size(1) - kept, 0)
    return of_logits if labels is None else min(of_logits, first_trained_column(labels))


def _blocks(encoder: PreTrainedModel | None) -> set[str]:
    """Classes of an encoder that FSDP shards. It names those of text as well, and accelerate refuses absent ones."""
    if encoder is None:
        return set()
    return set(encoder._no_split_modules or ()) & {type(module).__name__ for module in encoder.modules()}


def register() -> None:
    """Make Hugging Face's Auto classes open latent models; importing `unspoken` does this."""
    AutoConfig.register(LatentConfig.model_type, LatentConfig, exist_ok=True)
    AutoModel.register(LatentConfig, LatentModel, exist_ok=True)
    AutoModelForCausalLM.register(LatentConfig, LatentForCausalLM, exist_ok=True)
