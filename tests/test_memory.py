"""A bound on the memory for frames holds: what is beyond it stays in the feature files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_features import make_corpus, utterances

from gia_mic.extract.store import Header, Item, write_store

LARGE_MIB = 192
CODE = """
import sys
from pathlib import Path
import numpy as np, torch
from gia_mic.extract.corpus import load_corpus
from gia_mic.extract.store import open_store
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.models.gia_mic import GiaMic
from gia_mic.fuse.train import RunSpec, fit

def own():
    # memory of this process alone, and pages of the feature file, which count as its memory too where they are mapped
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    maps = Path("/proc/self/smaps").read_text().split(sys.argv[2])[1:]
    return (int(fields["RssAnon"].split()[0]) + sum(int(one.split("Rss:")[1].split()[0]) for one in maps)) / 1024

corpus = load_corpus(Path(sys.argv[1]), "toy")
opened = {"speech": open_store(Path(sys.argv[2]))}
small = GiaMicConfig(width=16, heads=2, latents=2, layers=1)
how = TrainingConfig(epochs=1, batch_size=4)

def train(data):
    fit(lambda: GiaMic(data.dims, 4, small), data, RunSpec(np.arange(32), seed=0), how, steps=8)

before = own()
bound = float(sys.argv[3])
data = read_data(corpus, opened, memory_gib=bound if bound else None)
train(data)
print(own() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the process's own memory from /proc")
def test_frames_beyond_the_bound_are_not_held_in_memory(tmp_path):
    corpus = make_corpus(tmp_path, utterances(96))
    dim, count = 512, LARGE_MIB * 2**20 // (512 * 2 * 96)
    path = corpus.folder / "speech" / "tiny-0123.h5"
    frames = np.random.default_rng(0).normal(size=(count * 3 // 2, dim)).astype(np.float16)
    # those that are trained on are short, so that what a step takes is small beside what lies in the file
    items = [
        Item(utterance.id, "digest", frames[:20] if number < 32 else frames) for number, utterance in enumerate(corpus)
    ]
    write_store(path, Header("speech", "tiny", "0123", {}, dim), items)
    size = path.stat().st_size / 2**20
    assert size > LARGE_MIB

    def grown(bound: float) -> float:
        command = [sys.executable, "-c", CODE, str(tmp_path), str(path), str(bound)]
        process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return float(process.stdout)

    assert grown(0) > size  # all in memory
    assert grown(0.01) < size / 2
