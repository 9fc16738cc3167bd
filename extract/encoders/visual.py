"""Turns video into one frame per picture with CLIP's vision tower, ViT, DINOv2 and others, or one per clip of them."""

import inspect
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from gia_mic.extract import media
from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.crop import stream_cropped
from gia_mic.extract.device import host_buffer
from gia_mic.extract.encoders import tiny
from gia_mic.extract.encoders.architecture import PICTURE_INPUTS, check_inputs, find_network, outline
from gia_mic.extract.encoders.contract import EncodeJob, EncoderSpec, Window, check_layers
from gia_mic.extract.encoders.pretrained import Pretrained, frozen
from gia_mic.extract.encoders.proof import check_repeatable
from gia_mic.extract.encoders.weights import load_settings
from gia_mic.extract.errors import EncoderError, MediaError, first_line
from gia_mic.extract.face import FaceTrackerConfig
from gia_mic.extract.store import Header

__all__ = ["VisualEncoder"]

CLIP_FRAME_RATE_HZ = 8.0
"""Of models that see clips: VideoMAE was trained on every fourth of 25 to 30 pictures a second."""

PICTURES_PER_PIECE = 16
BICUBIC = 3
PATCH = 16
"""Side of a patch in pixels that stands for models without patches, to tell how much they have to compute."""

WANTED = "CLIP, ViT, DINOv2 or one like them"

_CLASS_TOKEN = re.compile(r"(cls|class)_(token|embedding)s?$")


class VisualEncoder(Pretrained):
    """A vision model or the vision tower of one for pictures and texts, frozen.

    A clip of s seconds gives about T = s · frame_rate_hz frames, one for each picture. What stands for a picture is
    told by what the model has: its pooled output where that was trained with it, for CLIP the class token after its
    last layer norm as in its image embedding (Radford et al., ICML 2021, arXiv:2103.00020); else its class token; else
    the mean over its patches. Models that see clips, such as VideoMAE of 16 pictures (Tong et al., NeurIPS 2022,
    arXiv:2203.12602), give a frame for each clip; the last one is filled up with its last picture.

    Args:
        model: Hub id, local folder, or "tiny".
        revision: Hub revision; the main one by default.
        frame_rate_hz: As in `EncoderConfig`, like the options: layers, pool, precision and dtype. By default
            8 for models that see clips.
        crop: As in `EncoderConfig`; pictures without the face give no frame.

    Raises:
        EncoderError: The model can't be found, or doesn't turn pictures into frames.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        frame_rate_hz: float | None = None,
        crop: str = EncoderConfig.crop,
        **options: Any,
    ) -> None:
        self._crop = crop
        self._finder = FaceTrackerConfig()
        super().__init__(model, revision, tiny.visual)
        if self._weights is None:
            size = {"height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}
            settings = {"size": size, "image_mean": tiny.IMAGE_MEAN, "image_std": tiny.IMAGE_STD}
        else:
            settings = load_settings(self._weights, "image_processor")
        self._config = getattr(self._config, "vision_config", None) or self._config
        try:
            self._framing = _framing(settings, getattr(self._config, "image_size", 224))
            self._mean, self._std = _normalisation(settings)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise EncoderError(
                f"{self._named['model']} doesn't say in a way known here how its pictures are scaled and cut "
                f"({first_line(error)}): check its preprocessor_config.json, or choose {WANTED}."
            ) from error
        self._look(options.get("layers", (-1,)))
        if frame_rate_hz is None:
            frame_rate_hz = EncoderConfig.frame_rate_hz if self._clip is None else CLIP_FRAME_RATE_HZ
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
                **self._reading(),
            },
            **options,
        )

    @property
    def header(self) -> Header:
        """What all frames have in common."""
        rate = None if self._crop == "face" else self._rate / (self._clip or 1)
        return self.spec.header(self._hidden_size, rate, self._weights)

    def size(self, job: EncodeJob) -> int:
        """Return about how many patches the model has to compute for an utterance."""
        pictures = max(round(job.duration_s * self._rate), 1)
        return math.ceil(pictures / (self._clip or 1)) * (self._clip or 1) * self._patches

    def pieces(self, job: EncodeJob) -> Iterator[Window]:
        """Decode a clip into pictures, some at a time.

        Raises:
            MediaError: It can't be decoded, or no picture shows a face to crop to.
        """
        assert job.path is not None
        pictures: list[np.ndarray] = []
        count = without = 0
        for picture in stream_cropped(job.path, job.clip, self._rate, self._framing, self._crop, self._finder):
            count += 1
            if picture is None:
                without += 1
                continue
            if len(pictures) == (self._clip or PICTURES_PER_PIECE):
                yield self.piece(pictures)
                pictures = []
            pictures.append(picture)
        if not pictures:
            raise MediaError(f"no face in any of {count} pictures")
        yield self.piece(pictures, f"no face in {without} of {count} pictures" if without else "")

    def pictures(self, job: EncodeJob) -> np.ndarray:
        """Return the pictures (n, height, width, 3) uint8 that it sees of an utterance.

        Raises:
            MediaError: As `pieces`.
        """
        return np.concatenate([piece.values for piece in self.pieces(job)])

    def to(self, device: str) -> "VisualEncoder":
        """Load the weights onto a device.

        Raises:
            EncoderError: They can't be loaded, or give other frames each time.
        """
        if self._load(device, self.spec.precision, self._network):
            self._normalisation = [torch.tensor(values, device=device) for values in (self._mean, self._std)]
            self._exact_together = self._tried(self._try)
        return self

    def _try(self) -> bool:
        """Encode a picture, to see whether it becomes the same frame again, and return that batches leave it so.

        Raises:
            EncoderError: It becomes another.
        """
        ramp = np.linspace(0, 255, math.prod(self._framing.size) * 3, dtype=np.uint8)
        piece = self.piece([ramp.reshape(*self._framing.size, 3)])
        check_repeatable(self._together, piece, self.spec.precision, self.spec.name)
        return True  # pictures, or clips of them, don't see each other

    def _rows(self, pieces: Sequence[Window]) -> torch.Tensor:
        parameter = next(self.model.parameters())
        values = [piece.values for piece in pieces]
        buffer = host_buffer((sum(map(len, values)), *values[0].shape[1:]), values[0].dtype, parameter.device)
        np.concatenate(values, out=buffer.numpy())
        return self.compute(buffer.to(parameter.device, non_blocking=True))

    def compute(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return frames (B, D) of pictures (B, height, width, 3) uint8, or of clips that these are in turn."""
        mean, std = self._normalisation
        pixels = ((values.float() / 255 - mean) / std).permute(0, 3, 1, 2)
        outputs = self._run(self.model, pixels.to(next(self.model.parameters()).dtype), self.spec.layers)
        return self._vectors(outputs, self.spec.layers)

    def recipe(self) -> dict[str, Any]:
        """Return how a film becomes pictures, as `gia_mic.runtime.pictures` reads it.

        Raises:
            EncoderError: The model sees clips, or faces that have to be looked for.
        """
        if self._clip is not None:
            raise EncoderError(f"{self.spec.name} sees clips of {self._clip} pictures, which the runtime doesn't make.")
        if self._crop == "face":
            raise EncoderError(f"{self.spec.name} sees faces, and the runtime can't look for them.")
        return {
            "size": list(self._framing.size),
            "shortest_edge": self._framing.shortest_edge,
            "resample": self._framing.resample,
            "frame_rate_hz": self._rate,
        }

    @property
    def _rate(self) -> float:
        assert self.spec.frame_rate_hz is not None
        return self.spec.frame_rate_hz

    @property
    def _patch(self) -> int:
        size = getattr(self._config, "patch_size", None) or PATCH
        return size if isinstance(size, int) else size[-1]

    @property
    def _patches(self) -> int:
        height, width = self._framing.size
        return (height // self._patch) * (width // self._patch) + 1

    @property
    def framing(self) -> media.Framing:
        """How pictures are cut and scaled."""
        return self._framing

    @property
    def tracker(self) -> FaceTrackerConfig | None:
        """How the face is found that pictures are cropped to; None where they aren't."""
        return self._finder if self._crop == "face" else None

    @property
    def clip(self) -> int:
        """How many pictures become one frame."""
        return self._clip or 1

    def piece(self, pictures: Sequence[np.ndarray], note: str = "") -> Window:
        """Return framed pictures (height, width, 3) uint8 as a window; of a clip, up to `clip` of them."""
        if self._clip is None:
            return Window(np.stack(pictures), slice(0, len(pictures)), len(pictures) * self._patches, note)
        filled = [*pictures, *[pictures[-1]] * (self._clip - len(pictures))]
        return Window(np.stack(filled), slice(0, 1), self._clip * self._patches, note)

    def _look(self, layers: tuple[int, ...] | str) -> None:
        """Find out what the model takes and what stands for a picture in what it gives.

        Raises:
            EncoderError: It doesn't turn pictures alone into frames, or not in these layers.
        """
        name = f"{self._named['model']} (a {self._config.model_type} model)"
        self._network = find_network(self._config)
        self._input = check_inputs(self._network, PICTURE_INPUTS, name, WANTED)
        self._clip: int | None = getattr(self._config, "num_frames", getattr(self._config, "frames_per_clip", None))
        self._masks, self._class_token, self._tokens, self._pooled, self._hidden_size = self._noted(
            ["vectors", layers, list(self._framing.size)], lambda: self._outlined(layers, name)
        )

    def _outlined(self, layers: tuple[int, ...] | str, name: str) -> tuple[bool, bool, int, bool, int]:
        """Return whether the model masks, whether it has a class token, of how many tokens, a pooled output, and D.

        Raises:
            EncoderError: It doesn't turn pictures alone into frames, or not in these layers.
        """
        model = outline(self._network, self._config, name, WANTED)
        takes_noise = "noise" in inspect.signature(self._network.forward).parameters
        self._masks = takes_noise and bool(getattr(model.config, "mask_ratio", None))
        frozen(model.config)
        height, width = self._framing.size
        try:
            with torch.inference_mode(), torch.device("meta"):
                outputs = self._run(model, torch.zeros(2 * (self._clip or 1), 3, height, width), ())
        except Exception as error:  # whatever a model does that wants something else
            raise EncoderError(
                f"{name} makes no frames of pictures of {height} × {width} alone ({first_line(error)}): choose "
                f"{WANTED}."
            ) from error
        last = getattr(outputs, "last_hidden_state", None)
        if not isinstance(last, torch.Tensor) or last.ndim not in (3, 4) or len(last) != 2:
            raise EncoderError(f"{name} gives no hidden states for each picture: choose {WANTED}.")
        parameters = [parameter for parameter, _ in model.named_parameters()]
        self._class_token = last.ndim == 3 and any(map(_CLASS_TOKEN.search, parameters))
        self._tokens = last.shape[1]
        # the weights of a "pooler" are of some task, and often not in the file
        pooled = isinstance(getattr(outputs, "pooler_output", None), torch.Tensor)
        self._pooled = pooled and not any("pooler" in parameter for parameter in parameters)
        states: Any = getattr(outputs, "hidden_states", None) or ()
        check_layers(layers, len(states) - 1, self._named["model"])
        if layers != (-1,):
            layer_states = states[1:] if layers == "mean" else [states[layer] for layer in layers]
            if any(state.ndim != 3 or state.shape[-1] != last.shape[-1] for state in layer_states):
                raise EncoderError(f"The hidden layers of {name} differ in shape: choose --layers -1.")
        size = int(self._vectors(outputs, (-1,)).shape[-1])
        return self._masks, self._class_token, self._tokens, self._pooled, size

    def _reading(self) -> dict[str, Any]:
        """Return what of `_look` belongs to the spec: whatever isn't as it was before it was looked for."""
        reading: dict[str, Any] = {}
        if not self._class_token and self._config.model_type != "siglip_vision_model":
            reading["vector"] = "pooled" if self._pooled else "mean"
        if self._masks:
            reading["mask_ratio"] = 0.0
        if self._clip is not None:
            reading["clip"] = self._clip
        return reading

    def _run(self, model: Any, pixels: torch.Tensor, layers: tuple[int, ...] | str) -> Any:
        """Return what a network makes of pictures (B, 3, H, W), or of clips that these are in turn."""
        inputs: dict[str, Any] = {self._input: pixels if self._clip is None else pixels.unflatten(0, (-1, self._clip))}
        if self._masks:  # nothing is masked, but patches are shuffled by it
            patches = (self._framing.size[0] // self._patch) * (self._framing.size[1] // self._patch)
            inputs["noise"] = torch.arange(patches, device=pixels.device).expand(len(pixels), -1)
        return model(**inputs, output_hidden_states=layers != (-1,))

    def _vectors(self, outputs: Any, layers: tuple[int, ...] | str) -> torch.Tensor:
        """Return one vector per picture or clip, (B, L · H), from what the network gave."""
        if layers == (-1,):
            return outputs.pooler_output.flatten(1) if self._pooled else self._token(outputs.last_hidden_state)
        if layers == "mean":
            return torch.stack([self._token(hidden) for hidden in outputs.hidden_states[1:]]).mean(dim=0)
        return torch.cat([self._token(outputs.hidden_states[layer]) for layer in layers], dim=-1)

    def _token(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the class token of (B, tokens, H), or the mean of (B, patches, H) or (B, H, height, width)."""
        if hidden.ndim == 4:
            return hidden.flatten(2).mean(dim=-1)
        return hidden[:, 0] if self._class_token and hidden.shape[1] == self._tokens else hidden.mean(dim=1)


def _normalisation(settings: dict[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """Return what is taken from a pixel in 0 … 1, and what it is divided by, in each colour.

    Raises:
        ValueError: The settings have no such numbers.
    """
    mean, std = settings.get("image_mean", (0.5, 0.5, 0.5)), settings.get("image_std", (0.5, 0.5, 0.5))
    for name, values in (("image_mean", mean), ("image_std", std)):
        if len(values) not in (1, 3) or not all(isinstance(value, int | float) for value in values):
            raise ValueError(f"{name} is {values!r}")
    if 0 in std:
        raise ValueError(f"image_std is {std!r}")
    if not settings.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    scale = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 255.0
    if math.isclose(scale, 1.0):
        return mean, std
    return [value / scale for value in mean], [value / scale for value in std]


def _framing(settings: dict[str, Any], image_size: int | Sequence[int]) -> media.Framing:
    """Read how a checkpoint wants its pictures from its preprocessor settings, in any of the forms these have had.

    Raises:
        ValueError: They are in another form, such as only a longest edge.
    """
    side = image_size if isinstance(image_size, int) else image_size[0]
    size = settings.get("size", {"height": side, "width": side})
    resample = settings.get("resample", BICUBIC)
    crop = settings.get("crop_size") if settings.get("do_center_crop", "crop_size" in settings) else None
    if isinstance(size, int):
        size = {"shortest_edge": size} if crop else {"height": size, "width": size}
    edge = size.get("shortest_edge")
    if edge is None:
        crop = size
    elif crop is None:
        crop = edge
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    sides: tuple[Any, Any] = crop.get("height"), crop.get("width")
    if not all(isinstance(side, int) and side > 0 for side in (*sides, sides[0] if edge is None else edge)):
        raise ValueError(f"size is {size!r}, crop_size {settings.get('crop_size')!r}")
    return media.Framing(sides, edge, int(Image.Resampling(resample)))
