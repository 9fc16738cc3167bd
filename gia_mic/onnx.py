"""Turns trained fusions into one ONNX file: frames and masks in, probabilities of classes or scores out."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import RunError, first_line
from gia_mic.extract.files import replacing
from gia_mic.fuse.models.attention import CrossAttention
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.runs.record import recorded_speech_group
from gia_mic.fuse.runs.weights import TrainedFusion, load_fusion

__all__ = ["write_onnx"]

OPSET = 18


class _Mean(nn.Module):
    """The mean of the answers of several fusions, with tensors instead of a dictionary."""

    def __init__(self, trained: Sequence[TrainedFusion], modalities: Sequence[str], speech_group: int) -> None:
        super().__init__()
        self.models, self.readouts = nn.ModuleList(one.model for one in trained), [one.readout for one in trained]
        self.modalities, self.speech_group = tuple(modalities), speech_group

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return (B, K) from (B, T, D) and (B, T) of each modality in turn."""
        batch = {name: PaddedFrames(*tensors[2 * n : 2 * n + 2]) for n, name in enumerate(self.modalities)}
        if "speech" in batch and self.speech_group > 1:
            batch["speech"] = _averaged(batch["speech"], self.speech_group)
        answers = []
        for model, readout in zip(self.models, self.readouts, strict=True):
            answers.append(readout.answers(readout.corrected(model(batch).logits, batch)))
        return torch.stack(answers).mean(0)


def _averaged(frames: PaddedFrames, group: int) -> PaddedFrames:
    """Average each `group` neighbouring frames to one, as `packed.average` does."""
    values = torch.where(frames.mask.unsqueeze(-1), frames.values, 0).transpose(1, 2)
    # both are divided by as many frames, however many the last window has
    shares = avg_pool1d(frames.mask.unsqueeze(1).float(), group, ceil_mode=True)
    values = avg_pool1d(values, group, ceil_mode=True) / shares.clamp(min=0.5 / group)
    return PaddedFrames(values.transpose(1, 2), shares.squeeze(1) > 0)


def write_onnx(run_dirs: Sequence[Path], path: Path, *, trust: bool = False) -> None:
    """Write the fusions of finished runs, and the mean over them, as one ONNX file.

    For each modality m there are the inputs `m` (B, T_m, D_m) float32, the encoder's frames, and `m_mask` (B, T_m)
    bool, True at a frame. An utterance without a modality has no True in its mask, T_m ≥ 1. Where the runs average
    neighbouring frames of speech, so does the file, without rounding the means to the type of the features. The output
    is what `predict` answers, (B, K): `probabilities` of classes, of several with the threshold at 0.5, or `scores` in
    their own unit, within their range. B and all T_m are free.

    Args:
        run_dirs: Finished run folders of one configuration.
        path: File to write.
        trust: Run the code of a fusion that isn't one of the package's.

    Raises:
        RunError: The packages of the extra aren't installed, or PyTorch can't export the fusion.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RunError(f"{error.name} isn't installed: run `pip install 'gia-mic[onnx]'`.") from None
    trained = [load_fusion(run_dir, trust=trust) for run_dir in run_dirs]
    config, target = trained[0].config, trained[0].readout.target
    modalities = [name for name in MODALITIES.values() if name in config["modalities"]]
    whole = _Mean(trained, modalities, recorded_speech_group(config)).eval()
    for module in whole.modules():
        if isinstance(module, CrossAttention):
            module.folded = False  # which way is shorter depends on the lengths, and those are free here
    example: list[Tensor] = []
    names: list[str] = []
    free: list[Any] = []
    for number, name in enumerate(modalities):
        T = 7 + 4 * number  # lengths that differ, so that none is taken for another
        example += [torch.randn(2, T, config["features"][name]["dim"]), torch.arange(T).expand(2, T) < T - 1]
        names += [name, f"{name}_mask"]
        frames = torch.export.Dim.DYNAMIC
        free += [{0: torch.export.Dim.DYNAMIC, 1: frames}, {0: torch.export.Dim.DYNAMIC, 1: frames}]
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                whole,
                tuple(example),
                input_names=names,
                output_names=["scores" if target.kind == "scores" else "probabilities"],
                dynamic_shapes=(tuple(free),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # the exporter raises many kinds
            name, why = config["model"]["name"], first_line(error)
            raise RunError(f"PyTorch {torch.__version__} can't export {name} ({why}).") from error
        assert program is not None
        program.save(temporary)
