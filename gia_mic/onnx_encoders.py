"""Turns a trained run's encoders into ONNX files, and what feeds them into settings for `gia_mic.runtime`."""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gia_mic.extract.encoders.pretrained import Pretrained
from gia_mic.extract.errors import EncoderError, MerError, RunError, first_line
from gia_mic.extract.files import make_folder, size_text, write_json, write_text
from gia_mic.onnx import check_packages, save_graph, write_onnx
from gia_mic.predictor import Predictor
from gia_mic.rebuild import rebuild
from gia_mic.runtime import settings as runtime_settings
from gia_mic.runtime.speech import SAMPLES

__all__ = ["quantise", "write_runtime"]

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Most that frames of a graph in float32 may differ from PyTorch's, relative to their deviation."""

BY_BLOCK = ("text",)
"""Modalities whose models have a few features that are far larger than all others: one scale for a whole tensor would
round the others away. Scales by block take longer."""

BLOCK = 128
"""Features that share a scale there."""

FRAMES = (41, 23)
"""Lengths that a graph is traced and then checked with; of pictures, tokens and frames of speech."""


class _Graph(nn.Module):
    """An encoder's network, from one tensor to the frames of the layers that are wanted."""

    def __init__(self, encoder: Pretrained) -> None:
        super().__init__()
        self.model = encoder.model
        self._compute = encoder.compute

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return frames, as `Pretrained.compute` does."""
        [values] = tensors
        return self._compute(values)


def write_runtime(
    run_dirs: Sequence[Path],
    folder: Path,
    *,
    encoders: Mapping[str, str | Path] | None = None,
    int8: bool = False,
    trust: bool = False,
) -> None:
    """Write all that `gia_mic.runtime` predicts with: fusion, encoders and settings.

    The fusion is written first, and stays where an encoder can't be exported. Encoders compute in float32, whatever
    the run's features were computed in.

    Args:
        run_dirs: Finished run folders of one configuration.
        folder: Folder to write into.
        encoders: Folders of encoders by modality, for weights that have moved.
        int8: Have the encoders multiply in 8 bits, as `quantise` does.
        trust: Run the code of a fusion that isn't one of the package's.

    Raises:
        RunError: A package of the extra isn't installed, the fusion can't be exported, or one of the encoders can't.
    """
    logger.info(f"Writing {runtime_settings.FUSION}: models: {len(run_dirs)}. Each may take ten seconds.")
    write_onnx(run_dirs, folder / runtime_settings.FUSION, trust=trust)
    try:
        predictor = Predictor(run_dirs, encoders=encoders, device="cpu", trust=trust)
        entries = {}
        for modality in predictor.modalities:
            logger.info(f"Writing {runtime_settings.graph_of(modality)}, and comparing it with PyTorch.")
            entries[modality] = _write_encoder(predictor, modality, folder)
    except MerError as error:
        for name in set(runtime_settings.FILES) - {runtime_settings.FUSION}:
            (folder / name).unlink(missing_ok=True)
        raise RunError(
            f"{str(error).rstrip('.')}; {folder / runtime_settings.FUSION}, the fusion alone, is all there is."
        ) from error
    target = predictor.target
    write_json(
        folder / runtime_settings.FILE,
        {
            "format": runtime_settings.FORMAT,
            "name": Path(run_dirs[0]).parents[1].name,
            "models": len(predictor.trained),
            "target": {"kind": target.kind, "names": list(target.names), "ranges": [list(r) for r in target.ranges]},
            "encoders": entries,
        },
    )
    if int8:
        quantise(folder)
    for modality in predictor.modalities:
        graph = runtime_settings.graph_of(modality)
        size = sum((folder / f"{graph}{end}").stat().st_size for end in ("", ".data"))
        logger.info(f"{modality}: {entries[modality]['model']} as {graph} with its weights, {size_text(size)}.")


def quantise(folder: Path) -> None:
    """Have the encoders of an export in float32 multiply in 8 bits, in place.

    Weights are rounded once, by channel, and what they are multiplied with as it comes, by tensor; both by block where
    `BY_BLOCK` says so. Convolutions, tables, attention's own products and the fusion stay in float32.

    Raises:
        RunError: A package of the extra isn't installed.
    """
    check_packages()
    entries = json.loads((folder / runtime_settings.FILE).read_text(encoding="utf-8"))
    for modality, encoder in entries["encoders"].items():
        graph = runtime_settings.graph_of(modality)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
            _quantise(folder / graph, Path(scratch) / graph, by_block=modality in BY_BLOCK)
            _move(Path(scratch) / graph, folder)
        encoder["precision"] = "int8"
    write_json(folder / runtime_settings.FILE, entries)


def _write_encoder(predictor: Predictor, modality: str, folder: Path) -> dict[str, Any]:
    """Write one encoder, and return its entries of the settings.

    Raises:
        EncoderError: It can't be found, is none of the package's, or can't be exported.
    """
    spec = {**predictor.encoders.specs[modality], "precision": "float32"}
    if spec.get("code") is not None:
        raise EncoderError(f"The {modality} encoder {spec['model']} is code of its author, which can't be exported.")
    encoder = rebuild(spec, predictor.encoders.folders.get(modality))
    assert isinstance(encoder, Pretrained)
    recipe = encoder.recipe()
    if modality == "text":
        write_text(folder / runtime_settings.TOKENIZER, encoder.tokenizer_json())  # type: ignore[attr-defined]
    encoder.swaps_modules = False
    encoder.to("cpu")
    traced, checked = (_example(modality, recipe, frames) for frames in FRAMES)
    graph = runtime_settings.graph_of(modality)
    make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        path = Path(scratch) / graph
        try:
            free = [(0,)] if modality == "visual" else [(1,)] if traced.shape != checked.shape else [()]
            module = _Graph(encoder).eval()
            save_graph(module, [traced], path, inputs=["values"], output="frames", free=free, weights_beside=True)
        except Exception as error:  # the exporter raises many kinds
            raise EncoderError(
                f"PyTorch {torch.__version__} can't export the {modality} encoder {encoder.spec.name} "
                f"({first_line(error.__cause__ or error)})."
            ) from error
        _check(encoder, path, checked)
        _move(path, folder)
    header = encoder.header
    return {
        "model": encoder.spec.name,
        "fingerprint": predictor.config["features"][modality]["fingerprint"],
        "precision": "float32",
        "dim": header.dim,
        "dtype": header.dtype,
        "pool": encoder.spec.pool,
        **recipe,
    }


def _example(modality: str, recipe: Mapping[str, Any], frames: int) -> Tensor:
    """Return an input of so many frames; one of Whisper always has as many."""
    noise = torch.Generator().manual_seed(0)
    if modality == "visual":
        return torch.randint(0, 256, (frames, *recipe["size"], 3), dtype=torch.uint8, generator=noise)
    if modality == "text":
        return torch.arange(4, 4 + frames)[None]  # the first ids are padding and marks
    if recipe["input"] == SAMPLES:
        return torch.randn(1, (frames - 1) * recipe["hop"] + recipe["receptive_field"], generator=noise)
    return torch.randn(1, recipe["mels"], 2 * recipe["window"], generator=noise)


def _check(encoder: Pretrained, path: Path, values: Tensor) -> None:
    """Compare a graph with the network on an input that it was not traced with.

    Raises:
        EncoderError: It gives other frames.
    """
    import onnxruntime

    with torch.inference_mode():
        expected = encoder.compute(values).numpy()
    [frames] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
        None, {"values": values.numpy()}
    )
    difference = np.abs(frames - expected).max() if frames.shape == expected.shape else np.inf
    if not difference <= TOLERANCE * expected.std():
        raise EncoderError(
            f"ONNX Runtime {onnxruntime.__version__} gives other frames than PyTorch for {encoder.spec.name} (they "
            f"differ by {difference:.2g}), so it can't be exported."
        )


def _move(path: Path, folder: Path) -> None:
    """Move a graph to a folder of the same disk, its weights first, which are read by whoever may read the graph."""
    weights = path.with_name(f"{path.name}.data")
    shutil.copymode(path, weights)
    for file in (weights, path):
        file.replace(folder / file.name)


def _quantise(path: Path, target: Path, *, by_block: bool) -> None:
    """Write a graph again, with the products of weights in 8 bits.

    Args:
        path: The graph.
        target: File to write.
        by_block: Give each `BLOCK` features a scale of their own, of weights and of what they are multiplied with.
    """
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    logging.disable(logging.WARNING)  # each product is told of, and a step advised that these graphs don't need
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        if by_block:
            import onnx

            whole = onnx.load(path)
            quantizer = MatMulNBitsQuantizer(whole, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=4)
            quantizer.process()
            quantizer.model.save_model_to_file(str(target), use_external_data_format=True)
        else:
            quantize_dynamic(
                path,
                target,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=True,
            )
    finally:
        logging.disable(logging.NOTSET)
        root.handlers[:] = handlers  # the library's own module sets up logging for all
        root.setLevel(level)
