"""Times `mer report` over 200 run folders of 5,531 predictions each; promised are ten seconds on two cores.

The last line is `ratio N`: promised seconds over measured ones, so above 1 is kept.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / "tests"))

from made_runs import make_fold  # noqa: E402
from section import measured  # noqa: E402

RUNS, FOLDS, B, DIALOGS = 40, 5, 5531, 151
PROMISED_S = 10
MAIN = "from gia_mic.cli import main; main()"


def main():
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        for run in range(RUNS):
            for fold in range(1, FOLDS + 1):
                make(runs, run, fold)
        print(f"{len(list(runs.glob('*/*/fold-*/seed-*')))} run folders of {B} predictions")
        slowest = 0.0
        for form in ("terminal", "md", "csv", "json", "latex", "html"):
            command = [sys.executable, "-c", MAIN, "report", str(runs), "--format", form]
            start, used = time.perf_counter(), cpu_s()
            text = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True).stdout
            seconds = time.perf_counter() - start
            slowest = max(slowest, seconds)
            print(f"{form:8} {seconds:5.1f} s  {cpu_s() - used:5.1f} s of processor  {len(text) / 1e6:5.2f} MB")
    print(f"ratio {PROMISED_S / slowest:.2f}")


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make(runs, run, fold):
    generator = np.random.default_rng([run, fold])
    true = np.random.default_rng(fold).integers(0, 4, B)
    predicted = np.where(generator.random(B) < 0.5 + run / 100, true, generator.integers(0, 4, B))
    probabilities = generator.dirichlet(np.ones(4), B)
    rows = np.arange(B)
    top = probabilities.argmax(axis=1)
    probabilities[rows, top], probabilities[rows, predicted] = (
        probabilities[rows, predicted].copy(),
        probabilities[rows, top].copy(),
    )
    about = {
        "dialog": [f"Ses{fold:02d}-{row * DIALOGS // B}" for row in rows],
        "speaker": [f"Ses{fold:02d}{'FM'[row % 2]}" for row in rows],
        "session": [f"Ses{fold:02d}"] * B,
        "scenario": [f"script {row * DIALOGS // B % 28}" for row in rows],
        "text": [f"sentence {row} with a few words to it, said in session {fold}" for row in rows],
    }
    ids = [f"Ses{fold:02d}_{row:05d}" for row in rows]
    where = {"corpus": "iemocap", "name": f"gia-mic-{run:02d}", "fold": fold, "folds": FOLDS, "utterances": B * FOLDS}
    folder = make_fold(runs, true, predicted, about=about, ids=ids, probabilities=probabilities, **where)
    lines = [f"{epoch},{1 / epoch:.4f},{1 - 0.5 / epoch:.4f}" for epoch in range(1, 31)]
    (folder / "history.csv").write_text("\n".join(["epoch,loss,train_UA", *lines]) + "\n")


if __name__ == "__main__":
    measured(main)
