"""Runs on the hub: what is pushed in one commit answers elsewhere as the run did, or one sentence says why it can't."""

import re

import pytest
from huggingface_hub import metadata_load
from made_hub import TOKEN, WRITER

import gia_mic
from gia_mic.extract.errors import MerError, RunError
from gia_mic.repository import Repository

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's library to its own

TEXT = "I am so angry."


@pytest.fixture
def writer(hub, monkeypatch):
    """The stand-in of the hub, and somebody logged in who may write to lab/."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    return hub


def test_a_run_is_pushed_whole_in_one_commit_and_answers_from_there(writer, exported_run, tmp_path, mer, offline):
    run, before = exported_run
    pushed = mer("export", run, "--push", "lab/feelings", "--licence", "mit")
    assert pushed.exit_code == 0, pushed.output
    commit = writer.refs["lab/feelings", "main"]
    assert pushed.stdout.startswith(f"{writer.address}/lab/feelings/commit/{commit}: models: 2")
    assert sum("/commit/" in request for request in writer.requests) == 1
    names = ("config.json", "metrics.json", "model.safetensors")
    files = [f"fold-{fold}/seed-0/{name}" for fold in (1, 2) for name in names]
    assert sorted(writer.files["lab/feelings", commit]) == [".gitattributes", "README.md", *files]
    assert b"mer predict hf://lab/feelings --audio" in writer.files["lab/feelings", commit]["README.md"]

    assert gia_mic.load("hf://lab/feelings", device="cpu").predict(text=TEXT) == before
    copy = mer("export", f"hf://lab/feelings@{commit}", tmp_path / "copy")
    assert copy.exit_code == 0, copy.output
    assert metadata_load(tmp_path / "copy" / "README.md")["license"] == "mit"
    assert "hf://lab/feelings" not in (tmp_path / "copy" / "README.md").read_text()
    assert "in " in mer("fetch", "hf://lab/feelings").stdout
    offline()
    result = mer("predict", "hf://lab/feelings", "--text", TEXT, "--json", "--device", "cpu")
    assert f'"{before.label}"' in result.stdout, result.output
    assert mer("listen", "hf://lab/feelings", tmp_path / "no.wav", "--device", "cpu").stderr.count("no.wav") == 1


def test_without_a_network_what_was_fetched_is_used_and_nothing_else(writer, exported_run, offline, tmp_path):
    model = gia_mic.load(exported_run[0], device="cpu")
    model.push("lab/feelings")
    model.push("lab/others")
    gia_mic.load("hf://lab/feelings", device="cpu")
    [weights] = [
        path for path in (tmp_path / "cache").glob("*/snapshots/*/fold-2/seed-0/*") if "safetensors" in path.name
    ]
    offline()
    with pytest.raises(MerError, match=r"hf://lab/others isn't whole .* run `mer fetch hf://lab/others` where there"):
        gia_mic.load("hf://lab/others")
    weights.unlink()  # as after a download that was stopped
    with pytest.raises(MerError, match="hf://lab/feelings isn't whole"):
        gia_mic.load("hf://lab/feelings")
    with pytest.raises(MerError, match="HF_HUB_OFFLINE is set, so nothing can be uploaded"):
        model.push("lab/feelings")


def test_an_ill_hub_and_none_at_all_change_nothing_for_what_was_fetched(writer, exported_run):
    gia_mic.load(exported_run[0], device="cpu").push("lab/feelings")
    writer.faults["lab/feelings"] = {"busy": 2}
    fetched = gia_mic.load("hf://lab/feelings", device="cpu")
    writer.stop()
    assert gia_mic.load("hf://lab/feelings", device="cpu").run_dirs == fetched.run_dirs


def test_a_later_push_replaces_an_earlier_one_and_a_branch_stands_beside(writer, exported_run):
    run, _ = exported_run
    model, one = (gia_mic.load(path, device="cpu") for path in (run, run / "fold-1" / "seed-0"))
    model.push("lab/feelings", message="both")
    one.push("lab/feelings@first")
    assert len(gia_mic.load("hf://lab/feelings", device="cpu").run_dirs) == 2
    assert len(gia_mic.load("hf://lab/feelings@first", device="cpu").run_dirs) == 1
    one.push("lab/feelings")
    assert not any("fold-2" in file for file in writer.files["lab/feelings", writer.refs["lab/feelings", "main"]])
    assert len(gia_mic.load("hf://lab/feelings", device="cpu").run_dirs) == 1


def test_a_private_repository_is_private(writer, exported_run, monkeypatch):
    model = gia_mic.load(exported_run[0], device="cpu")
    model.push("lab/secret", private=True)
    model.push("lab/public")
    assert gia_mic.load("hf://lab/secret", device="cpu").classes == model.classes
    with pytest.raises(RunError, match="lab/public is there and public"):
        model.push("lab/public", private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(MerError, match=r"'lab/secret' is neither .* if it is private, log in"):
        gia_mic.load("hf://lab/secret")


@pytest.mark.parametrize(
    ("token", "repository", "message"),
    [
        (None, "lab/feelings", r"Nobody is logged in to the hub: run `hf auth login`, or set HF_TOKEN"),
        ("hf_wrong", "lab/feelings", r"The hub doesn't accept the token"),
        (TOKEN, "lab/feelings", r"doesn't let this token write to lab/feelings"),
        (WRITER, "others/feelings", r"doesn't let this token write to others/feelings: .* rights in others"),
        (WRITER, "nobody/feelings", r"The hub knows nobody called nobody"),
        (WRITER, "feelings", r"'feelings' is no repository of the hub: give owner/name"),
        (WRITER, "lab/feel--ings", r"is no repository"),
        (WRITER, "https://hub/lab/x", r"is no repository"),
        (WRITER, "lab/taken", r"lab/taken holds thesis.tex, and an export would mix with it"),
        (WRITER, "lab/busy", r"too many requests to take lab/busy \(429\)"),
        (WRITER, "lab/changed", r"lab/changed was changed by somebody else meanwhile"),
    ],
)
def test_what_the_hub_does_not_take_is_one_sentence(
    hub, exported_run, tmp_path, mer, monkeypatch, token, repository, message
):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.commit("lab/taken", {"thesis.tex": b"", "README.md": b""})
    hub.faults |= {"lab/busy": {"busy": 99}, "lab/changed": {"changed": True}}
    refused = mer("export", exported_run[0], "--push", repository)
    assert refused.exit_code == 1
    [line] = refused.stderr.splitlines()
    assert re.search(message, line)


def test_a_card_that_the_hub_finds_wrong_and_a_hub_that_is_away(writer, exported_run):
    model = gia_mic.load(exported_run[0], device="cpu")
    writer.wrong = '"license" must be one of apache-2.0, mit'
    with pytest.raises(
        RunError, match=r"doesn't take lab/feelings \(Invalid metadata .* must be one of apache-2.0, mit\)"
    ):
        model.push("lab/feelings", licence="mine")
    writer.stop()
    with pytest.raises(RunError, match=r"can't be reached to upload|broke off while it took lab/feelings"):
        model.push("lab/feelings")


def test_a_repository_without_a_run_is_named_and_nothing_of_it_is_downloaded(hub):
    hub.commit("lab/encoder", {"config.json": b"{}", "model.safetensors": b""})
    with pytest.raises(RunError, match=r"hf://lab/encoder holds no run that mer exported \(but config.json, model"):
        gia_mic.load("hf://lab/encoder")
    assert not any("/resolve/" in request for request in hub.requests)
    with pytest.raises(MerError, match="lab/encoder has no revision 'v7'"):
        gia_mic.load("hf://lab/encoder@v7")
    with pytest.raises(MerError, match="'lab/nothing' is neither"):
        gia_mic.load("hf://lab/nothing")


def test_code_of_a_run_comes_to_those_who_trust_or_copy_it(hub, exported_run, tmp_path, mer):
    whole = gia_mic.load(exported_run[0], device="cpu").save(tmp_path / "out")
    files = {path.relative_to(whole).as_posix(): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    hub.commit("lab/feelings", {**files, "fold-1/seed-0/fusion/own.py": b"", "setup.py": b"", "a.pickle": b""})
    gia_mic.load("hf://lab/feelings", device="cpu")
    assert not any(request.endswith((".py", ".pickle")) for request in hub.requests)
    assert mer("export", "hf://lab/feelings", tmp_path / "copy").exit_code == 0
    assert (tmp_path / "copy" / "fold-1" / "seed-0" / "fusion" / "own.py").is_file()
    gia_mic.load("hf://lab/feelings", device="cpu", trust=True)
    assert {request.rpartition("/")[2] for request in hub.requests if request.endswith((".py", ".pickle"))} == {
        "own.py"
    }


def test_export_says_what_is_wanted(mer, tmp_path):
    assert "Give a FOLDER to write to, or --push" in mer("export", tmp_path).stderr
    assert "--private is of" in mer("export", tmp_path, tmp_path / "out", "--private").stderr


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [("a/b", "a/b", "main"), ("hf://a/b-c.d@refs/pr/1", "a/b-c.d", "refs/pr/1"), ("hf://a/b@v1.0", "a/b", "v1.0")],
)
def test_an_address_has_a_name_and_perhaps_a_revision(text, name, revision):
    assert Repository.parse(text) == Repository(name, revision)
