import json

import numpy as np
import pytest
import soundfile
import torch
import transformers
from made_media import tone, video
from made_models import SPEECH, TEXT, VISUAL, preprocessor, save, save_text

from gia_mic.extract.corpus import Clip
from gia_mic.extract.encoders import fast, speech
from gia_mic.extract.encoders.contract import EncodeJob, Window, piece_windows, pool
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.encoders.proof import check_repeatable, exact_together
from gia_mic.extract.errors import EncoderError, MediaError

SENTENCES = ["No.", "I can't believe you did that!", "", "Why would anyone say such a thing to me, today of all days?"]


def relative_difference(actual, expected):
    """Largest difference over the largest value."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def frames_of(encoder, job, batch=1):
    pieces = list(encoder.pieces(job))
    parts = [part for i in range(0, len(pieces), batch) for part in encoder.encode(pieces[i : i + batch])]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    lengths = [0.4, 1.37, 0.026, 2.5, 0.9]
    return [
        EncodeJob(f"u{n}", "", path=tone(folder / f"{n}.wav", length, hz=150.0 + 40 * n), duration_s=length)
        for n, length in enumerate(lengths)
    ]


@pytest.fixture(scope="module")
def speech_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    return {name: save(folder / name, *arguments) for name, arguments in SPEECH.items()}


@pytest.mark.parametrize("name", SPEECH)
@pytest.mark.parametrize("layers", [(-1,), (0, 2), "mean"])
@pytest.mark.parametrize("padded", [False, True])
def test_speech_in_any_batch_equals_speech_alone(speech_models, sounds, name, layers, padded, monkeypatch):
    if padded:  # as on a GPU
        monkeypatch.setattr(fast, "suits", lambda device: False)
    encoder = make_encoder("speech", str(speech_models[name]), layers=layers).to("cpu")
    alone = [frames_of(encoder, job) for job in sounds]
    pieces = [piece for job in sounds for piece in encoder.pieces(job)]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0], [3, 2]):
        for frames, index in zip(encoder.encode([pieces[i] for i in order]), order, strict=True):
            assert frames.shape == alone[index].shape == (len(frames), encoder.header.dim)
            assert relative_difference(frames, alone[index]) < 1e-4


@pytest.mark.parametrize("name", [name for name in SPEECH if name != "whisper"])
def test_speech_alone_equals_what_transformers_gives_for_the_unpadded_recording(speech_models, sounds, name):
    encoder = make_encoder("speech", str(speech_models[name]), layers=(-1,)).to("cpu")
    model = transformers.AutoModel.from_pretrained(speech_models[name]).eval()
    (piece,) = encoder.pieces(sounds[1])
    with torch.inference_mode():
        expected = model(torch.from_numpy(piece.values)[None]).last_hidden_state[0].numpy()
    assert relative_difference(encoder.encode([piece])[0], expected) < 1e-5


def test_whisper_alone_equals_what_transformers_gives(speech_models, sounds):
    encoder = make_encoder("speech", str(speech_models["whisper"]), layers=(-1,)).to("cpu")
    model = transformers.WhisperModel.from_pretrained(speech_models["whisper"]).eval()
    extractor = transformers.WhisperFeatureExtractor()
    (samples,) = encoder._stream(sounds[1])
    with torch.inference_mode():
        spectrum = extractor(samples, sampling_rate=16000, return_tensors="pt").input_features
        expected = model.get_encoder()(spectrum).last_hidden_state[0].numpy()
    frames = frames_of(encoder, sounds[1])
    assert len(frames) == -(-len(samples) // 320)
    assert relative_difference(frames, expected[: len(frames)]) < 1e-5


def test_recordings_are_normalised_as_the_model_was_trained(speech_models, sounds, tmp_path):
    (piece,) = make_encoder("speech", str(speech_models["hubert"])).pieces(sounds[1])
    assert abs(piece.values.mean()) < 1e-4
    assert abs(piece.values.std() - 1) < 1e-3
    folder = preprocessor(save(tmp_path / "plain", *SPEECH["hubert"]), do_normalize=False, sampling_rate=16000)
    (piece,) = make_encoder("speech", str(folder)).pieces(sounds[1])
    assert 0.2 < piece.values.std() < 0.25


def test_frames_and_their_rate(speech_models, sounds):
    encoder = make_encoder("speech", str(speech_models["wav2vec2-base"])).to("cpu")
    assert encoder.header.frame_rate_hz == 50.0
    assert len(frames_of(encoder, sounds[1])) == (round(1.37 * 16000) - 400) // 320 + 1
    assert len(frames_of(encoder, sounds[2])) == 1


def test_sound_shorter_than_a_frame_is_refused(speech_models, tmp_path):
    encoder = make_encoder("speech", str(speech_models["wav2vec2-base"]))
    job = EncodeJob("u", "", path=tone(tmp_path / "a.wav", 0.003))
    with pytest.raises(MediaError, match="has 3 ms of sound, 48 samples at 16000 Hz; wav2vec2-base needs at least 400"):
        list(encoder.pieces(job))


@pytest.mark.parametrize("name", ["wav2vec2-base", "wav2vec2-large", "whisper"])
def test_long_speech_goes_through_in_windows_and_comes_out_close_to_the_whole(speech_models, tmp_path, name):
    job = EncodeJob("u", "", path=tone(tmp_path / "a.wav", 33.0), duration_s=33.0)
    encoder = make_encoder("speech", str(speech_models[name])).to("cpu")
    pieces = list(encoder.pieces(job))
    assert len(pieces) == 2
    assert all(piece.size <= 30 * 50 for piece in pieces)
    frames = frames_of(encoder, job)
    if name == "whisper":
        assert len(frames) == 33 * 50
        return
    whole = frames_of(make_encoder("speech", str(speech_models[name]), window_s=60.0).to("cpu"), job)
    assert frames.shape == whole.shape
    assert relative_difference(frames, whole) < 0.2
    cosine = (frames * whole).sum(1) / np.linalg.norm(frames, axis=1) / np.linalg.norm(whole, axis=1)
    assert cosine.mean() > 0.99


def test_windows_read_as_a_stream_are_those_cut_from_the_whole(speech_models, tmp_path):
    job = EncodeJob("u", "", path=tone(tmp_path / "a.wav", 7.3), duration_s=7.3)
    encoder = make_encoder("speech", str(speech_models["wav2vec2-large"]), window_s=5.0).to("cpu")
    expected = list(encoder.pieces(job))

    class Forgetful(speech.SoundStatistics):
        def __init__(self, blocks, keep):
            super().__init__(blocks, keep=-1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speech, "SoundStatistics", Forgetful)
        pieces = list(encoder.pieces(job))
    assert len(pieces) == len(expected) == 4
    for one, other in zip(pieces, expected, strict=True):
        assert one.keep == other.keep
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)


@pytest.mark.parametrize("name", TEXT)
def test_text_in_any_batch_equals_text_alone(tmp_path, name):
    encoder = make_encoder("text", str(save_text(tmp_path / name, *TEXT[name])), layers=(1, 3)).to("cpu")
    jobs = [EncodeJob(f"u{n}", "", text=text) for n, text in enumerate(SENTENCES) if text]
    pieces = [piece for job in jobs for piece in encoder.pieces(job)]
    alone = [encoder.encode([piece])[0] for piece in pieces]
    for one, other in zip(encoder.encode(pieces), alone, strict=True):
        assert one.shape == other.shape == (len(one), 64)
        assert relative_difference(one, other) < 1e-4


def test_text_over_the_models_limit_is_split_not_cut(tmp_path):
    encoder = make_encoder("text", str(save_text(tmp_path / "roberta", *TEXT["roberta"]))).to("cpu")
    assert encoder.spec.window_tokens == 64
    text = "".join(chr(97 + n % 26) for n in range(500))
    frames = frames_of(encoder, EncodeJob("u", "", text=text), batch=3)
    assert frames.shape == (500, 32)
    near = frames_of(encoder, EncodeJob("u", "", text=text[:60]))
    assert relative_difference(frames[:40], near[:40]) < 1.0
    assert np.isfinite(frames).all()


def test_an_empty_transcript_is_refused(tmp_path):
    encoder = make_encoder("text", "tiny")
    for text in ("", "  \n"):
        with pytest.raises(MediaError, match="The transcript of u7 is empty"):
            list(encoder.pieces(EncodeJob("u7", "", text=text)))


@pytest.mark.parametrize("name", VISUAL)
def test_pictures_in_any_batch_equal_pictures_alone(tmp_path, name):
    encoder = make_encoder("visual", str(save(tmp_path / name, *VISUAL[name])), frame_rate_hz=10.0).to("cpu")
    jobs = [
        EncodeJob("u1", "", path=video(tmp_path / "1.mp4", [30, 90, 150]), duration_s=0.3),
        EncodeJob("u2", "", path=video(tmp_path / "2.mp4", list(range(0, 250, 10))), duration_s=2.5),
    ]
    pieces = [piece for job in jobs for piece in encoder.pieces(job)]
    assert [len(piece.values) for piece in pieces] == [3, 16, 9]
    alone = [encoder.encode([piece])[0] for piece in pieces]
    assert [len(one) for one in alone] == [3, 16, 9]
    for one, other in zip(encoder.encode(pieces), alone, strict=True):
        assert relative_difference(one, other) < 1e-4
    assert encoder.header.frame_rate_hz == 10.0


def test_clip_frames_are_its_image_embeddings_before_projection(tmp_path):
    folder = preprocessor(
        save(tmp_path / "clip", *VISUAL["clip"]),
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        do_center_crop=True,
        image_mean=[0.48, 0.46, 0.41],
        image_std=[0.27, 0.26, 0.28],
        resample=3,
    )
    encoder = make_encoder("visual", str(folder)).to("cpu")
    assert encoder.spec.framing["shortest_edge"] == 32
    (piece,) = encoder.pieces(EncodeJob("u", "", path=video(tmp_path / "1.mp4", [30, 90, 150])))
    model = transformers.CLIPVisionModel.from_pretrained(folder).eval()
    pixels = (torch.from_numpy(piece.values).float() / 255 - torch.tensor([0.48, 0.46, 0.41])) / torch.tensor(
        [0.27, 0.26, 0.28]
    )
    with torch.inference_mode():
        expected = model(pixels.permute(0, 3, 1, 2)).pooler_output.numpy()
    assert relative_difference(encoder.encode([piece])[0], expected) < 1e-5


def test_clips_vision_tower_loads_from_a_folder_with_both_towers(tmp_path):
    text = {**TEXT["bert"][1], "projection_dim": 16, "eos_token_id": 2, "bos_token_id": 0}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISUAL["clip"][1])
    transformers.CLIPModel(config).save_pretrained(tmp_path / "clip")
    encoder = make_encoder("visual", str(tmp_path / "clip")).to("cpu")
    assert frames_of(encoder, EncodeJob("u", "", path=video(tmp_path / "1.mp4", [30, 90]))).shape == (1, 32)


def test_a_hub_model_is_known_by_its_commit(tmp_path, monkeypatch, speech_models):
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "models--someone--wav2vec2-tiny"
    snapshot = cache / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    for file in speech_models["wav2vec2-base"].iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    preprocessor(snapshot, do_normalize=True, sampling_rate=16000)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = make_encoder("speech", "someone/wav2vec2-tiny")
    assert encoder.spec.model == "someone/wav2vec2-tiny"
    assert encoder.spec.weights == commit
    assert encoder.header.encoder == "wav2vec2-tiny"
    assert frames_of(encoder.to("cpu"), EncodeJob("u", "", path=tone(tmp_path / "a.wav", 1.0))).shape == (49, 32)
    with pytest.raises(EncoderError, match="'someone/else' is neither a local folder nor a model whose weights"):
        make_encoder("speech", "someone/else")


def test_a_folders_fingerprint_follows_its_content_not_its_place(tmp_path, speech_models):
    first = make_encoder("speech", str(speech_models["hubert"])).spec.fingerprint
    moved = tmp_path / "hubert"
    moved.mkdir()
    for file in speech_models["hubert"].iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert make_encoder("speech", str(moved)).spec.fingerprint == first
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert make_encoder("speech", str(moved)).spec.fingerprint != first


@pytest.mark.parametrize("name", ["tokenizer.json", "bpe.codes", "preprocessor_config.json", "pytorch_model.bin"])
def test_whatever_prepares_an_input_is_in_a_folders_fingerprint(tmp_path, name):
    folder = save_text(tmp_path / "roberta", *TEXT["roberta"])
    first = make_encoder("text", str(folder)).spec.fingerprint
    path = folder / name
    path.write_text((path.read_text() if path.exists() else "{}") + "\n")
    same = name == "pytorch_model.bin"  # beside safetensors nobody reads it
    assert (make_encoder("text", str(folder)).spec.fingerprint == first) is same


@pytest.mark.parametrize(
    "options", [{"layers": (1,)}, {"pool": "4"}, {"precision": "bfloat16"}, {"dtype": "float32"}, {"window_s": 10.0}]
)
def test_whatever_changes_a_value_changes_the_fingerprint(options):
    assert make_encoder("speech", "tiny", **options).spec.fingerprint != make_encoder("speech", "tiny").spec.fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (9,)}, "has no layers 9: choose from 0"),
        ({"layers": ()}, r"has no layers \(\)"),
        ({"pool": "0"}, "pool is '0', and must be none, utterance"),
        ({"precision": "int4"}, "precision is 'int4', and must be float32, tf32, bfloat16, float16 or int8"),
        ({"dtype": "float64"}, "dtype is 'float64', and must be float16 or float32"),
        ({"window_s": 0}, "window_s is 0, and must be above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(EncoderError, match=message):
        make_encoder("speech", "tiny", **options)


def test_models_that_do_not_fit_are_refused(tmp_path, speech_models):
    picture = str(save(tmp_path / "vit", *VISUAL["vit"]))
    with pytest.raises(
        EncoderError, match=r"vit \(a vit model\) takes pixel_values, not input_values or input_features"
    ):
        make_encoder("speech", picture)
    with pytest.raises(EncoderError, match=r"\(a wav2vec2 model\) takes input_values, not pixel_values"):
        make_encoder("visual", str(speech_models["wav2vec2-base"]))
    with pytest.raises(EncoderError, match="comes without the files of its tokenizer"):
        make_encoder("text", str(save(tmp_path / "bert", *TEXT["bert"])))
    with pytest.raises(EncoderError, match="no folder '/no/such/folder', and a hub id looks like"):
        make_encoder("speech", "/no/such/folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        make_encoder("speech", str(tmp_path / "empty"))


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    folder = save_text(tmp_path / "bert", "Bert", {**TEXT["bert"][1], "vocab_size": 100})
    with pytest.raises(EncoderError, match="The tokenizer of bert has 260 tokens and the model 100"):
        make_encoder("text", str(folder))


def test_weights_of_another_architecture_are_refused_not_drawn_at_random(tmp_path, speech_models):
    folder = save(tmp_path / "mixed", *SPEECH["wavlm"])
    (folder / "model.safetensors").write_bytes((speech_models["hubert"] / "model.safetensors").read_bytes())
    with pytest.raises(EncoderError, match=r"lack .*, which would be random"):
        make_encoder("speech", str(folder)).to("cpu")


def test_weights_of_other_shapes_than_the_configuration_says_are_refused(tmp_path):
    folder = save(tmp_path / "vit", *VISUAL["vit"])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 7}))
    with pytest.raises(EncoderError, match=r"weights of vit have other shapes than its config.json says \(.* more \("):
        make_encoder("visual", str(folder)).to("cpu")


def test_a_clip_is_encoded_as_if_it_were_the_whole_file(tmp_path):
    encoder = make_encoder("speech", "tiny").to("cpu")
    path = tone(tmp_path / "a.wav", 2.0)
    samples, rate = soundfile.read(path)
    soundfile.write(tmp_path / "cut.wav", samples[8000:24000], rate)
    cut = frames_of(encoder, EncodeJob("u", "", path=tmp_path / "cut.wav"))
    clip = frames_of(encoder, EncodeJob("u", "", path=path, clip=Clip("a.wav", 0.5, 1.5)))
    assert relative_difference(clip, cut) < 1e-3


@pytest.mark.parametrize(("length", "window", "context"), [(1, 8, 2), (8, 8, 2), (9, 8, 2), (100, 8, 3), (23, 10, 0)])
def test_windows_tile_the_whole_with_context_on_both_sides(length, window, context):
    positions = []
    for begin, end, keep in piece_windows(length, window, context):
        assert end - begin <= window
        assert begin == 0 or keep.start >= context
        assert end == length or end - begin - keep.stop >= context
        positions += range(begin + keep.start, begin + keep.stop)
    assert positions == list(range(length))


def test_a_window_narrower_than_its_context_is_refused():
    with pytest.raises(EncoderError, match="no room for 4 of context"):
        list(piece_windows(100, 8, 4))


def test_pooling_averages_neighbours():
    frames = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.testing.assert_array_equal(pool(frames, "none"), frames)
    np.testing.assert_array_equal(pool(frames, "2"), [[1, 2], [5, 6], [8, 9]])
    np.testing.assert_array_equal(pool(frames, "9"), [[4, 5]])
    np.testing.assert_array_equal(pool(frames, "utterance"), [[4, 5]])


def test_layers_are_counted_from_either_end(speech_models, sounds):
    first, second = (
        make_encoder("speech", str(speech_models["hubert"]), layers=layers).to("cpu") for layers in ((2, 3), (-2, -1))
    )
    np.testing.assert_array_equal(frames_of(first, sounds[1]), frames_of(second, sounds[1]))


def test_pretrained_speech_is_the_mean_of_its_layers_by_default_and_tiny_its_last(speech_models):
    assert make_encoder("speech", str(speech_models["hubert"])).spec.layers == "mean"
    assert make_encoder("speech", "tiny").spec.layers == (-1,)
    assert make_encoder("text", "tiny").spec.layers == (-1,)


@pytest.mark.parametrize(("layers", "rate"), [((-1,), 6.25), ("mean", 50.0), ((1, 3), 50.0)])
def test_frames_behind_an_adapter_have_their_own_rate(tmp_path, layers, rate):
    folder = save(tmp_path / "adapter", "Wav2Vec2", {**SPEECH["wav2vec2-base"][1], "add_adapter": True})
    encoder = make_encoder("speech", str(folder), layers=layers, window_s=6.0).to("cpu")
    job = EncodeJob("u", "", path=tone(tmp_path / "a.wav", 8.0), duration_s=8.0)
    assert len(list(encoder.pieces(job))) == 2
    assert encoder.header.frame_rate_hz == rate
    assert len(frames_of(encoder, job)) == pytest.approx(8.0 * rate, abs=1)


@pytest.mark.parametrize("nested", [False, True])
def test_log_mel_frames_are_those_of_transformers(tmp_path, nested):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    folder = save(tmp_path / "w2v-bert", "Wav2Vec2Bert", sizes)
    transformers.SeamlessM4TFeatureExtractor().save_pretrained(folder)
    if nested:  # as a processor of transformers 5 saves it
        settings = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}))
    encoder = make_encoder("speech", str(folder)).to("cpu")
    (samples,) = encoder._stream(job := EncodeJob("u", "", path=tone(tmp_path / "a.wav", 1.375), duration_s=1.375))
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    if nested:
        (folder / "preprocessor_config.json").unlink()
        assert make_encoder("speech", str(folder)).header.dim == encoder.header.dim
    expected = extractor(samples, sampling_rate=16000, return_tensors="np")
    (piece,) = encoder.pieces(job)
    np.testing.assert_allclose(piece.values, expected.input_features[0][expected.attention_mask[0] == 1], atol=1e-4)
    assert frames_of(encoder, job).shape == (len(piece.values), encoder.header.dim) == (68, 32)
    blocks = np.array_split(samples, 7)
    np.testing.assert_allclose(encoder._log_mel(iter(blocks)), piece.values, atol=1e-4)


def test_a_decoder_without_a_padding_token_encodes_in_batches(tmp_path):
    sizes = {**TEXT["bert"][1], "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 0, "eos_token_id": 2}
    folder = save_text(tmp_path / "llama", "Llama", sizes)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": None}))
    encoder = make_encoder("text", str(folder)).to("cpu")
    assert encoder._exact_together
    pieces = [next(encoder.pieces(EncodeJob("", "", text=text))) for text in ("No.", "Why would anyone say so?")]
    for one, piece in zip(encoder.encode(pieces), pieces, strict=True):
        assert relative_difference(one, encoder.encode([piece])[0]) < 1e-4


def test_places_that_padding_takes_are_no_room_for_tokens(tmp_path):
    encoder = make_encoder("text", str(save_text(tmp_path / "mpnet", "MPNet", TEXT["bert"][1]))).to("cpu")
    assert encoder.spec.window_tokens == 64
    assert frames_of(encoder, EncodeJob("u", "", text="a" * 500)).shape == (500, 32)


def test_pictures_without_a_class_token_are_the_mean_of_their_patches(tmp_path):
    folder = save(tmp_path / "ijepa", "IJepa", VISUAL["vit"][1])
    encoder = make_encoder("visual", str(folder)).to("cpu")
    (piece,) = encoder.pieces(EncodeJob("u", "", path=video(tmp_path / "1.mp4", [30, 90])))
    pixels = torch.from_numpy(piece.values).float().permute(0, 3, 1, 2) / 255 * 2 - 1
    with torch.inference_mode():
        expected = transformers.IJepaModel.from_pretrained(folder).eval()(pixels).last_hidden_state.mean(1).numpy()
    assert relative_difference(encoder.encode([piece])[0], expected) < 1e-5
    assert encoder.spec.framing["vector"] == "mean"


def test_a_model_of_clips_gives_a_frame_for_each_clip(tmp_path):
    folder = save(tmp_path / "videomae", "VideoMAE", {**VISUAL["vit"][1], "num_frames": 4})
    encoder = make_encoder("visual", str(folder), frame_rate_hz=10.0).to("cpu")
    pieces = list(encoder.pieces(EncodeJob("u", "", path=video(tmp_path / "1.mp4", list(range(0, 100, 10))))))
    assert [len(piece.values) for piece in pieces] == [4, 4, 4]
    np.testing.assert_array_equal(pieces[-1].values[1], pieces[-1].values[-1])  # filled up
    assert [frames.shape for frames in encoder.encode(pieces)] == [(1, 32)] * 3
    assert encoder.header.frame_rate_hz == 2.5


def test_a_model_that_gives_other_frames_each_time_is_refused():
    draw = np.random.default_rng(0)
    piece = Window(np.zeros(3), slice(0, 3), 3)
    with pytest.raises(EncoderError, match="random one gives other frames each time"):
        check_repeatable(lambda pieces: [draw.normal(size=(3, 4)) for _ in pieces], piece, "float32", "random one")


def test_frames_that_a_batch_changes_are_seen():
    pieces = [Window(np.arange(length, dtype=float), slice(0, length), length) for length in (2, 5)]

    def alone(batch):
        return [piece.values[:, None] + 1 for piece in batch]

    def padded(batch):
        return [frames + len(batch) / 100 for frames in alone(batch)]

    assert exact_together(alone, pieces, "float32")
    assert not exact_together(padded, pieces, "float32")
    assert exact_together(padded, pieces, "bfloat16")


def test_rounding_is_no_change_where_frames_hardly_lie_apart():
    pieces = [Window(np.zeros(length), slice(0, length), length) for length in (2, 5)]

    def changed_by(part):
        return lambda batch: [np.ones((len(piece.values), 4)) * (1 + part * len(batch)) for piece in batch]

    assert exact_together(changed_by(1e-6), pieces, "float32")
    assert not exact_together(changed_by(1e-4), pieces, "float32")
