"""A run as a Space: the folder has what the hub needs to show a page of it, and no more."""

import ast
from importlib import metadata

import pytest
from huggingface_hub import metadata_load
from made_hub import WRITER

import gia_mic
from gia_mic.extract.errors import RunError
from gia_mic.fuse.runs.folder import find_run_dirs
from gia_mic.model import hand_on
from gia_mic.space import write_space


@pytest.fixture
def gradio(monkeypatch):
    """Pretends that Gradio is installed."""
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "6.1.0" if name == "gradio" else version(name))


@pytest.mark.usefixtures("gradio")
def test_the_folder_of_a_space_has_settings_program_packages_and_the_run(exported_run, tmp_path, mer):
    run, before = exported_run
    for _ in range(2):  # an earlier Space is replaced
        written = mer("export", run, tmp_path / "space", "--space", "--licence", "mit")
        assert written.exit_code == 0, written.output
    folder = tmp_path / "space"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "app.py", "model", "requirements.txt"]
    assert gia_mic.load(folder / "model", device="cpu").predict(text="I am so angry.") == before
    settings = metadata_load(folder / "README.md")
    assert settings["title"] == "Emotions from speech, text, visual"
    assert (settings["sdk"], settings["sdk_version"], settings["license"]) == ("gradio", "6.1.0", "mit")
    assert (folder / settings["app_file"]).is_file()
    assert settings["python_version"].startswith("3.")
    assert (folder / "requirements.txt").read_text() == f"gia-mic[serve]=={gia_mic.__version__}\n"
    program = ast.parse((folder / "app.py").read_text())
    assert [ast.unparse(statement) for statement in program.body[1:]] == [
        "import gia_mic",
        "from gia_mic.serve.page import build_app",
        "build_app(gia_mic.load('model')).launch()",
    ]
    (folder / "thesis.tex").touch()
    assert "holds thesis.tex" in mer("export", run, folder, "--space").stderr


@pytest.mark.usefixtures("gradio")
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_space_can_be_pushed(exported_run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    address = gia_mic.load(exported_run[0], device="cpu").push("lab/page", space=True)
    commit = hub.refs["spaces/lab/page", "main"]
    assert address == f"{hub.address}/spaces/lab/page/commit/{commit}"
    assert {"app.py", "model/fold-2/seed-0/config.json"} < set(hub.files["spaces/lab/page", commit])


def changed(monkeypatch, **entries):
    """Let the configuration of runs have other entries."""
    from gia_mic.fuse.runs import folder

    read = folder.read_config
    monkeypatch.setattr(folder, "read_config", lambda *words: {**read(*words), **entries})


@pytest.mark.usefixtures("gradio")
def test_what_a_space_could_not_load_is_refused(exported_run, tmp_path, monkeypatch):
    run_dirs = tuple(find_run_dirs(exported_run[0]))
    with monkeypatch.context() as patch:
        changed(patch, fusion={"file": "own.py"})
        with pytest.raises(RunError, match=r"fusion .* is code of its author, which the page would run"):
            write_space(run_dirs, tmp_path / "space")
        with pytest.raises(RunError, match="A Space predicts by torch"):
            hand_on(run_dirs, tmp_path / "space", space=True, onnx=True)
        changed(patch, fusion={"file": "own.py", "distribution": "own-fusions 1.2"})
        write_space(run_dirs, tmp_path / "space", trust=True)
        assert "own-fusions==1.2" in (tmp_path / "space" / "requirements.txt").read_text().splitlines()
        assert 'gia_mic.load("model", trust=True)' in (tmp_path / "space" / "app.py").read_text()
    spec = {"model": "mine", "weights": "0" * 64}
    changed(monkeypatch, modalities=["text"], features={"text": {"spec": spec}})
    with pytest.raises(RunError, match="A Space can't fetch the run's encoders of text"):
        write_space(run_dirs, tmp_path / "other")
    spec["code"] = {"file": "mine.py", "distribution": None, "settings": {}}
    with pytest.raises(RunError, match="The run's encoder of text is code of its author"):
        write_space(run_dirs, tmp_path / "other")
    write_space(run_dirs, tmp_path / "other", trust=True)
    assert "trust=True" in (tmp_path / "other" / "app.py").read_text()
    spec["code"]["settings"]["weights"] = "0" * 64
    with pytest.raises(RunError, match="A Space can't fetch the run's encoders of text"):
        write_space(run_dirs, tmp_path / "more", trust=True)


def test_without_gradio_the_extra_is_named(exported_run, tmp_path, monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(RunError, match=r"pip install 'gia-mic\[serve\]'"):
        write_space(tuple(find_run_dirs(exported_run[0])), tmp_path / "space")
    assert not (tmp_path / "space").exists()
