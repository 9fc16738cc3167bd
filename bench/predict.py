"""Measure `mer predict` and `mer listen` with encoders of base size against the encoders' bare passes.

wav2vec2-base, roberta-base and CLIP's ViT-B/32 have random weights: the time is that of real ones. The bare passes get
inputs that are decoded beforehand. `--prepare` makes what is measured on and stops, so that nothing else runs then.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
import transformers
from section import measured
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from gia_mic.extract.corpus import Clip, Utterance, write_corpus
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.run import extract
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.run import train_folds
from gia_mic.listen import listen
from gia_mic.predictor import Input, Predictor, load_predictor

RATE, SECONDS, UTTERANCES = 16_000, 4.5, 8
WORDS = "I really don't know what else I could have said to you last night"
RUN = Path("runs", "bench", "gia-mic")


def speech_like(seconds: float, seed: int) -> np.ndarray:
    """Noise in syllables, four a second, of which the loudness wanders."""
    random = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    points = np.arange(int(seconds) + 2)
    loudness = np.interp(times, points, random.uniform(0.4, 1.0, len(points)))
    return (random.normal(0, 0.1, len(times)) * np.abs(np.sin(4 * np.pi * times)) * loudness).astype(np.float32)


def write_video(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
        still = random.integers(0, 255, (360, 480, 3), np.uint8)
        for number in range(round(SECONDS * 25)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(still, number, 1))))
        container.mux(stream.encode())


def save_encoders(folder: Path) -> None:
    torch.manual_seed(0)
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder / "speech")
    config = transformers.RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, bos_token_id=0, pad_token_id=1, eos_token_id=2
    )
    transformers.RobertaModel(config).save_pretrained(folder / "text")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = sorted({("Ġ" + word[:end], word[end]) for word in WORDS.split() for end in range(len(word))})
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *letters, *dict.fromkeys("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate(vocabulary)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder / "text")
    transformers.CLIPVisionModel(transformers.CLIPVisionConfig()).save_pretrained(folder / "visual")


def prepare(folder: Path, precision: str) -> None:
    """Save the encoders, make a few utterances, extract them and train a run on two folds."""
    save_encoders(folder)
    utterances = []
    for number in range(UTTERANCES):
        soundfile.write(folder / f"{number}.wav", speech_like(SECONDS, number), RATE)
        write_video(folder / f"{number}.mp4", number)
        sound, film = Clip(f"{number}.wav"), Clip(f"{number}.mp4")
        label, speaker = "ab"[number % 2], f"s{number // 4}"
        utterances.append(
            Utterance(f"u{number}", label, speaker=speaker, session=speaker, text=WORDS, audio=sound, video=film)
        )
    corpus = write_corpus(folder / "features", "bench", utterances, root=folder)
    stores = {
        name: extract(corpus, lambda name=name: make_encoder(name, str(folder / name), precision=precision)).path
        for name in ("speech", "text", "visual")
    }
    experiment = Experiment(training=TrainingConfig(epochs=1))
    train_folds(corpus, stores, experiment, Execution(device="cpu"), runs=folder / "runs")


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def warm(predictor: Predictor, inputs: list[Input], rounds: int) -> dict[str, float]:
    """Return the median seconds an utterance takes whole, and by stage."""
    times_by_stage: dict[str, list[float]] = {}
    for round_ in range(rounds + 1):
        for utterance in inputs:
            times = {
                "whole": seconds(
                    lambda utterance=utterance: predictor.predict(utterance.audio, utterance.text, utterance.video)
                )
            }
            frames = {}
            for modality in predictor.modalities:
                encoder, job = predictor.encoders[modality], utterance.job(modality)
                begun = time.perf_counter()
                pieces = list(encoder.pieces(job))
                decoded = time.perf_counter()
                frames[modality] = np.concatenate(encoder.encode(pieces))
                times[f"decode {modality}"] = decoded - begun
                times[f"encode {modality}"] = time.perf_counter() - decoded
            times["fuse"] = seconds(lambda frames=frames: predictor.fuse([frames]))
            if round_:  # the first warms up
                for name, value in times.items():
                    times_by_stage.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in times_by_stage.items()}


def live(predictor: Predictor, length_s: float) -> None:
    """Print the real-time factor of listening with and without re-use, and what re-use changes."""
    samples = speech_like(length_s, 99)
    blocks = np.array_split(samples, round(length_s * 10))
    answers = {}
    for name, reuse in (("with re-use", True), ("all anew", False)):
        answers[name] = list(listen(predictor, blocks, reuse=reuse))
        computed_s = sum(answer.seconds for answer in answers[name])
        slowest_s = max(answer.seconds for answer in answers[name])
        print(f"listen, {name}: real-time factor {computed_s / length_s:.2f}, slowest answer {slowest_s:.2f} s")
    pairs = list(zip(*answers.values(), strict=True))
    worst = max(
        abs(answer.probabilities[c] - other.probabilities[c]) for answer, other in pairs for c in predictor.classes
    )
    print(f"re-use moves a probability by {worst:.4f} at most, in {len(pairs)} answers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for encoders, corpus and run; kept")
    parser.add_argument("--prepare", action="store_true", help="only make what is measured on")
    parser.add_argument("--precision", default="float32", help="of the encoders: float32 or bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inputs", type=int, default=UTTERANCES, help="utterances measured when warm")
    parser.add_argument("--live", type=float, default=12.0, help="seconds of sound to listen to")
    arguments = parser.parse_args()
    folder = arguments.folder / arguments.precision
    if not (folder / RUN).is_dir():
        prepare(folder, arguments.precision)
    if arguments.prepare:
        return
    inputs = [Input(folder / f"{n}.wav", WORDS, folder / f"{n}.mp4") for n in range(arguments.inputs)]
    run = folder / RUN
    program = "from gia_mic.cli import main; main()"
    words = ["predict", str(run), "--audio", str(inputs[0].audio), "--text", WORDS, "--video", str(inputs[0].video)]
    command = [sys.executable, "-c", program, *words]
    starts = [seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(2)]
    print(f"{torch.get_num_threads()} threads, {arguments.precision}, utterances of {SECONDS} s, 18 pictures, 14 words")
    print(f"from the start of the process to the first answer: {min(starts):.1f} s")
    begun = time.perf_counter()
    predictor = load_predictor(run)
    load_s = time.perf_counter() - begun
    print(f"loading, once imported: fusion {load_s:.2f} s", end="")
    for modality in predictor.modalities:
        print(f", {modality} {seconds(lambda m=modality: predictor.encoders[m]):.2f} s", end="")
    print()
    medians = warm(predictor, inputs, arguments.rounds)
    bare = sum(value for name, value in medians.items() if name.startswith("encode"))
    print("| stage, of an utterance when warm | ms | share of the whole |\n|---|---:|---:|")
    for name, value in medians.items():
        print(f"| {name} | {1000 * value:.1f} | {100 * value / medians['whole']:.1f} % |")
    print(
        f"bare passes {1000 * bare:.1f} ms; the fusion is {100 * medians['fuse'] / medians['whole']:.2f} % of the whole"
    )
    live(predictor, arguments.live)
    print(f"ratio {medians['whole'] / bare:.2f}")


if __name__ == "__main__":
    measured(main)
