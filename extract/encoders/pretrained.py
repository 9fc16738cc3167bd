"""Turns a model's name into its configuration at once, and into a network on a device when frames are wanted."""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch

from gia_mic.extract.device import check_precision, device_name, dtype_of, is_out_of_memory, use_tf32
from gia_mic.extract.encoders import fast, tiny
from gia_mic.extract.encoders.batch import Pending
from gia_mic.extract.encoders.contract import EXTRACTOR_VERSION, TINY, EncoderSpec, Window
from gia_mic.extract.encoders.deferred import without_compiler
from gia_mic.extract.encoders.masks import take_masks_as_they_are
from gia_mic.extract.encoders.weights import Weights, find_weights, load_config, load_model
from gia_mic.extract.errors import EncoderError
from gia_mic.extract.notes import Answer, remembered

__all__ = ["BUILDING", "Pretrained", "frozen"]

logger = logging.getLogger(__name__)

BUILDING = threading.RLock()
"""Held while transformers builds a model: it changes torch as a whole meanwhile, and encoders load side by side."""


class Pretrained:
    """What the encoders of all modalities have in common.

    Attributes:
        spec: What shapes the frames.
        swaps_modules: Whether modules are swapped for faster ones as the network is loaded; an exporter wants its own.

    Args:
        model: Hub id, local folder, or "tiny".
        revision: Hub revision; the main one by default.
        build_tiny: Makes the offline network of this modality.

    Raises:
        EncoderError: The model can't be found.
    """

    spec: EncoderSpec

    def __init__(self, model: str, revision: str | None, build_tiny: Callable[[], Any]) -> None:
        self._weights: Weights | None = None
        self._build_tiny = build_tiny
        self._model: Any = None
        self._device = "cpu"
        self._exact_together = False  # whether other inputs in a batch change nothing
        self.swaps_modules = True
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

    def encode(self, pieces: Sequence[Window]) -> list[np.ndarray]:
        """Return each piece's kept frames (T, D) float32; what else is in the batch changes nothing."""
        return self.begin(pieces).frames()

    @torch.inference_mode()
    def begin(self, pieces: Sequence[Window], dtype: str = "float32") -> Pending:
        """Have frames computed as `encode` does, and stored in a type; an accelerator may still be at it afterwards."""
        use_tf32(self.spec.precision == "tf32")
        # rounding to 8 bits turns a last bit that is another in a batch into a whole step
        at_once = self._exact_together and self.spec.precision != "int8"
        together = [pieces] if at_once else [[piece] for piece in pieces]
        rows = torch.cat([self._outcome(self._rows(some)) for some in together])
        return Pending(rows, [piece.keep.stop - piece.keep.start for piece in pieces], dtype)

    @torch.inference_mode()
    def _together(self, pieces: Sequence[Window]) -> list[np.ndarray]:
        """Return each piece's kept frames (T, D) float32 of one batch, whatever that does to them."""
        use_tf32(self.spec.precision == "tf32")
        return Pending(self._rows(pieces), [piece.keep.stop - piece.keep.start for piece in pieces], "float32").frames()

    def recipe(self) -> dict[str, Any]:
        """Return how recordings or texts become the inputs of `compute`, JSON-like, as `gia_mic.runtime` reads it.

        Raises:
            EncoderError: The runtime can't make them.
        """
        raise NotImplementedError

    def compute(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the frames of a batch of windows, in tensors alone.

        Args:
            values: (B, n, ...), as a window's values are.
            mask: (B, n), True where a window has a value of its own; None where all are.
        """
        raise NotImplementedError

    def _tried(self, work: Callable[[], bool]) -> bool:
        """Return what trying the network says of it, from a note where it was tried before.

        A note holds for the same spec and weights, by the same software, on a device of the same kind.
        """
        capability = torch.backends.cpu.get_cpu_capability()
        return self._noted(["proof", self.spec.canonical(), capability, device_name(self._device)], work)

    def _noted(self, what: list[Any], work: Callable[[], Answer]) -> Answer:
        """Return what is worked out of the model, from a note where it was before, by the same software.

        Args:
            what: What is worked out, and what else than the model decides it.
            work: Works out what JSON can hold.
        """
        if self._weights is None:
            return work()
        versions = [EXTRACTOR_VERSION, torch.__version__, metadata.version("transformers")]
        return remembered(json.dumps([*what, self._weights.digest, *versions], sort_keys=True), work)

    def _rows(self, pieces: Sequence[Window]) -> torch.Tensor:
        """Return the kept frames of all pieces, one after the other, (N, D), computed in one batch."""
        raise NotImplementedError

    def _outcome(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what is wanted of frames (N, D): the frames."""
        return rows

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

        Raises:
            EncoderError: It can't be loaded, or doesn't fit there.
        """
        if self._model is not None and device == self._device:
            return False
        if precision == "int8":
            check_precision(precision, device)
        with BUILDING, without_compiler():
            whole = self._build_tiny() if self._weights is None else load_model(model_class, self._weights, precision)
        try:
            self._model = part(whole).to(device, dtype_of(precision))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise EncoderError(
                f"{device} has too little memory free for the weights of {self._named['model']}: end what else runs "
                "there, or choose another --device."
            ) from error
        frozen(getattr(self._model, "config", None))
        if not self.swaps_modules:
            pass
        elif fast.suits(device):
            fast.accelerate(self._model, int8=precision == "int8")
        else:
            take_masks_as_they_are(self._model)
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
