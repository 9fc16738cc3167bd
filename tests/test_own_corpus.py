"""Corpora that others read: by MODULE:NAME, with settings, into a manifest like any other."""

import pytest

import gia_mic
from gia_mic.extract.errors import CorpusError

HEAD = """
from dataclasses import dataclass
from gia_mic.corpus import Clip, ReleaseContents, Utterance, setting

@dataclass(frozen=True)
class Config:
    most: int = setting(9, "Most files.", at_least=1)

"""
READ = """
def read(path, config: Config):
    '''Files by class.'''
    for file in sorted(path.rglob("*.wav"))[: config.most]:
        clip = Clip(file.relative_to(path).as_posix())
        yield Utterance(id=file.stem, label=file.parent.name, speaker=file.stem[0], audio=clip)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with recordings by class, and a file that reads them."""
    monkeypatch.chdir(tmp_path)
    for label, names in {"happy": ["a1", "b1"], "sad": ["a2"]}.items():
        (tmp_path / "data" / label).mkdir(parents=True)
        for name in names:
            (tmp_path / "data" / label / f"{name}.wav").write_bytes(b"sound")
    (tmp_path / "mine.py").write_text(HEAD + READ)
    return tmp_path


def test_a_function_gives_the_utterances_of_a_folder(here, mer):
    answer = mer("prepare", "own", "mine:read", "data", "--name", "first", "--set", "most=2")
    assert answer.exit_code == 0, answer.output
    assert "first: 2 utterances (happy 2)." in answer.output
    corpus = gia_mic.prepare("mine:read", "data")
    assert (corpus.name, corpus.ids, corpus.classes) == ("read", ["a1", "b1", "a2"], ("happy", "sad"))
    assert corpus.about["description"] == "Files by class"
    assert corpus.about["code"]["file"] == "mine.py"
    assert corpus.about["options"] == {"most": 9}
    assert [corpus.path(utterance.audio).read_bytes() for utterance in corpus] == [b"sound"] * 3


def test_a_class_may_say_the_order_of_classes_and_what_is_odd(here, log):
    code = """
class Mine:
    def __new__(cls, path):
        clips = [Utterance(name, "sad", audio=Clip(f"sad/{name}.wav")) for name in ("a2", "a3")]
        return ReleaseContents(clips, ("sad", "happy"), {("all", "sad"): 2}, odd={"strange": ["x"]})
"""
    (here / "mine.py").write_text(HEAD + code)
    corpus = gia_mic.prepare("mine:Mine", "data", name="own")
    assert corpus.classes == ("sad", "happy")
    assert "strange: x." in log.text
    assert "files that are not there: sad/a3.wav." in log.text


BAD = {
    "There is no corpus 'nobody' of an installed package": ("nobody", "data", ""),
    "There is no module 'yours', neither yours.py": ("yours:read", "data", ""),
    "mine.py has no Gone: its classes and functions are .*read": ("mine:Gone", "data", READ),
    "data2 is no folder: give the one": ("mine:read", "data2", READ),
    r"mine.py can't be loaded \(ModuleNotFoundError": ("mine:read", "data", "import nothing_there"),
    r"read in mine.py fails on data \(ZeroDivisionError: division by zero, line 13\): correct it": (
        "mine:read", "data", READ.replace("clip = ", "1 / 0\n        clip = ")),
    r"fails on data \(TypeError: .* missing": ("mine:read", "data", "def read(a, b: Config, c):\n    pass"),
    r"fails on data \(TypeError: 'NoneType' object": ("mine:read", "data", "def read(path):\n    pass"),
    "read in mine.py gives a str as utterance 1: give gia_mic.corpus.Utterance": (
        "mine:read", "data", READ.replace("yield Utterance(", "yield str(dict(").replace("=clip)", "=clip))")),
    "gives no utterance of data: check the folder": ("mine:read", "data", READ.replace("*.wav", "*.mp3")),
    "names no file that is in data": ("mine:read", "data", READ.replace("(path)", "(path.parent)")),
    "duplicate ids: happy": ("mine:read", "data", READ.replace("id=file.stem", "id=file.parent.name")),
    "says nothing of its settings: write read": ("mine:read", "data", READ.replace(": Config", "")),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_a_corpus_is_refused_in_one_sentence(here, message, mer):
    name, path, code = BAD[message]
    (here / "mine.py").write_text(HEAD + code)
    answer = mer("prepare", "own", name, path)
    assert (answer.exit_code, answer.output.count("\n")) == (1, 1), answer.output
    with pytest.raises(CorpusError, match=message):
        raise CorpusError(answer.output.removeprefix("Error: "))


def test_settings_of_a_wrong_kind_are_refused(here):
    with pytest.raises(CorpusError, match="The corpus read has no setting least: it has most"):
        gia_mic.prepare("mine:read", "data", least=2)
    with pytest.raises(CorpusError, match="choose one of demo, manifest, hf"):
        gia_mic.prepare("nobody", "data")
