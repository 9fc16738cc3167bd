"""Measure how `mer listen` keeps up with speech: encoders in float32, bfloat16, int8, and ONNX Runtime, in turns.

    python bench/listen.py WORK                 print the table
    python bench/listen.py WORK --profile       and where the time of one answer goes
    python bench/listen.py WORK --markdown      and put the table into bench/README.md

The speech encoder is wav2vec2-base with random weights. WORK keeps what is measured on. Answers come every half second,
of the last four seconds. The last line is `ratio N`: the best real-time factor.
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from predict import RUN, WORDS, prepare, speech_like
from section import PAGE, write_section
from torch.profiler import ProfilerActivity, profile

from gia_mic.extract.device import has_products
from gia_mic.listen import listen
from gia_mic.predictor import load_predictor
from gia_mic.report.table import Column, Table, markdown

STEP_S = 0.5
MAIN = "from gia_mic.cli import main; main()"

Answers = Callable[[list[np.ndarray]], Iterator]
"""Gives an answer for each step of blocks of samples, with the `seconds` that it took."""


@dataclass(frozen=True)
class Pace:
    """How fast one variant was, in one round.

    Attributes:
        factor: Seconds of computing for a second of sound.
        slowest_s: Seconds of the slowest answer, without the first, which loads what it needs.
    """

    factor: float
    slowest_s: float


def torch_variants(run: Path) -> dict[str, Answers]:
    """Return listening by torch, for each precision that this processor multiplies in."""
    variants: dict[str, Answers] = {}
    for precision in ("float32", "bfloat16", "int8"):
        if has_products(precision):
            predictor = load_predictor(run, device="cpu", precision=precision)
            variants[f"torch, {precision}"] = lambda blocks, predictor=predictor: listen(predictor, blocks)
    return variants


def onnx_variants(run: Path, work: Path) -> dict[str, Answers]:
    """Return listening by ONNX Runtime, in float32 and int8; empty in a version without `gia_mic.runtime`."""
    try:
        from gia_mic.runtime import load as load_onnx
        from gia_mic.runtime.listen import listen as listen_by_onnx
    except ImportError as error:
        print(f"ONNX Runtime is not measured: {error}", file=sys.stderr)
        return {}
    variants: dict[str, Answers] = {}
    for precision, option in (("float32", []), ("int8", ["--int8"])):
        folder = work / f"onnx-{precision}"
        if not folder.is_dir():
            words = ["export", str(run), str(folder), "--licence", "other", "--onnx", *option]
            subprocess.run([sys.executable, "-c", MAIN, *words], check=True)
        model = load_onnx(folder)
        variants[f"ONNX Runtime, {precision}"] = lambda blocks, model=model: listen_by_onnx(model, blocks)
    return variants


def pace(answers: Answers, blocks: list[np.ndarray]) -> Pace:
    """Listen once."""
    seconds = [answer.seconds for answer in answers(blocks)]
    return Pace(sum(seconds) / (STEP_S * len(blocks)), max(seconds[1:]))


def start_s(words: list[str]) -> float:
    """Return the seconds from the start of a process to its first line."""
    begun = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", MAIN, "-q", *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = time.perf_counter() - begun
        process.kill()
    if not line:
        raise SystemExit(f"`mer {' '.join(words)}` gave no answer.")
    return elapsed


def starts(folder: Path) -> list[list[str]]:
    """Return a row for each command and precision: seconds to the first answer, the best of two."""
    run, sound, video = str(folder / RUN), str(folder / "0.wav"), str(folder / "0.mp4")
    commands = {
        "`mer listen`": ["listen", run, sound],
        "`mer predict`, three encoders": ["predict", run, "--audio", sound, "--text", WORDS, "--video", video],
    }
    rows = []
    for name, words in commands.items():
        for option in ([], ["--precision", "int8"]):
            best = min(start_s([*words, "--device", "cpu", *option]) for _ in range(2))
            rows.append([name, option[-1] if option else "float32", f"{best:.1f}"])
    return rows


def where_time_goes(answers: Answers, blocks: list[np.ndarray]) -> str:
    """Return torch's operators of one stretch of listening, those that took the most time first."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        list(answers(blocks))
    return profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="for encoders, corpus and run; kept")
    parser.add_argument("--seconds", type=float, default=10.0, help="of sound in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="also print where the time goes")
    parser.add_argument("--markdown", action="store_true", help=f"also put the table into {PAGE.name}")
    parser.add_argument("--no-start", action="store_true", help="leave out how long processes take to start")
    arguments = parser.parse_args()
    folder = arguments.work / "float32"
    if not (folder / RUN).is_dir():
        prepare(folder, "float32")
    with contextlib.redirect_stdout(io.StringIO()):
        variants = torch_variants(folder / RUN) | onnx_variants(folder / RUN, arguments.work)
    blocks = np.array_split(speech_like(arguments.seconds, 99), round(arguments.seconds / STEP_S))
    for answers in variants.values():  # loads the encoder, and lays out what is compiled for each length
        list(answers(blocks[:9]))
    paces: dict[str, list[Pace]] = {name: [] for name in variants}
    for _ in range(arguments.rounds):
        for name, answers in variants.items():
            paces[name].append(pace(answers, blocks))
    factors = {name: statistics.median(one.factor for one in rounds) for name, rounds in paces.items()}
    rows = [
        [name, f"{factors[name]:.2f}", f"{1000 * statistics.median(one.slowest_s for one in rounds):.0f}"]
        for name, rounds in paces.items()
    ]
    columns = [Column("encoder"), Column("real-time factor", number=True), Column("slowest answer, ms", number=True)]
    notes = [
        f"{torch.get_num_threads()} threads of {os.cpu_count()} cores. An answer every {1000 * STEP_S:.0f} ms; medians "
        f"of {arguments.rounds} rounds of {arguments.seconds:g} s, in turns.",
        "wav2vec2-base with random weights, window of 4 s, one fusion of two folds.",
    ]
    text = markdown(Table("Listening", columns, rows, notes))
    if not arguments.no_start:
        columns = [Column("command"), Column("precision"), Column("start to first answer, s", number=True)]
        text += "\n\n" + markdown(Table("Start", columns, starts(folder), ["Weights in the page cache."]))
    print(text)
    if arguments.profile:
        for name, answers in variants.items():
            if name.startswith("torch"):
                print(f"\n{name}\n{where_time_goes(answers, blocks)}")
    if arguments.markdown:
        write_section(PAGE, "listen.py", text)
    print(f"ratio {min(factors.values()):.2f}")


if __name__ == "__main__":
    main()
