"""Turns a model's attention into one that takes a mask of padding as it is.

transformers looks whether such a mask hides anything, to leave it out where it doesn't. On an accelerator the host
waits for the answer, and the queue runs empty. Batches of speech have a mask only where one is needed.
"""

from typing import Any

__all__ = ["take_masks_as_they_are"]

NAME = "sdpa_with_mask"


def take_masks_as_they_are(model: Any) -> None:
    """Have a loaded model of transformers, if its attention is torch's, not look into its masks."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return
    AttentionInterface.register(NAME, sdpa_attention_forward)
    AttentionMaskInterface.register(NAME, _mask)
    model.set_attn_implementation(NAME)


def _mask(*args: Any, **options: Any) -> Any:
    """Return a mask as numbers to add, once for all layers: torch would make them of True and False in each."""
    from transformers.masking_utils import eager_mask, sdpa_mask

    if options.get("attention_mask") is None:
        return sdpa_mask(*args, **options)
    return eager_mask(*args, **{**options, "allow_is_bidirectional_skip": False})
