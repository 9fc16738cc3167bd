"""Measure the time from the start of a process to its first answer, with encoders of base size and all modalities.

The encoders are those of `predict.py`, their files in the page cache. A first start has no notes of files and proofs,
a later one has them. With `--before` another checkout of this repository starts in turns with this one.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from predict import RUN, WORDS, prepare
from section import measured

PROGRAM = "from gia_mic.cli import main; main()"


def start(words: list[str], cache: Path, checkout: Path) -> tuple[float, float, str]:
    """Return the seconds of a process on the clock and on the cores, and what it printed."""
    environment = {**os.environ, "MER_CACHE": str(cache)}
    used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],  # what is in the folder it starts in comes first
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        cwd=checkout,
    )
    clock_s, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock_s, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, result.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of `predict.py`: for encoders, corpus and run; kept")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder, here = arguments.folder.absolute() / "float32", Path(__file__).parent.parent
    if not (folder / RUN).is_dir():
        prepare(folder, "float32")
    for path in folder.glob("*/model.safetensors"):
        path.read_bytes()
    words = ["predict", str(folder / RUN), "--audio", str(folder / "0.wav"), "--video", str(folder / "0.mp4")]
    words += ["--text", WORDS, "--json"]
    times: dict[str, list[tuple[float, float]]] = {}
    answers = set()
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            cases = [("first start", here), ("later start", here)]
            if arguments.before:
                cases.insert(0, ("before", arguments.before.absolute()))
            for name, checkout in cases:
                clock_s, cores_s, answer = start(words, Path(scratch), checkout)
                times.setdefault(name, []).append((clock_s, cores_s))
                answers.add(answer)
    assert len(answers) == 1, answers
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    for name, (clock_s, cores_s) in medians.items():
        print(f"{name}: {clock_s:.1f} s, of a core {cores_s:.1f} s; same answer")
    slowest = medians.get("before", medians["first start"])
    print(f"ratio {slowest[0] / medians['later start'][0]:.2f}")


if __name__ == "__main__":
    measured(main)
