"""The configuration of a latent model: a decoder, its thought tokens, the thought source and the schedule."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig


class LatentConfig(PreTrainedConfig):
    """Configuration of `LatentModel`.

    Args:
        text_config: Configuration of the decoder, of Hugging Face, see `check_decoder`.
        latent_token_id: Id of `<|latent|>`: a position that holds it is a thought slot.
        start_latent_token_id: Id of `<|start-latent|>`, or None without markers.
        end_latent_token_id: Id of `<|end-latent|>`, or None without markers.
        thought_source: `{"name": ..., **settings}`, see `unspoken.thoughts.SOURCES`.
        schedule: `{"name": "sequential" | "jacobi" | "single", ...}`, see `unspoken.model.passes`.
        checkpoint_passes: Recompute passes in the backward pass instead of keeping their activations.
        image_token_id: Id of `<|image|>`: a position that holds it is an image slot. None: the model sees no images.
        vision: How image slots are filled, see `unspoken.model.vision.ImageSlots`.
        embedding_heads: What is guessed beside the words, see `EmbeddingHeads`. None: nothing.
        head_bias: Whether the head adds a bias to the logits, as that of Phi and GPT-J does.
    """

    model_type = "unspoken"
    # the library reads both as plain class attributes
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012
    keys_to_ignore_at_inference = [  # noqa: RUF012 (what a `Trainer` gathers as predictions is the rest: the logits)
        "past_key_values",
        "thoughts",
        "thought_mask",
        "num_passes",
        "loss_words",
        "loss_image",
        "loss_text",
    ]

    def __init__(
        self,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        latent_token_id: int = -1,
        start_latent_token_id: int | None = None,
        end_latent_token_id: int | None = None,
        thought_source: dict[str, Any] | None = None,
        schedule: dict[str, Any] | None = None,
        checkpoint_passes: bool = False,
        image_token_id: int | None = None,
        vision: dict[str, Any] | None = None,
        embedding_heads: dict[str, Any] | None = None,
        head_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        if text_config is None or isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**(text_config or {"model_type": "gpt2"}))
        decoder: PreTrainedConfig = text_config
        self.text_config = decoder
        self.latent_token_id = latent_token_id
        self.start_latent_token_id = start_latent_token_id
        self.end_latent_token_id = end_latent_token_id
        self.thought_source = thought_source or {"name": "last_hidden"}
        self.schedule = schedule or {"name": "sequential"}
        self.checkpoint_passes = checkpoint_passes
        self.image_token_id = image_token_id
        self.vision = vision
        self.embedding_heads = embedding_heads
        self.head_bias = head_bias
        # tools above the model (Trainer, TRL, PEFT, generate) look for these at the top level
        kwargs.pop("vocab_size", None)  # older files hold one that stayed as it was when the vocabulary grew
        kwargs.setdefault("hidden_size", decoder.hidden_size)
        kwargs.setdefault("tie_word_embeddings", decoder.tie_word_embeddings)
        kwargs.setdefault("attn_implementation", decoder._attn_implementation)
        for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            kwargs.setdefault(key, getattr(decoder, key, None))
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        """That of the decoder, which is what the library changes when embeddings are resized."""
        size: int = self.text_config.vocab_size
        return size

    @property
    def thought_token_ids(self) -> list[int]:
        """Ids of the thought tokens that the vocabulary has."""
        tokens = (self.latent_token_id, self.start_latent_token_id, self.end_latent_token_id)
        return sorted({token for token in tokens if token is not None and token >= 0})
