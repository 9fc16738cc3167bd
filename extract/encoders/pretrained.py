"""Turns a model's name into its configuration at once, and into a network on a device when frames are wanted."""

import logging
from collections.abc import Callable
from typing import Any

import torch

from gia_mic.extract.encoders import fast, tiny
from gia_mic.extract.encoders.contract import TINY
from gia_mic.extract.encoders.weights import Weights, find_weights, load_config, load_model

__all__ = ["Pretrained", "frozen"]

logger = logging.getLogger(__name__)


class Pretrained:
    """What the encoders of all modalities begin with.

    Args:
        model: Hub id, local folder, or "tiny".
        revision: Hub revision; the main one by default.
        build_tiny: Makes the offline network of this modality.

    Raises:
        EncoderError: The model can't be found.
    """

    def __init__(self, model: str, revision: str | None, build_tiny: Callable[[], Any]) -> None:
        self._weights: Weights | None = None
        self._build_tiny = build_tiny
        self._model: Any = None
        self._device = "cpu"
        if model == TINY:
            self._config = build_tiny().config
            self._named: dict[str, Any] = {"model": TINY, "weights": f"tiny-{tiny.VERSION}"}
        else:
            self._weights = find_weights(model, revision)
            self._config = load_config(self._weights)
            self._named = {
                "model": self._weights.name,
                "weights": self._weights.digest,
                "weights_file": self._weights.pickled,
            }

    @property
    def revision(self) -> str | None:
        """The commit of a hub's model; None of any other."""
        return None if self._weights is None else self._weights.revision

    @property
    def missing_bytes(self) -> int:
        """How much has to be downloaded before the network can be loaded."""
        return 0 if self._weights is None else self._weights.missing_bytes()

    @property
    def model(self) -> Any:
        """The network, loaded."""
        assert self._model is not None, "call to() first"
        return self._model

    def _load(
        self, device: str, precision: str, model_class: Any = None, part: Callable[[Any], Any] = lambda whole: whole
    ) -> bool:
        """Load the network onto a device, unless it is there.

        Args:
            device: Such as cpu or cuda:1.
            precision: What it computes in.
            model_class: Class of transformers to load; by default what the configuration says.
            part: Takes what is wanted of it.

        Returns:
            Whether it was loaded now.
        """
        if self._model is not None and device == self._device:
            return False
        whole = self._build_tiny() if self._weights is None else load_model(model_class, self._weights, precision)
        self._model = part(whole).to(device, getattr(torch, precision))
        frozen(getattr(self._model, "config", None))
        if fast.suits(device):
            fast.accelerate(self._model)
        self._device = device
        logger.debug(f"Loaded {self._named['model']} ({self._named['weights']}) onto {device} in {precision}.")
        return True


def frozen(config: Any) -> Any:
    """Switch off, in place, what training or generation does and hidden states don't need; return the configuration.

    Masked autoencoders hide most patches at random (He et al., CVPR 2022, arXiv:2111.06377), decoders keep a cache.
    """
    if getattr(config, "mask_ratio", None):
        config.mask_ratio = 0.0
    if getattr(config, "use_cache", None):
        config.use_cache = False
    return config
