"""Tiny random models of every type that transformers knows, and what becomes of each as an encoder.

python tests/made_families.py          # writes the lists of docs/encoders.md anew
"""

import json
import re
import sys
import tempfile
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from made_models import save_tokenizer
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from gia_mic.extract.encoders.architecture import PICTURE_INPUTS, SPEECH_INPUTS, TEXT_INPUTS, find_network
from gia_mic.extract.encoders.contract import EncodeJob, Window
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.encoders.pretrained import frozen
from gia_mic.extract.encoders.proof import difference
from gia_mic.extract.errors import EncoderError

DOCS = Path(__file__).parents[1] / "docs" / "encoders.md"
INPUTS = {"speech": SPEECH_INPUTS, "text": TEXT_INPUTS, "visual": PICTURE_INPUTS}
SIDE = 32
TOKENS = 300

FIXED = r"num_feat_extract_layers|feature_projection_input_dim|num_adapter_layers"
"""Fields that only others tell."""

SIZES = [  # the first that matches a field's name is the most that it is given
    (r".*(key_value_heads|kv_heads|kv_groups)", 2),
    (r".*(attention_heads|num_heads|n_heads?|nhead)", 4),
    (r".*(hidden_layers|layers|n_layers?|num_blocks)", 2),
    (r".*(head_dim|d_kv|head_size|kv_channels)", 8),
    (r".*(ffn_dim|d_ff|n_inner|d_inner|inner_dim|intermediate_size|ffn_hidden_size)", 48),
    (r".*(hidden_size|d_model|dim|n_embd|embedding_size|width|output_hidden_size)", 32),
    (r"(.*_)?vocab_size", TOKENS),
    (r".*(num_experts|routed_experts|local_experts)", 4),
    (r".*(experts_per_tok|moe_topk|num_selected_experts)", 2),
    (r"max_position_embeddings|n_positions|max_seq_len|n_ctx", 66),
    (r".*(image_size|img_size)", SIDE),
    (r"(.*_)?patch_size", 8),
    (r"num_frames|frames_per_clip|num_conv_pos_embedding_groups", 4),
    (r"num_conv_pos_embeddings", 16),
    (r"window_size", 1),
]
LISTS = [
    (r"depths|.*layers|.*num_blocks", lambda values: [1 for _ in values]),
    (r".*heads", lambda values: [1, *(2 for _ in values[1:])]),
    (r"conv_dim", lambda values: [16 for _ in values]),
    (r".*(hidden_sizes|embed_dims?|channels)", lambda values: [8 * (n + 1) for n in range(len(values))]),
    (r".*(image_size|img_size)", lambda values: [SIDE for _ in values]),
]


class NotTriedError(Exception):
    """There is no tiny model of this type: it can't be made, or wants a library that isn't here."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a type of model.

    Attributes:
        modality: What its main input is, speech, text or visual.
        verdict: works, refused or not tried.
        reason: Why not, without a library's own words.
    """

    modality: str
    verdict: str
    reason: str = ""


def tiny_config(config: Any) -> Any:
    """Return a configuration of the same class with whatever has a size made small."""
    small: dict[str, Any] = {}
    for name, value in vars(config).items():
        if re.match(f"_|({FIXED})$", name) or isinstance(value, bool | str | float) or value is None:
            continue
        if isinstance(value, transformers.PreTrainedConfig):
            small[name] = tiny_config(value)
        elif isinstance(value, int) and re.fullmatch(r".*token_(id|index)", name):
            if value >= TOKENS:
                small[name] = 5
        elif isinstance(value, int) and value > 0:
            sizes = [size for pattern, size in SIZES if re.fullmatch(pattern, name)]
            if sizes:
                small[name] = min(value, sizes[0])
        elif isinstance(value, list | tuple) and value and all(type(item) is int for item in value):
            changes = [change for pattern, change in LISTS if re.fullmatch(pattern, name)]
            if changes:
                small[name] = type(value)(changes[0](value))
    layers = small.get("num_hidden_layers") or small.get("n_layer")
    for name, value in vars(config).items():
        if layers and name == "layer_types" and value:
            small[name] = [*value[: layers - 1], value[-1]]
    return type(config)(**small)


def modality_of(model_type: str) -> str | None:
    """Return speech, text or visual by what the type's network takes; None for others and for whole chats of them."""
    try:
        main_input = find_network(transformers.CONFIG_MAPPING[model_type]()).main_input_name
    except Exception:
        return None
    return next((modality for modality, inputs in INPUTS.items() if main_input in inputs), None)


def model_types() -> list[str]:
    """Return all types that look like an encoder of speech, text or pictures."""
    return [name for name in sorted(MODEL_MAPPING_NAMES) if modality_of(name)]


def judge(model_type: str, folder: Path) -> Verdict:
    """Make a tiny model, encode with it, and compare with what transformers gives of each input alone."""
    modality = modality_of(model_type)
    assert modality is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _judged(model_type, modality, folder)
    except NotTriedError as error:
        return Verdict(modality, "not tried", str(error))


def _judged(model_type: str, modality: str, folder: Path) -> Verdict:
    model = _saved(model_type, modality, folder)
    try:
        encoder = make_encoder(modality, str(folder)).to("cpu")
    except EncoderError as error:
        if not re.fullmatch(r"[^\n]+\.", str(error)):
            raise ValueError(f"{error!r} is no sentence") from error
        return Verdict(modality, "refused", _short(str(error)))
    pieces = [next(encoder.pieces(job)) for job in _jobs(modality)] if modality != "visual" else _pictures(encoder)
    together = encoder.encode(pieces)
    try:
        expected = [_expected(model, encoder, piece) for piece in pieces]
    except Exception as error:
        raise NotTriedError("doesn't run without a mask") from error
    assert min(difference(together, frames) for frames in zip(*expected, strict=True)) < 1e-3, (
        "other frames than its own"
    )
    assert together[0].shape[1] == encoder.header.dim
    return Verdict(modality, "works")


def _saved(model_type: str, modality: str, folder: Path) -> Any:
    try:
        config = tiny_config(transformers.CONFIG_MAPPING[model_type]())
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = find_network(config)(config).eval()
    except Exception as error:
        library = re.search(r"requires the (\w+) library", str(error))
        raise NotTriedError(f"wants {library[1]}" if library else "has no tiny configuration") from error
    if sum(parameter.numel() for parameter in model.parameters()) > 30_000_000:
        raise NotTriedError("has no tiny configuration")
    model.save_pretrained(folder)
    if modality == "text":
        save_tokenizer(folder)
    kinds = {"wav2vec2-bert": "SeamlessM4TFeatureExtractor"}
    settings = {
        "do_normalize": True,
        "sampling_rate": 16000,
        "feature_extractor_type": kinds.get(model_type, "another"),
    }
    if modality == "visual":
        settings = {"size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model


def _jobs(modality: str) -> list[EncodeJob]:
    if modality == "text":
        return [
            EncodeJob("", "", text=text)
            for text in ("No.", "I can't believe you did that!", "Why would anyone say so?")
        ]
    noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    return [EncodeJob("", "", sound=(noise[:length], 16000)) for length in (1000, 8000, 3000)]


def _pictures(encoder: Any) -> list[Window]:
    pictures = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    return [encoder.piece(list(pictures[:4])), encoder.piece(list(pictures[4:8]))]


@torch.inference_mode()
def _expected(model: Any, encoder: Any, piece: Window) -> list[np.ndarray]:
    """Return what transformers gives of a piece alone; of pictures all that may stand for one."""
    frozen(model.config)
    if encoder.spec.modality == "text":
        network = model.get_encoder() if model.config.is_encoder_decoder else model
        return [network(input_ids=torch.from_numpy(piece.values)[None]).last_hidden_state[0].numpy()]
    if encoder.spec.modality == "speech":
        network = model.get_encoder() if encoder._whisper else model
        states = network(torch.from_numpy(piece.values)[None], output_hidden_states=True).hidden_states[1:]
        return [torch.stack(states).mean(dim=0)[0, piece.keep].numpy()]
    if hasattr(model.config, "vision_config"):
        model = encoder.model
    pixels = (torch.from_numpy(piece.values).float() / 255 - 0.5) / 0.5
    images = pixels.permute(0, 3, 1, 2)
    outputs = model(**{model.main_input_name: images if encoder._clip is None else images[None]})
    last = outputs.last_hidden_state
    vectors = [last.flatten(2).mean(-1)] if last.ndim == 4 else [last[:, 0] if encoder._class_token else last.mean(1)]
    if isinstance(getattr(outputs, "pooler_output", None), torch.Tensor):
        vectors = [outputs.pooler_output.flatten(1) if encoder._pooled else vectors[0]]
    return [vector.numpy() for vector in vectors]


def _short(sentence: str) -> str:
    """Return what a refusal says of the type, without names, advice and other libraries' words."""
    if "which would be random" in sentence:
        return "keeps its weights under names of another class"
    if "take both from one model" in sentence:
        return "has a vocabulary of fewer tokens than bytes"
    if "can't be loaded" in sentence or "have other shapes than its config.json says" in sentence:
        return "can't be loaded from a folder"
    reason = sentence.partition(": choose")[0].partition(" model) ")[2] or sentence
    return re.sub(r" \(.*\)|\d+(, \d+)*", lambda match: "" if match[0].startswith(" (") else "…", reason)


def sections(verdicts: dict[str, Verdict]) -> str:
    """Return the lists of docs/encoders.md."""
    lines = []
    for modality in INPUTS:
        of = {name: entry for name, entry in verdicts.items() if entry.modality == modality}
        works = [f"`{name}`" for name, entry in of.items() if entry.verdict == "works"]
        listed = textwrap.fill(f"Work ({len(works)}): {', '.join(works)}.", 120, break_on_hyphens=False)
        lines += [f"### {modality.capitalize()}\n", f"{listed}\n"]
        for verdict in ("refused", "not tried"):
            reasons: dict[str, list[str]] = {}
            for name, entry in of.items():
                if entry.verdict == verdict:
                    reasons.setdefault(entry.reason, []).append(f"`{name}`")
            lines += [f"| {verdict}, because it … | types |", "|---|---|"]
            lines += [f"| {reason} | {', '.join(names)} |" for reason, names in sorted(reasons.items())]
            lines.append("")
    return "\n".join(lines)


def recorded() -> dict[str, Verdict]:
    """Return the verdicts that docs/encoders.md states."""
    verdicts: dict[str, Verdict] = {}
    modality = ""
    for block in DOCS.read_text(encoding="utf-8").split("\n\n"):
        if block.startswith("### "):
            modality = block[4:].lower()
        elif block.startswith("Work ("):
            verdicts |= {name: Verdict(modality, "works") for name in re.findall(r"`([^`]+)`", block)}
        elif modality in INPUTS and block.startswith("| "):
            head, _, *rows = block.splitlines()
            verdict = head[2:].partition(",")[0]
            for row in rows:
                reason, _, names = row[2:].partition(" | ")
                verdicts |= {name: Verdict(modality, verdict, reason) for name in re.findall(r"`([^`]+)`", names)}
    return verdicts


def main() -> None:
    """Judge all types and write the lists."""
    verdicts = {}
    for model_type in sys.argv[1:] or model_types():
        with tempfile.TemporaryDirectory() as folder:
            try:
                verdicts[model_type] = judge(model_type, Path(folder))
            except Exception as error:
                verdicts[model_type] = Verdict("BROKEN", "BROKEN", f"{type(error).__name__} {error}"[:200])
        print(model_type, verdicts[model_type], flush=True)
    if not sys.argv[1:]:
        head = DOCS.read_text(encoding="utf-8").partition("### Speech")[0]
        DOCS.write_text(head + sections(verdicts).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    main()
