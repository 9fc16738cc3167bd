"""How fusions that others wrote are found, loaded and refused."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import fusion_name
from gia_mic.fuse.models.plugins import load_class
from gia_mic.fuse.models.registry import configure, find_fusion, listing

HEAD = """
from dataclasses import dataclass
import torch
from torch import nn
from gia_mic.fusion import Batch, Output, mean, setting

@dataclass(frozen=True)
class Config:
    width: int = setting(8, "Features of the hidden layer.", at_least=1)
    rate: float = 0.5
    deep: bool = True
    sizes: tuple[int, ...] = (4, 2)

"""
FUSION = """
class Mine(nn.Module):
    '''A sum of the modalities.'''

    def __init__(self, dims, outputs, config: Config):
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Linear(dim, outputs) for name, dim in dims.items()})

    def forward(self, batch):
        return sum(self.layers[name](mean(frames)) for name, frames in batch.items())
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, whose modules can be imported by those who say so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    return tmp_path


def write(folder, code=HEAD + FUSION, name="mine.py"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    return path


@pytest.mark.parametrize(("where", "name"), [("mine.py", "mine:Mine"), ("a folder/mine.py", "a folder/mine.py:Mine")])
def test_a_class_of_a_file_has_its_settings_and_its_code(here, where, name):
    path = write(here, name=where)
    entry = find_fusion(name)
    assert (entry.name, entry.about, entry.source) == ("mine", "A sum of the modalities", "mine.py")
    assert entry.code.code == path.read_bytes()
    config = configure(name, {"width": "16", "rate": "1e-3", "deep": "off", "sizes": "8,4"})
    assert (config.width, config.rate, config.deep, config.sizes) == (16, 1e-3, False, (8, 4))
    assert entry.problems(configure(name, {"width": 0})) == ["width is 0, and must be at least 1"]
    lines = listing([name]).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["width", "8"],
        ["rate", "0.5"],
        ["deep", "on"],
        ["sizes", "4,2"],
    ]


def test_a_file_that_changed_is_another_class_and_the_same_file_the_same(here):
    path = write(here)
    before = load_class("mine:Mine")
    assert load_class("mine.py:Mine").make is before.make
    path.write_text(path.read_text().replace("A sum", "The sum"))
    after = load_class("mine:Mine")
    assert after.make is not before.make
    assert after.source.digest != before.source.digest


def test_a_package_names_its_fusions_by_entry_points(here, monkeypatch, mer):
    site = here / "site"
    write(site, HEAD + FUSION, "theirs/fusions.py")
    write(site, "", "theirs/__init__.py")
    write(site, "Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n", "theirs-1.2.dist-info/METADATA")
    write(site, "theirs\n", "theirs-1.2.dist-info/top_level.txt")
    points = (
        "[gia_mic.fusions]\ntheir-sum = theirs.fusions:Mine\nconcat = theirs.fusions:Mine\nold = theirs.gone:Mine\n"
    )
    write(site, points, "theirs-1.2.dist-info/entry_points.txt")
    monkeypatch.syspath_prepend(site)
    entry = find_fusion("their-sum")
    assert (entry.name, entry.source, entry.code.code) == ("their-sum", "theirs 1.2", None)
    digest = entry.code.digest
    write(site, "# more\n", "theirs/__init__.py")
    assert find_fusion("theirs.fusions:Mine").code.digest != digest
    lines = mer("fusions").output
    assert "\ntheir-sum " in lines
    assert "Mine in fusions.py would be called concat, as one of ours: rename it." in lines
    assert "There is no module 'theirs.gone'" in lines
    assert find_fusion("concat").code is None
    write(site, "[gia_mic.fusions]\ntheir-sum = others:Mine\n", "others-1.dist-info/entry_points.txt")
    with pytest.raises(RunError, match="Two packages have a fusion 'their-sum'"):
        find_fusion("their-sum")


BAD = {
    "There is no module 'yours', neither yours.py in": ("yours:Mine", ""),
    "There is no file yours.py with a fusion": ("yours.py:Mine", ""),
    "mine.py has no Yours: its modules are Mine": ("mine:Yours", FUSION),
    "mine.py has something else than a torch.nn.Module called Config": ("mine:Config", FUSION),
    r"mine.py can't be loaded \(ZeroDivisionError: division by zero, line 16\)": ("mine:Mine", "\n\n1 / 0"),
    r"mine.py can't be loaded \(SystemExit: 2, line 16\)": ("mine:Mine", "\n\nraise SystemExit(2)"),
    r"mine.py can't be loaded \(SyntaxError: .*line": ("mine:Mine", "class Mine("),
    r"mine.py can't be loaded \(ModuleNotFoundError: No module named 'neighbour'": ("mine:Mine", "import neighbour"),
    "Concat in mine.py would be called concat": ("mine:Concat", FUSION.replace("Mine", "Concat")),
    "Mine in mine.py says nothing of its settings: write __init__": ("mine:Mine", FUSION.replace(": Config", "")),
    r"its annotations can't be read \(NameError": ("mine:Mine", FUSION.replace(": Config", ": 'Cfg'")),
    "width in Config can't be set: give a default": (
        "mine:Mine",
        "@dataclass(frozen=True)\nclass Config:\n    width: int\n" + FUSION,
    ),
    "epochs, weight in Config means something else here": (
        "mine:Mine",
        "@dataclass(frozen=True)\nclass Config:\n    epochs: int = 1\n    weight: float = 1.0\n" + FUSION,
    ),
    "says nothing of its settings: .* with a frozen dataclass": (
        "mine:Mine",
        "@dataclass\nclass Config:\n    width: int = 1\n" + FUSION,
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_a_fusion_is_refused_in_one_sentence(here, message, mer):
    name, code = BAD[message]
    write(here, HEAD + code)
    with pytest.raises(RunError, match=message) as refusal:
        find_fusion(name)
    assert len(str(refusal.value).splitlines()) == 1
    answer = mer("fuse-train", "--fusion", name)
    assert (answer.exit_code, answer.output) == (1, f"Error: {refusal.value}\n")


def test_a_setting_that_is_no_value_is_refused(here):
    write(here)
    for setting in ({"deep": "perhaps"}, {"sizes": "a,b"}, {"rate": "fast"}):
        with pytest.raises(RunError, match=r"The setting .* is no .*: give one such as"):
            configure("mine:Mine", setting)
    with pytest.raises(RunError, match="The fusion mine:Mine has no setting heads: it has width, rate, deep, sizes"):
        configure("mine:Mine", {"heads": "2"})


@pytest.mark.parametrize(
    ("name", "short"), [("late", "late"), ("a.b:GatedMean2", "gated-mean2"), ("x/y.py:my_TFNPlus", "my-tfn-plus")]
)
def test_a_run_is_named_by_the_class(name, short):
    assert fusion_name(name) == short


def test_threads_that_load_a_file_at_once_all_get_its_class(here):
    write(here, HEAD + "import time\ntime.sleep(0.2)\n" + FUSION)
    with ThreadPoolExecutor(4) as threads:
        classes = list(threads.map(lambda _: load_class("mine:Mine").make, range(4)))
    assert len(set(classes)) == 1
