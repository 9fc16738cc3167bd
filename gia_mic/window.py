"""Turns sound or pictures that go on into the frames of a sliding window, re-using what two windows share.

Of wav2vec 2.0 and its relatives, on a CPU, the convolutions are re-used: those of a frame see 25 ms and nothing else
but the scale that normalises them, which is the window's own. A frame that was computed keeps the scale of the window
it came in, and that is all by which it differs from one computed anew; once the scale has drifted by more than
`DRIFT` from that of any frame in use, all are computed anew. On steady noise and small random models a window's frames
moved by 1 to 4 % (L2). The transformer sees the whole window each time. Whisper's encoder has no part that sees less
than its 30 s: all of it is computed.

Pictures don't see each other, so each is encoded once. One that is cropped to a face is encoded again if another face
is chosen, or if the smoothed place of the face moves as later pictures come.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gia_mic.extract.encoders.contract import EncodeJob, pool
from gia_mic.extract.encoders.fast import Convolutions
from gia_mic.extract.errors import EncoderError, MediaError
from gia_mic.extract.face import Box, frame_faces
from gia_mic.extract.media.live import Picture

__all__ = ["DRIFT", "OwnWindow", "PictureWindow", "SpeechWindow"]


DRIFT = 0.1
"""Greatest relative change of the window's deviation from that of the oldest frame in use."""


PICTURES_TOGETHER = 16
"""Pictures that are encoded at a time."""

ROUNDING_S = 1e-6
"""Moments closer than this are the same."""


class SpeechWindow:
    """The latest seconds of a stream, as a speech encoder's frames.

    Args:
        encoder: A `SpeechEncoder`, loaded.
        length_s: Length of the window in seconds.
        reuse: Whether to re-use what two windows share.

    Attributes:
        rate: Sampling rate in Hz of what it is fed.
        reused: Frames whose convolutions were taken over, of all windows so far.

    Raises:
        EncoderError: The window is longer than the encoder sees at once, or shorter than a frame.
    """

    def __init__(self, encoder: Any, length_s: float, *, reuse: bool = True) -> None:
        spec = encoder.spec
        self.rate: int = spec.sampling_rate_hz
        self._encoder, self._hop, self._most = encoder, encoder.hop, int(length_s * self.rate) // encoder.hop
        if not 0 < length_s <= spec.window_s or self._most < 1:
            raise EncoderError(
                f"A window of {length_s:g} s doesn't fit {spec.name}: give one above 0 and up to {spec.window_s:g} s."
            )
        self._buffer = np.empty(0, np.float32)
        self._first = self._end = 0  # frames of the stream in the last window
        self._scales: list[tuple[int, float]] = []  # end of the frames that came with a scale, and the scale
        self._front = _cache_convolutions(encoder.model) if reuse else None
        self._features = torch.empty(0)  # of the last window, (1, H, T)
        self.reused = 0

    def push(self, samples: np.ndarray) -> np.ndarray | None:
        """Take the next samples (n,) float32, and return the frames (T, D) of the window that ends with them.

        None before there is enough sound for a frame.
        """
        self._buffer = np.concatenate([self._buffer, samples])
        end = self._first + (len(self._buffer) - self._encoder.receptive_field) // self._hop + 1
        first = max(end - self._most, 0)
        if end <= first:
            return None
        self._buffer = self._buffer[(first - self._first) * self._hop :]
        overlap, self._first, self._end = self._end - first, first, end
        window = self._buffer[: (end - first - 1) * self._hop + self._encoder.receptive_field]
        if self._front is not None:
            scale = float(window.std()) + 1e-6
            self._scales = [entry for entry in self._scales if entry[0] > first]
            if overlap <= 0 or any(abs(old / scale - 1) > DRIFT for _, old in self._scales):
                overlap, self._scales = 0, []
            self._front.cached = self._features[..., self._features.shape[-1] - overlap :] if overlap else None
            self.reused += overlap
            self._scales.append((end, scale))
        pieces = list(self._encoder.pieces(EncodeJob("the stream", "", sound=(window, self.rate))))
        frames = np.concatenate(self._encoder.encode(pieces))
        if self._front is not None:
            self._features = self._front.last
        return pool(frames, self._encoder.spec.pool).astype(self._encoder.spec.dtype)


class OwnWindow:
    """The latest seconds of a stream, as the frames of an encoder that others wrote; each window is computed anew.

    Args:
        encoder: An `OwnEncoder` of speech.
        length_s: Length of the window in seconds.

    Attributes:
        rate: Sampling rate in Hz of what it is fed.
        reused: Frames that were taken over from windows before: none.

    Raises:
        EncoderError: The window has no length, or is longer than the encoder sees at once.
    """

    reused = 0

    def __init__(self, encoder: Any, length_s: float) -> None:
        self.rate = int(encoder.spec.sampling_rate_hz)
        most = encoder.spec.window_s
        self._most = int(length_s * self.rate)
        if self._most < 1 or (most is not None and length_s > most):
            limit = "" if most is None else f" and up to {most:g} s"
            raise EncoderError(f"A window of {length_s:g} s doesn't fit {encoder.spec.name}: give one above 0{limit}.")
        self._encoder = encoder
        self._buffer = np.empty(0, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray | None:
        """Take the next samples (n,) float32, and return the frames (T, D) of the window that ends with them.

        None where the encoder makes none of it, such as before there is enough sound.
        """
        self._buffer = np.concatenate([self._buffer, samples])[-self._most :]
        job = EncodeJob("the stream", "", sound=(self._buffer, self.rate))
        try:
            frames = np.concatenate(self._encoder.encode(list(self._encoder.pieces(job))))
        except MediaError:
            return None
        return pool(frames, self._encoder.spec.pool).astype(self._encoder.spec.dtype)


class PictureWindow:
    """The latest seconds of a film, as a vision encoder's frames.

    Of models that see clips of several pictures, a clip gives a frame once it is full.

    Args:
        encoder: A `VisualEncoder`, loaded.
        length_s: Length of the window in seconds.

    Attributes:
        encoded: How many pictures were encoded so far.
    """

    def __init__(self, encoder: Any, length_s: float) -> None:
        self._encoder, self._length_s = encoder, length_s
        self._tracker = encoder.tracker
        self._detect = self._tracker.detector() if self._tracker else None
        self._new: list[Picture] = []
        self._rows: deque[tuple[float, np.ndarray]] = deque()  # moment of a picture or clip, and its frame (D,)
        self._faces: deque[_FacePicture] = deque()
        self.encoded = 0

    def push(self, picture: Picture) -> None:
        """Take the next picture."""
        self._new.append(picture)
        while self._new[0].time_s <= picture.time_s - self._length_s:
            self._new.pop(0)

    def frames(self, end_s: float) -> tuple[np.ndarray, float] | None:
        """Return the frames (T, D) of the window that ends at a moment, and the moment of the latest picture in it.

        None if there is none, or if none of its pictures shows a face to crop to.
        """
        rows = self._plain_rows(end_s) if self._tracker is None else self._face_rows(end_s)
        if not rows:
            return None
        spec = self._encoder.spec
        return pool(np.stack([row for _, row in rows]), spec.pool).astype(spec.dtype), rows[-1][0]

    def _plain_rows(self, end_s: float) -> Sequence[tuple[float, np.ndarray]]:
        clip = self._encoder.clip
        whole = len(self._new) // clip * clip
        pictures, self._new = self._new[:whole], self._new[whole:]
        framed = [self._encoder.framing.apply(picture.image) for picture in pictures]
        times = [picture.time_s for picture in pictures[clip - 1 :: clip]]
        self._rows += zip(times, self._encode(framed), strict=True)
        while self._rows and self._rows[0][0] < end_s - self._length_s - ROUNDING_S:
            self._rows.popleft()
        return self._rows

    def _face_rows(self, end_s: float) -> Sequence[tuple[float, np.ndarray]]:
        assert self._detect is not None
        self._faces += [_FacePicture(picture, self._detect(picture.image)) for picture in self._new]
        self._new = []
        while self._faces and self._faces[0].picture.time_s < end_s - self._length_s - ROUNDING_S:
            self._faces.popleft()
        if not self._faces:
            return []
        rate_hz = self._encoder.spec.frame_rate_hz
        size = self._faces[-1].picture.image.size
        boxes = frame_faces([face.boxes for face in self._faces], size, self._tracker, rate_hz)
        visible = [(face, box) for face, box in zip(self._faces, boxes, strict=True) if box is not None]
        changed = [(face, box) for face, box in visible if face.box != box]
        framed = [self._encoder.framing.apply(face.picture.image, box) for face, box in changed]
        for (face, box), row in zip(changed, self._encode(framed), strict=True):
            face.box, face.row = box, row
        return [(face.picture.time_s, face.row) for face, _ in visible]

    def _encode(self, framed: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the frames (D,) of framed pictures, or of the clips that these are in turn."""
        self.encoded += len(framed)
        together = PICTURES_TOGETHER if self._encoder.clip == 1 else self._encoder.clip
        pieces = [self._encoder.piece(framed[begin : begin + together]) for begin in range(0, len(framed), together)]
        return [row for piece in pieces for part in self._encoder.encode([piece]) for row in part]


class _FacePicture:
    """A picture with the boxes of its faces, and the frame (D,) of the box that was last chosen."""

    def __init__(self, picture: Picture, boxes: list[Box]) -> None:
        self.picture, self.boxes = picture, boxes
        self.box: Box | None = None
        self.row = np.empty(0, np.float32)


class _CachedConvolutions(nn.Module):
    """Convolutions that need not compute the first frames of an input whose features are at hand.

    Attributes:
        cached: Features (1, H, n) of the next input's first n frames; back at None after each call.
        last: Features (1, H, T) of the last input.
    """

    def __init__(self, whole: Convolutions) -> None:
        super().__init__()
        self.whole = whole
        self.cached: torch.Tensor | None = None
        self.last = torch.empty(0)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the features (1, H, T) of samples (1, n)."""
        cached, self.cached = self.cached, None
        if cached is None:
            self.last = self.whole(samples)
        else:
            self.last = torch.cat([cached, self.whole(samples, cached.shape[-1])], -1)
        return self.last


def _cache_convolutions(model: Any) -> _CachedConvolutions | None:
    """Put `_CachedConvolutions` in the place of a model's convolutions, and return it; None where there are none."""
    front: Any = getattr(model, "feature_extractor", None)
    if isinstance(front, Convolutions):
        front = model.feature_extractor = _CachedConvolutions(front)
    return front if isinstance(front, _CachedConvolutions) else None
