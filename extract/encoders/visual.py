"""Turns video into one frame per picture with CLIP's vision tower, ViT, DINOv2 and their relatives."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gia_mic.extract import media
from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.crop import stream_cropped
from gia_mic.extract.encoders import tiny
from gia_mic.extract.encoders.contract import EncodeJob, EncoderSpec, Window, check_layers
from gia_mic.extract.encoders.pretrained import Pretrained
from gia_mic.extract.encoders.weights import load_settings
from gia_mic.extract.errors import EncoderError, MediaError
from gia_mic.extract.face import FaceTrackerConfig
from gia_mic.extract.store import Header

__all__ = ["VisualEncoder"]

PICTURES_PER_PIECE = 16
BICUBIC = 3


class VisualEncoder(Pretrained):
    """CLIP's vision tower or a vision transformer, frozen.

    A clip of s seconds gives about T = s · frame_rate_hz frames. Each is the class token of one picture, for CLIP after
    its last layer norm as in its image embedding (Radford et al., ICML 2021, arXiv:2103.00020); the mean over the
    patches where a model has no class token.

    Args:
        model: Hub id, local folder, or "tiny".
        revision: Hub revision; the main one by default.
        frame_rate_hz: As in `EncoderConfig`, like the options: layers, pool, precision and dtype.
        crop: As in `EncoderConfig`; pictures without the face give no frame.

    Raises:
        EncoderError: The model can't be found, or is none for pictures.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        frame_rate_hz: float = EncoderConfig.frame_rate_hz,
        crop: str = EncoderConfig.crop,
        **options: Any,
    ) -> None:
        self._crop = crop
        self._finder = FaceTrackerConfig()
        super().__init__(model, revision, tiny.visual)
        config = self._config
        if self._weights is None:
            size = {"height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}
            settings = {"size": size, "image_mean": tiny.IMAGE_MEAN, "image_std": tiny.IMAGE_STD}
        else:
            settings = load_settings(self._weights, "image_processor")
        self._two_towers = hasattr(config, "vision_config")
        self._config = config.vision_config if self._two_towers else config
        if not hasattr(self._config, "patch_size") or not hasattr(self._config, "hidden_size"):
            raise EncoderError(
                f"{self._named['model']} is a {config.model_type} model, no vision transformer: choose CLIP, ViT or "
                "DINOv2."
            )
        self._framing = _framing(settings, getattr(self._config, "image_size", 224))
        self._mean, self._std = _normalisation(settings)
        self.spec = EncoderSpec(
            modality="visual",
            **self._named,
            frame_rate_hz=frame_rate_hz,
            crop=None if crop == EncoderConfig.crop else crop,
            framing={
                "size": list(self._framing.size),
                "shortest_edge": self._framing.shortest_edge,
                "resample": self._framing.resample,
                "mean": list(self._mean),
                "std": list(self._std),
                **({"face": self._finder.spec()} if self._crop == "face" else {}),
            },
            **options,
        )
        check_layers(self.spec.layers, self._config.num_hidden_layers, self.spec.name)

    @property
    def header(self) -> Header:
        """What all frames have in common."""
        return self.spec.header(self._config.hidden_size, None if self._crop == "face" else self._rate, self._weights)

    def size(self, job: EncodeJob) -> int:
        """Return about how many patches the model has to compute for an utterance."""
        return max(round(job.duration_s * self._rate), 1) * self._patches

    def pieces(self, job: EncodeJob) -> Iterator[Window]:
        """Decode a clip into pictures, some at a time.

        Raises:
            MediaError: It can't be decoded, or no picture shows a face to crop to.
        """
        assert job.path is not None
        held: list[np.ndarray] = []
        taken = without = 0
        for picture in stream_cropped(job.path, job.clip, self._rate, self._framing, self._crop, self._finder):
            taken += 1
            if picture is None:
                without += 1
                continue
            if len(held) == PICTURES_PER_PIECE:
                yield self._piece(held)
                held = []
            held.append(picture)
        if not held:
            raise MediaError(f"no face in any of {taken} pictures")
        yield self._piece(held, f"no face in {without} of {taken} pictures" if without else "")

    def to(self, device: str) -> "VisualEncoder":
        """Load the weights onto a device."""
        from transformers import CLIPVisionModel, SiglipVisionModel

        towers = {"clip_vision_model": CLIPVisionModel, "siglip_vision_model": SiglipVisionModel}
        self._load(device, self.spec.precision, towers.get(self._config.model_type))
        return self

    @torch.inference_mode()
    def encode(self, pieces: Sequence[Window]) -> list[np.ndarray]:
        """Return each piece's frames (T, D) float32; pictures don't see each other."""
        parameter = next(self.model.parameters())
        pictures = torch.from_numpy(np.concatenate([piece.values for piece in pieces])).to(parameter.device)
        mean, std = (torch.tensor(values, device=parameter.device) for values in (self._mean, self._std))
        pixels = ((pictures.float() / 255 - mean) / std).permute(0, 3, 1, 2).to(parameter.dtype)
        outputs = self.model(pixel_values=pixels, output_hidden_states=self.spec.layers != (-1,))
        frames = self._pooled(outputs).float().cpu().numpy()
        ends = np.cumsum([len(piece.values) for piece in pieces])
        return np.split(frames, ends[:-1])

    @property
    def _rate(self) -> float:
        assert self.spec.frame_rate_hz is not None
        return self.spec.frame_rate_hz

    @property
    def _patches(self) -> int:
        height, width = self._framing.size
        return (height // self._config.patch_size) * (width // self._config.patch_size) + 1

    def _piece(self, pictures: list[np.ndarray], note: str = "") -> Window:
        return Window(np.stack(pictures), slice(0, len(pictures)), len(pictures) * self._patches, note)

    def _pooled(self, outputs: Any) -> torch.Tensor:
        """Return one vector per picture, (B, L · H), from the tokens of each hidden layer."""
        layers = self.spec.layers
        if layers == (-1,):
            if self._config.model_type in ("clip_vision_model", "siglip_vision_model"):
                return outputs.pooler_output
            return self._token(outputs.last_hidden_state)
        if layers == "mean":
            return torch.stack([self._token(hidden) for hidden in outputs.hidden_states[1:]]).mean(dim=0)
        return torch.cat([self._token(outputs.hidden_states[layer]) for layer in layers], dim=-1)

    def _token(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the class token of (B, patches + 1, H), or the mean of (B, patches, H)."""
        return hidden.mean(dim=1) if self._config.model_type == "siglip_vision_model" else hidden[:, 0]


def _normalisation(settings: dict[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """Return what is taken from a pixel in 0 … 1, and what it is divided by, in each colour."""
    mean, std = settings.get("image_mean", (0.5, 0.5, 0.5)), settings.get("image_std", (0.5, 0.5, 0.5))
    if not settings.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    scale = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 255.0
    if math.isclose(scale, 1.0):
        return mean, std
    return [value / scale for value in mean], [value / scale for value in std]


def _framing(settings: dict[str, Any], image_size: int | Sequence[int]) -> media.Framing:
    """Read how a checkpoint wants its pictures from its preprocessor settings, in any of the forms these have had."""
    side = image_size if isinstance(image_size, int) else image_size[0]
    size = settings.get("size", {"height": side, "width": side})
    resample = settings.get("resample", BICUBIC)
    crop = settings.get("crop_size") if settings.get("do_center_crop", "crop_size" in settings) else None
    if isinstance(size, int):
        size = {"shortest_edge": size} if crop else {"height": size, "width": size}
    if "shortest_edge" not in size:
        return media.Framing((size["height"], size["width"]), None, resample)
    edge = size["shortest_edge"]
    if crop is None:
        crop = edge
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    return media.Framing((crop["height"], crop["width"]), edge, resample)
