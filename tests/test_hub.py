"""Encoders as the hub has them: one commit for everything, the same ever after, or one sentence on what is wrong."""

import _thread
import errno
import json
import shutil
import threading
import time

import h5py
import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from made_hub import TOKEN
from made_media import tone, video
from made_models import SPEECH, TEXT, VISUAL, Hostile, preprocessor, save, save_text

import gia_mic
from gia_mic import cli
from gia_mic.extract.config import DEFAULT_MODELS
from gia_mic.extract.corpora.manifest import prepare_table
from gia_mic.extract.encoders import snapshot
from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.encoders.fetch import fetch
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.errors import EncoderError
from gia_mic.extract.run import run
from gia_mic.extract.store import open_store
from gia_mic.rebuild import rebuild


def pickled(folder, keep_safetensors=False):
    """Put pytorch_model.bin, under the names of 2021, beside or in the place of a folder's safetensors."""
    model = transformers.AutoModel.from_pretrained(folder)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for name, tensor in model.state_dict().items():
        for new, before in old.items():
            name = name.replace(new, before)
        state[name] = tensor
    torch.save(state, folder / "pytorch_model.bin")
    if not keep_safetensors:
        (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a speech model as safetensors, as .bin, with both, and with other weights; a text and a CLIP model."""
    folder = tmp_path_factory.mktemp("models")
    speech = preprocessor(save(folder / "speech", *SPEECH["wav2vec2-base"]), do_normalize=True, sampling_rate=16000)
    shutil.copytree(speech, folder / "bin")
    shutil.copytree(speech, folder / "both")
    shutil.copytree(speech, folder / "other")
    pickled(folder / "bin")
    pickled(folder / "both", keep_safetensors=True)
    state = transformers.AutoModel.from_pretrained(speech)
    with torch.no_grad():
        for parameter in state.parameters():
            parameter.mul_(1.1)
    state.save_pretrained(folder / "other")
    save_text(folder / "text", *TEXT["roberta"])
    clip = save(folder / "clip", *VISUAL["clip"])
    preprocessor(clip, size=32, crop_size=32, image_mean=[0.48, 0.46, 0.41], image_std=[0.27, 0.26, 0.28], resample=3)
    shutil.copytree(clip, folder / "clip-bin")
    pickled(folder / "clip-bin")
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return tone(tmp_path_factory.mktemp("sound") / "a.wav", 0.6, hz=180.0)


def frames(encoder, path):
    encoder.to("cpu")
    modality = encoder.spec.modality
    job = EncodeJob("u", "", text="so be it") if modality == "text" else EncodeJob("u", "", path=path, duration_s=0.6)
    return np.concatenate([part for piece in encoder.pieces(job) for part in encoder.encode([piece])])


def of_folder(folder, path):
    return frames(make_encoder("speech", str(folder)), path)


# one commit


def test_safetensors_on_main_are_taken_from_main(hub, models, sound):
    commit = hub.add("lab/model", models / "both")
    encoder = make_encoder("speech", "lab/model")
    assert encoder.spec.weights == commit
    assert encoder.spec.weights_file is None
    np.testing.assert_array_equal(frames(encoder, sound), of_folder(models / "speech", sound))
    assert not any(".bin" in request or "discussions" in request for request in hub.requests)


def test_else_everything_comes_from_the_bots_pull_request_which_is_recorded_as_a_commit(hub, models, sound):
    main = hub.add("lab/model", models / "bin")
    hub.pull("lab/model", 1, models / "other", author="somebody")
    commit = hub.pull("lab/model", 2, models / "speech")
    encoder = make_encoder("speech", "lab/model")
    assert encoder.spec.weights == commit
    np.testing.assert_array_equal(frames(encoder, sound), of_folder(models / "speech", sound))
    assert not any(f"/resolve/{main}/" in request for request in hub.requests)
    again = make_encoder("speech", "lab/model", revision=commit)
    assert again.spec == encoder.spec
    assert make_encoder("speech", "lab/model", revision="main").spec == encoder.spec


def test_of_several_pull_requests_the_first_stays_the_one(hub, models, offline):
    hub.add("lab/model", models / "bin")
    first = hub.pull("lab/model", 3, models / "speech")
    assert make_encoder("speech", "lab/model").spec.weights == first
    hub.pull("lab/model", 4, models / "other")
    assert make_encoder("speech", "lab/model").spec.weights == first
    offline()
    assert make_encoder("speech", "lab/model").spec.weights == first


def test_a_pull_request_upon_what_main_was_before_converts_other_weights(hub, models, sound):
    old = hub.add("lab/model", models / "other")
    main = hub.add("lab/model", models / "bin")
    hub.pull("lab/model", 1, models / "other", parent=old)
    encoder = make_encoder("speech", "lab/model")
    assert (encoder.spec.weights, encoder.spec.weights_file) == (main, "pytorch_model.bin")
    np.testing.assert_allclose(frames(encoder, sound), of_folder(models / "speech", sound), rtol=1e-5, atol=1e-6)


def test_a_revision_is_taken_as_it_is(hub, models):
    hub.add("lab/model", models / "bin")
    tag = hub.add("lab/model", models / "speech", "v1")
    pull = hub.pull("lab/model", 1, models / "speech")
    assert make_encoder("speech", "lab/model", revision="v1").spec.weights == tag
    assert make_encoder("speech", "lab/model", revision="refs/pr/1").spec.weights == pull
    spec = make_encoder("speech", "lab/model", revision=hub.refs["lab/model", "main"]).spec
    assert (spec.weights, spec.weights_file) == (hub.refs["lab/model", "main"], "pytorch_model.bin")


def test_a_model_without_weights_that_can_be_read_is_refused(hub, models, tmp_path):
    (tmp_path / "tf").mkdir()
    shutil.copyfile(models / "speech" / "config.json", tmp_path / "tf" / "config.json")
    (tmp_path / "tf" / "tf_model.h5").write_bytes(b"")
    hub.add("lab/tf", tmp_path / "tf")
    with pytest.raises(EncoderError, match=r"neither model.safetensors nor pytorch_model.bin .*tf_model.h5"):
        make_encoder("speech", "lab/tf")


# later, and without a network


@pytest.mark.parametrize("folder", ["speech", "bin"])
def test_what_was_fetched_works_offline(hub, models, sound, offline, folder):
    hub.add("lab/model", models / folder)
    [fetched] = fetch([("lab/model", None)])
    assert fetched.downloaded == fetched.bytes == sum(fetched.folder.joinpath(n).stat().st_size for n in
                                                      {p.name for p in fetched.folder.iterdir()})  # fmt: skip
    offline()
    hub.stop()
    [again] = fetch([("lab/model", None)])
    assert again.downloaded == 0
    online = of_folder(models / folder, sound)
    np.testing.assert_array_equal(frames(make_encoder("speech", "lab/model"), sound), online)
    np.testing.assert_array_equal(frames(make_encoder("speech", "lab/model", revision=fetched.commit), sound), online)


def test_a_hub_that_cannot_be_reached_changes_nothing_for_what_was_fetched(hub, models, sound):
    hub.add("lab/model", models / "bin")
    commit = hub.pull("lab/model", 1, models / "speech")
    list(fetch([("lab/model", None)]))
    hub.stop()
    assert make_encoder("speech", "lab/model").to("cpu").spec.weights == commit


def test_a_cache_that_has_a_part_says_what_it_lacks(hub, models, offline):
    commit = hub.add("lab/model", models / "speech")
    make_encoder("speech", "lab/model")
    offline()
    encoder = make_encoder("speech", "lab/model", revision=commit)
    with pytest.raises(
        EncoderError, match=rf"it lacks model.safetensors\), and HF_.* run `mer fetch lab/model --revision {commit}`"
    ):
        encoder.to("cpu")
    (encoder._weights.snapshot.folder / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderError, match=r"it lacks preprocessor_config.json"):
        make_encoder("speech", "lab/model")


def test_a_damaged_file_of_the_cache_is_downloaded_again(hub, models):
    hub.add("lab/model", models / "speech")
    [fetched] = fetch([("lab/model", None)])
    path = fetched.folder / "model.safetensors"
    whole = path.read_bytes()
    path.resolve().write_bytes(whole[:100])
    [again] = fetch([("lab/model", None)])
    assert again.downloaded == len(whole)
    assert path.read_bytes() == whole


def test_a_cache_that_other_programs_filled_is_used_and_not_guessed_about(hub, models, sound, offline, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "cache" / "models--lab--model"
    shutil.copytree(models / "bin", folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    offline()
    encoder = make_encoder("speech", "lab/model")
    assert encoder.spec.weights == commit
    assert encoder.spec.weights_file == "pytorch_model.bin"
    (folder / "snapshots" / commit / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderError, match=r"has no preprocessor_config.json of lab/model, and can't say whether"):
        make_encoder("speech", "lab/model")
    (folder / ".no_exist" / commit).mkdir(parents=True)
    (folder / ".no_exist" / commit / "preprocessor_config.json").touch()
    make_encoder("speech", "lab/model")
    (folder / "snapshots" / commit / "pytorch_model.bin").unlink()
    with pytest.raises(EncoderError, match=r"nor a model whose weights .* are in the hub's local cache .*mer fetch"):
        make_encoder("speech", "lab/model")


def test_what_earlier_versions_recorded_is_found_again(hub, models, sound):
    main = hub.add("lab/model", models / "bin")
    commit = hub.pull("lab/model", 1, models / "speech")
    spec = make_encoder("speech", "lab/model").spec.canonical()
    encoder = rebuild({**spec, "weights": main})
    assert encoder.spec.weights == commit
    np.testing.assert_array_equal(frames(encoder, sound), of_folder(models / "speech", sound))
    assert rebuild(spec).spec.weights == commit
    hub.pull("lab/model", 2, models / "speech")
    shutil.rmtree(snapshot.model_cache("lab/model"))
    assert rebuild({**spec, "weights": main}).spec.weights == commit
    hub.pull("lab/model", 3, models / "other")
    shutil.rmtree(snapshot.model_cache("lab/model"))
    with pytest.raises(EncoderError, match=r"3 conversions of commit .* with different weights"):
        rebuild({**spec, "weights": main})
    hub.pulls.clear()
    assert rebuild({**spec, "weights": main}).spec.weights_file == "pytorch_model.bin"
    with pytest.raises(EncoderError, match="would make other frames than recorded, by normalise"):
        rebuild({**spec, "weights": main, "normalise": False})


# preprocessing


def test_pictures_are_prepared_as_by_a_processor_that_transformers_5_saved(hub, models, tmp_path):
    folder = shutil.copytree(models / "clip", tmp_path / "clip")
    (folder / "preprocessor_config.json").unlink()
    pictures = transformers.CLIPImageProcessor(crop_size={"height": 32, "width": 32}, size={"shortest_edge": 32})
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": pictures.to_dict()}))
    hub.add("lab/clip", folder)
    encoder = make_encoder("visual", "lab/clip")
    assert encoder.spec.framing["shortest_edge"] == 32
    [piece] = encoder.pieces(EncodeJob("u", "", path=video(tmp_path / "1.mp4", [30, 90, 150])))
    model = transformers.CLIPVisionModel.from_pretrained(folder).eval()
    pixels = pictures(images=list(piece.values), return_tensors="pt").pixel_values
    with torch.inference_mode():
        expected = model(pixels).pooler_output.numpy()
    [frames] = encoder.to("cpu").encode([piece])
    np.testing.assert_allclose(frames, expected, atol=1e-5 * np.abs(expected).max())


def test_sound_is_left_as_it_is_where_a_processor_of_transformers_5_says_so(models, sound, tmp_path):
    folder = shutil.copytree(models / "speech", tmp_path / "speech")
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": extractor.to_dict()}))
    assert make_encoder("speech", str(folder)).spec.normalise is False
    (folder / "processor_config.json").write_text('{"processor_class": "Wav2Vec2Processor"}')  # as before version 5
    assert make_encoder("speech", str(folder)).spec.normalise is True
    (folder / "processor_config.json").write_text("[]")
    with pytest.raises(EncoderError, match=r"processor_config.json can't be read \(it is no table\)"):
        make_encoder("speech", str(folder))


@pytest.mark.parametrize("settings", [{"do_normalize": False}, {"rescale_factor": 1 / 127.5}, {"do_rescale": False}])
def test_pixels_are_scaled_as_the_settings_say(models, tmp_path, settings):
    entries = json.loads((models / "clip" / "preprocessor_config.json").read_text())
    folder = preprocessor(shutil.copytree(models / "clip", tmp_path / "clip"), **entries, **settings)
    processor = transformers.CLIPImageProcessor.from_pretrained(folder)
    encoder = make_encoder("visual", str(folder))
    [piece] = encoder.pieces(EncodeJob("u", "", path=video(tmp_path / "1.mp4", [30, 90, 150])))
    pixels = processor(images=list(piece.values), return_tensors="pt").pixel_values
    model = transformers.CLIPVisionModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = model(pixels).pooler_output.numpy()
    [frames] = encoder.to("cpu").encode([piece])
    np.testing.assert_allclose(frames, expected, atol=1e-4 * np.abs(expected).max())
    assert encoder.spec.fingerprint != make_encoder("visual", str(models / "clip")).spec.fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": {"longest_edge": 32}}, "size is {'longest_edge': 32}, crop_size None"),
        ({"size": [32, 32]}, "'list' object"),
        ({"size": -1}, "'height': -1"),
        ({"image_mean": "x"}, "image_mean is 'x'"),
        ({"image_std": [0, 0, 0]}, r"image_std is \[0, 0, 0\]"),
        ({"rescale_factor": 0}, "division by zero"),
        ({"resample": 9}, "9 is not a valid Resampling"),
    ],
)
def test_settings_of_pictures_that_are_not_understood_are_refused(models, tmp_path, settings, message):
    folder = preprocessor(shutil.copytree(models / "clip", tmp_path / "clip"), **settings)
    with pytest.raises(
        EncoderError, match=rf"clip doesn't say .* how its pictures are scaled .*{message}.*: check its"
    ):
        make_encoder("visual", str(folder))


@pytest.mark.parametrize("rate", ["16000", 0, 1])
def test_a_sampling_rate_that_is_none_is_refused(models, tmp_path, rate):
    folder = preprocessor(shutil.copytree(models / "speech", tmp_path / "speech"), sampling_rate=rate)
    with pytest.raises(EncoderError, match=rf"wants a sampling rate of {rate!r} Hz, and a whole number from 1000"):
        make_encoder("speech", str(folder))


@pytest.mark.parametrize(
    "fault", [{"status": {"preprocessor_config.json": 503}}, {"closed": ["preprocessor_config.json"]}]
)
def test_settings_that_cannot_be_had_are_not_settings_that_are_not_there(hub, models, fault):
    hub.add("lab/model", models / "speech")
    hub.faults["lab/model"] = fault
    with pytest.raises(EncoderError, match=r"can't give .*now \(it answers 503\)|connection to the hub broke off"):
        make_encoder("speech", "lab/model")


# what can go wrong


def test_an_ill_hub_is_asked_again(hub, models):
    hub.add("lab/model", models / "speech")
    hub.faults["lab/model"] = {"busy": 3, "cut": {"model.safetensors": 1000}}
    make_encoder("speech", "lab/model").to("cpu")


def refusal(hub, models, fault=None, name="lab/model", **options):
    hub.add("lab/model", models / "speech")
    hub.faults["lab/model"] = fault or {}
    with pytest.raises(EncoderError) as caught:
        make_encoder("speech", name, **options)
    return str(caught.value)


def test_a_gated_model_says_where_to_ask(hub, models, monkeypatch):
    message = refusal(hub, models, {"gated": True})
    assert message == (
        f"lab/model is gated: ask for access at {hub.address}/lab/model, log in with `hf auth login` or HF_TOKEN, and "
        "run this again."
    )
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "log in with a token of that account" in refusal(hub, models, {"gated": True})
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    make_encoder("speech", "lab/model")


def test_a_private_model_and_a_wrong_name_look_alike(hub, models):
    for message in (refusal(hub, models, {"private": True}), refusal(hub, models, name="lab/nothing")):
        assert (
            "is neither a local folder nor a model that the hub gave: check the name; if it is private, log" in message
        )


def test_a_wrong_revision_a_busy_hub_and_none_at_all(hub, models):
    assert "lab/model has no revision 'v9': choose" in refusal(hub, models, revision="v9")
    assert "too many requests to give lab/model (429): wait" in refusal(hub, models, {"busy": 99})
    hub.stop()
    shutil.rmtree(snapshot.model_cache("lab/model"), ignore_errors=True)
    with pytest.raises(EncoderError, match=rf"The hub {hub.address} can't be reached to get lab/model .*mer fetch"):
        make_encoder("speech", "lab/model")


def test_a_full_disk_is_named_before_and_while_it_fills(hub, models, monkeypatch):
    hub.add("lab/model", models / "speech")
    usage = shutil._ntuple_diskusage(10**6, 10**6, 10)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(EncoderError, match=r"has 10 bytes free, and lab/model needs .* set HF_HOME"):
            make_encoder("speech", "lab/model")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(EncoderError, match=r"cache .* is full, and lab/model can't be stored: free some room"):
        make_encoder("speech", "lab/model")


def test_a_cache_folder_that_cannot_be_is_named(hub, models, tmp_path, monkeypatch):
    hub.add("lab/model", models / "speech")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(EncoderError, match=r"cache .*file can't be written to store lab/model: set HF_HOME"):
        make_encoder("speech", "lab/model")


def test_ctrl_c_ends_a_download_at_once_and_the_same_command_completes_it(hub, models):
    hub.add("lab/model", models / "speech")
    hub.faults["lab/model"] = {"slow": {"model.safetensors": 10_000}}
    size = (models / "speech" / "model.safetensors").stat().st_size
    assert size > 100_000  # ten seconds
    begun = time.monotonic()
    threading.Timer(1.5, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        list(fetch([("lab/model", None)]))
    assert time.monotonic() - begun < 5
    hub.faults.clear()
    [fetched] = fetch([("lab/model", None)])
    assert fetched.folder.joinpath("model.safetensors").stat().st_size == size == fetched.downloaded


def test_a_refusal_has_one_line_and_no_traceback(hub, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(cli.main, ["fetch", "lab/nothing"])
    assert answer.exit_code == 1
    assert answer.output.startswith("Error: 'lab/nothing' is neither")
    assert answer.output.count("\n") == 1
    for name in ("no/such/folder", "../folder", "tiny"):
        assert "folders and tiny need no fetching" in CliRunner().invoke(cli.main, ["fetch", name]).output
    answer = CliRunner().invoke(cli.main, ["fetch", ".", "--revision", "v1"])
    assert answer.exit_code == 2
    assert "--revision is of hub ids" in answer.output


# the commands


def make_corpus(folder, count=8):
    """Utterances with sound, text and video; those of a smaller corpus are the same."""
    lines = ["id,label,speaker,text,audio,video"]
    for n in range(count):
        tone(folder / f"{n}.wav", 0.4 + 0.03 * n, hz=150.0 + 100 * (n % 2))
        video(folder / f"{n}.mp4", [10 + 20 * n, 40 + 20 * n])
        lines.append(f"u{n},{['low', 'high'][n % 2]},s{n // 2},line {n},{n}.wav,{n}.mp4")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def test_the_defaults_from_extraction_to_prediction_online_and_off(hub, models, offline, tmp_path, monkeypatch):
    main = hub.add(DEFAULT_MODELS["speech"], models / "bin")
    hub.pull(DEFAULT_MODELS["speech"], 2, models / "speech", parent=main)
    hub.add(DEFAULT_MODELS["visual"], models / "clip-bin")
    hub.pull(DEFAULT_MODELS["visual"], 32, models / "clip")
    hub.add(DEFAULT_MODELS["text"], models / "text")
    monkeypatch.chdir(tmp_path)

    def mer(*words):
        answer = CliRunner().invoke(cli.main, list(map(str, words)))
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    table = make_corpus(tmp_path)
    mer("prepare", "manifest", table, "--name", "mine")
    assert "of weights, to the hub's local cache" in mer("extract", "--modality", "speech", "--dry-run")
    extracted = mer("extract", "--modality", "all", "--device", "cpu")
    assert extracted.count(": 8 extracted") == 3
    for path in (tmp_path / "features" / "mine").glob("*/*.h5"):
        spec = open_store(path).spec
        assert spec["weights"] == make_encoder(spec["modality"], spec["model"], revision=spec["weights"]).spec.weights
        assert "weights_file" not in spec
    mer(*"fuse-train --fold all --protocol speaker --epochs 1 --name trained --device cpu".split())
    run_dir = tmp_path / "runs" / "mine" / "trained"
    inputs = ["--audio", "0.wav", "--text", "line 0", "--video", "0.mp4", "--json", "--device", "cpu"]
    online = mer("predict", run_dir, *inputs)
    assert json.loads(online)["modalities"] == ["speech", "text", "visual"]
    lines = mer("listen", run_dir, "7.wav", "--json", "--device", "cpu")
    assert lines
    mer("export", run_dir, "handed")
    assert mer("predict", "handed", *inputs) == online

    shutil.rmtree(tmp_path / "cache")
    assert "3 models" in mer("fetch")
    assert mer("fetch", "handed").count("there before") == 3
    offline()
    hub.stop()
    assert mer("fetch").count("there before") == 3
    assert mer("predict", run_dir, *inputs) == online
    assert mer("predict", "handed", *inputs) == online
    assert mer("listen", run_dir, "7.wav", "--json", "--device", "cpu") == lines
    answer = gia_mic.load(run_dir, device="cpu").predict(audio="0.wav", text="line 0", video="0.mp4")
    assert {name: round(p, 6) for name, p in answer.probabilities.items()} == json.loads(online)["probabilities"]
    mer("prepare", "manifest", make_corpus(tmp_path, 9), "--name", "mine")
    assert mer("extract", "--modality", "all", "--device", "cpu").count(": 1 extracted, 8 reused") == 3


def test_a_corpus_stays_with_a_commit_and_features_of_another_stand_beside(hub, models, tmp_path, caplog):
    corpus = prepare_table(make_corpus(tmp_path, 2), tmp_path / "features", "mine")
    hub.add("lab/model", models / "speech")
    [first] = run(corpus, "speech", "lab/model", device="cpu")
    hub.add("lab/model", models / "other")
    caplog.set_level("INFO", "gia_mic")
    [again] = run(corpus, "speech", "lab/model", device="cpu")
    assert (again.path, again.reused) == (first.path, 2)
    assert any("as for" in line and "--revision main takes what the hub has now" in line for line in caplog.messages)
    [second] = run(corpus, "speech", "lab/model", device="cpu", revision="main")
    assert first.path != second.path
    assert (second.extracted, second.reused) == (2, 0)
    assert any(
        str(first.path) in line and "Training can go on with the old one by --encoder" in line
        for line in caplog.messages
    )


def test_a_corpus_stays_with_a_commit_that_an_earlier_version_recorded_as_mains(hub, models, tmp_path):
    corpus = prepare_table(make_corpus(tmp_path, 2), tmp_path / "features", "mine")
    main = hub.add("lab/model", models / "bin")
    hub.pull("lab/model", 1, models / "speech")
    [first] = run(corpus, "speech", "lab/model", device="cpu")
    with h5py.File(shutil.copyfile(first.path, first.path.with_name("model-000000000000.h5")), "r+") as file:
        file.attrs["spec"] = json.dumps({**json.loads(file.attrs["spec"]), "weights": main})
    hub.add("lab/model", models / "other")
    [again] = run(corpus, "speech", "lab/model", device="cpu")
    assert (again.path, again.reused) == (first.path, 2)


def test_a_commit_that_the_hub_no_longer_has_gives_way_to_main(hub, models, tmp_path):
    corpus = prepare_table(make_corpus(tmp_path, 2), tmp_path / "features", "mine")
    gone = hub.add("lab/model", models / "speech")
    [first] = run(corpus, "speech", "lab/model", device="cpu")
    hub.add("lab/model", models / "other")
    del hub.files["lab/model", gone]
    shutil.rmtree(tmp_path / "cache")
    [second] = run(corpus, "speech", "lab/model", device="cpu")
    assert first.path != second.path
    assert second.extracted == 2


def test_a_hostile_bin_of_the_hub_ends_in_one_sentence(hub, models, tmp_path, monkeypatch):
    folder = shutil.copytree(models / "bin", tmp_path / "hostile")
    torch.save({"weight": Hostile(tmp_path / "trap")}, folder / "pytorch_model.bin")
    hub.add("lab/hostile", folder)
    monkeypatch.chdir(tmp_path)
    prepare_table(make_corpus(tmp_path, 2), tmp_path / "features", "mine")
    words = ["extract", "--modality", "speech", "--encoder", "lab/hostile", "--device", "cpu"]
    answer = CliRunner().invoke(cli.main, words)
    assert answer.exit_code == 1
    assert "asks for io.open, and loading it could run anything" in answer.output
    assert not (tmp_path / "trap").exists()
