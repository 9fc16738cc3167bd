import re

from gia_mic.fuse.ablate import train_ablations, variants
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.experiment import Experiment
from gia_mic.report.render import render


def test_every_part_and_every_constraint_has_a_variant():
    configs = variants(GiaMicConfig())
    assert len(configs) == 1 + 1 + 3 + 4
    assert configs["gia-mic"] == GiaMicConfig()
    assert configs["gia-mic-without-unimodal-heads"].unimodal_width == 0
    assert configs["gia-mic-without-gate"].without == ("gate",)
    assert configs["gia-mic-without-constraint"].constraint == "none"
    assert len(set(configs.values())) == len(configs)


def test_one_call_gives_the_table(corpus, stores, tmp_path):
    folders = train_ablations(
        corpus,
        stores,
        Experiment(
            model=GiaMicConfig(width=8, heads=2, latents=2, layers=1),
            training=TrainingConfig(epochs=1, batch_size=32),
        ),
        runs=tmp_path / "runs",
        baselines=("concat",),
    )
    assert len(folders) == 13 * 5
    text = render(tmp_path / "runs" / "toy", "terminal", "gia-mic")
    for name in ("gia-mic-without-gate", "gia-mic-without-constraint", "gia-mic-constraint-cmd", "concat"):
        assert name in text
    assert re.search(r"gia-mic-without-unimodal-loss +unimodal_weight 0\.0, soft_target 0\.0", text)
    assert re.search(r"gia-mic-equations +.*unimodal_width 0", text)
    assert re.search(r"gia-mic-without-gate +without gate\n", text)
