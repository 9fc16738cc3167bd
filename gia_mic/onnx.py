"""Turns trained fusions into one ONNX file: frames and masks in, probabilities of classes or scores out."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

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

__all__ = ["check_packages", "save_graph", "write_onnx"]

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


def check_packages() -> None:
    """Refuse to begin without the packages of the extra `onnx`.

    Raises:
        RunError: One of them isn't installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RunError(f"{error.name} isn't installed: run `pip install 'gia-mic[onnx]'`.") from None


def save_graph(
    module: nn.Module,
    example: Sequence[Tensor],
    path: Path,
    *,
    inputs: Sequence[str],
    output: str,
    free: Sequence[Sequence[int]],
    weights_beside: bool = False,
) -> None:
    """Export a module's `forward` as a graph that tells nothing of this machine.

    Args:
        module: In evaluation mode; takes any number of tensors, `*tensors`, and returns one.
        example: Inputs to trace it with.
        path: File to write.
        inputs: Names of the inputs.
        output: Name of the output.
        free: Axes of each input whose length is free.
        weights_beside: Write the weights into `<path>.data`, from where they are mapped and not copied. A graph of
            more than 2 GB can't have them inside.

    Raises:
        Exception: Any, by PyTorch's exporter.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    lengths = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) or None for axes in free)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of operators of packages that aren't installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                tuple(example),
                input_names=inputs,
                output_names=[output],
                dynamic_shapes=(lengths,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # lines of code, with the folders that they were in
    program.save(path, external_data=weights_beside)


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
    check_packages()
    trained = [load_fusion(run_dir, trust=trust) for run_dir in run_dirs]
    config, target = trained[0].config, trained[0].readout.target
    modalities = [name for name in MODALITIES.values() if name in config["modalities"]]
    whole = _Mean(trained, modalities, recorded_speech_group(config)).eval()
    for module in whole.modules():
        if isinstance(module, CrossAttention):
            module.folded = False  # which way is shorter depends on the lengths, and those are free here
    example: list[Tensor] = []
    names: list[str] = []
    for number, name in enumerate(modalities):
        T = 7 + 4 * number  # lengths that differ, so that none is taken for another
        example += [torch.randn(2, T, config["features"][name]["dim"]), torch.arange(T).expand(2, T) < T - 1]
        names += [name, f"{name}_mask"]
    output = "scores" if target.kind == "scores" else "probabilities"
    with replacing(path) as temporary:
        try:
            save_graph(whole, example, temporary, inputs=names, output=output, free=[(0, 1)] * len(names))
        except Exception as error:  # the exporter raises many kinds
            name, why = config["model"]["name"], first_line(error.__cause__ or error)
            raise RunError(f"PyTorch {torch.__version__} can't export {name} ({why}).") from error
