"""Fits a fusion that others wrote, an ordinary module, to what the trainer expects of one.

Their class takes `(dims, outputs, config)` and its `forward` takes a batch alone. What the trainer needs beside that is
done here: frames are scaled before, a modality that is left out stands there as missing, dropout comes from the run's
own seed, and the answer is checked.
"""

import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gia_mic.extract.device import is_out_of_memory
from gia_mic.extract.errors import RunError, first_line, one_line
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, missing, scaled, scalers

__all__ = ["OwnFusion", "SeededDropout", "random_batch", "seeded", "what_failed"]

DRAWING = threading.Lock()


class OwnFusion(nn.Module):
    """A fusion that others wrote, as the trainer sees it (`layers.Fusion`).

    Their module gets all modalities of `dims`, in the project's order. Its frames are scaled, summed over layers, in
    float32 and 0 at padding. An `nn.Dropout` in it becomes a `SeededDropout`. Its weights begin as its class leaves
    them.

    Args:
        name: What it is called in errors.
        make: Its class.
        dims: Features of each modality's frames, D_m, in the project's order of modalities.
        outputs: C.
        config: Its settings.
        layers: Number of encoder layers by modality, as `layers.scalers` takes them.

    Raises:
        RunError: It can't be made, or fails on a small batch.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Mapping[str, int], int, Any], nn.Module],
        dims: Mapping[str, int],
        outputs: int,
        config: Any,
        layers: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.modalities, self.dims, self.outputs = name, tuple(dims), dict(dims), outputs
        self.scalers = scalers(dims, layers)
        self._masks = _Masks(name)
        try:
            self.fusion = make(scaled(dims, layers), outputs, config)
            probability = _seed_dropouts(self.fusion, self._masks)
            sizes = self._count_dropouts() if probability else []
        except RunError:
            raise
        except Exception as error:
            sizes_in_words = one_line(f"{dim} of {modality}" for modality, dim in dims.items())
            raise RunError(
                f"{name} can't be made for features: {sizes_in_words} ({what_failed(error)}): correct it."
            ) from error
        self.dropouts, self.width, self.dropout = len(sizes), max(sizes, default=0), probability if sizes else 0.0

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch.

        Raises:
            RunError: The module fails, or its answer hasn't a row for each utterance and a column for each output.
        """
        complete = {
            name: PaddedFrames(torch.where(mask.unsqueeze(-1), self.scalers[name](values), 0), mask)
            for name, (values, mask) in missing(self.dims, batch).items()
        }
        self._masks.begin(keep)
        try:
            return self._output(self.fusion(complete), batch, details)
        except Exception as error:
            if isinstance(error, RunError) or is_out_of_memory(error):
                raise
            file = getattr(sys.modules.get(type(self.fusion).__module__), "__file__", None)
            sizes = one_line(f"{name} {tuple(frames.values.shape)}" for name, frames in complete.items())
            raise RunError(f"{self.name} fails on {sizes} ({what_failed(error, file)}): correct it.") from error
        finally:
            self._masks.begin(None)

    def _count_dropouts(self) -> list[int]:
        """Return the features that each dropout of a pass is given."""
        self._masks.sizes = []
        try:
            with torch.no_grad():
                self.train()(random_batch(self.dims, 2, 3))
            return self._masks.sizes
        finally:
            self._masks.sizes = None

    def _output(self, answer: Any, batch: Batch, details: bool) -> Output:
        """Return what the module answered, as the trainer takes it."""
        output = answer if isinstance(answer, Output) else Output(answer)
        shape = (len(next(iter(batch.values())).mask), self.outputs)
        answer = tuple(output.logits.shape) if isinstance(output.logits, Tensor) else type(output.logits).__name__
        if answer != shape:
            raise RunError(
                f"{self.name} answers {answer} to {shape[0]} utterances with {shape[1]} outputs: return a tensor of "
                f"shape {shape}, or an Output with such logits."
            )
        if output.unimodal and len(output.unimodal) != len(self.modalities):
            raise RunError(
                f"{self.name} gives {len(output.unimodal)} unimodal answers for {one_line(self.modalities)}: give one "
                "for each, in this order, or none."
            )
        several = self.training and len(batch) == len(self.modalities) > 1
        constraint = output.constraint + output.logits.new_zeros((), dtype=torch.float32)
        return Output(output.logits, constraint, output.details if details else {}, output.unimodal if several else ())


class SeededDropout(nn.Module):
    """Drops features, the same ones in all frames of an utterance, by masks that the trainer draws (`layers.drop`).

    Each call in a pass has a mask of its own, so that one module may stand in several places.
    """

    def __init__(self, masks: "_Masks") -> None:
        super().__init__()
        self._masks = masks

    def forward(self, values: Tensor) -> Tensor:
        """Return (B, …, D) with some of D dropped in training."""
        return self._masks.drop(values) if self.training else values


class _Masks:
    """Masks of one pass, shared by a model's dropouts.

    Attributes:
        name: What the model is called in errors.
        sizes: While they are counted, D of each call; else None.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sizes: list[int] | None = None
        self._keep: Tensor | None = None
        self._slot = 0

    def begin(self, keep: Tensor | None) -> None:
        """Begin a pass with masks (B, P, d), or without."""
        self._keep, self._slot = keep, 0

    def drop(self, values: Tensor) -> Tensor:
        """Multiply by the next mask.

        Raises:
            RunError: There is none, or it doesn't fit.
        """
        if self.sizes is not None:
            self.sizes.append(values.shape[-1])
        if self._keep is None:
            return values
        B, slots, width = self._keep.shape
        if self._slot == slots or values.shape[-1] > width or values.shape[0] != B:
            raise RunError(
                f"{self.name}: call {self._slot + 1} of an nn.Dropout got {tuple(values.shape)}, and the first pass "
                f"had {slots} calls, of (utterances, …, at most {width} features): let all passes have the same."
            )
        mask = self._keep[:, self._slot, : values.shape[-1]].to(values.dtype)
        self._slot += 1
        return values * mask.view(B, *[1] * (values.dim() - 2), values.shape[-1])


def random_batch(dims: Mapping[str, int], utterances: int, frames: int, seed: int = 0) -> dict[str, PaddedFrames]:
    """Return normally distributed frames, the same ones each time; one utterance has half as many as the others."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(utterances, frames, dtype=torch.bool)
    mask[-1, (frames + 1) // 2 :] = False
    return {
        name: PaddedFrames(torch.randn(utterances, frames, dim, generator=generator), mask)
        for name, dim in dims.items()
    }


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let PyTorch's own generator begin at a seed, and be as it was afterwards; one thread at a time."""
    with DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _seed_dropouts(model: nn.Module, masks: _Masks) -> float:
    """Replace every `nn.Dropout` in a model, and return their common probability; 0 without any.

    Raises:
        RunError: They have different ones.
    """
    dropouts = [entry for entry in _children(model) if isinstance(entry[2], nn.Dropout)]
    probabilities = sorted({child.p for _, _, child in dropouts if isinstance(child, nn.Dropout)} - {0.0})
    if len(probabilities) > 1:
        raise RunError(
            f"{masks.name} drops with probabilities {one_line(probabilities)}: give all nn.Dropout the same."
        )
    for parent, key, child in dropouts:
        setattr(parent, key, SeededDropout(masks) if isinstance(child, nn.Dropout) and child.p else nn.Identity())
    return probabilities[0] if probabilities else 0.0


def _children(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for parent in list(model.modules()):
        for key, child in list(parent.named_children()):
            yield parent, key, child


def what_failed(error: BaseException, file: str | None = None) -> str:
    """Return an error's type and its first line, and the line of a file that it comes from, where that is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError):
        lines = [] if "line" in str(error) else [error.lineno]
    return f"{type(error).__name__}: {first_line(error)}" + (f", line {lines[-1]}" if lines else "")
