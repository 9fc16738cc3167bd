import numpy as np
import pytest
import torch
from made_features import CLASSES, make_corpus, make_stores, utterances

from gia_mic.extract.errors import RunError, StoreError
from gia_mic.extract.store import Header, Item, Store, open_store, write_store
from gia_mic.fuse import packed as packed_frames
from gia_mic.fuse.data import epoch, find_stores, read_data, sorted_batches
from gia_mic.fuse.packed import Bfloat16Frames, FileFrames, PackedFrames, average


def data_of(corpus, paths):
    return read_data(corpus, {name: open_store(path) for name, path in paths.items()})


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path)


@pytest.fixture
def opened(corpus):
    """Feature files of which some utterances lack speech or text, with 50 frames of speech per second."""
    missing = {"speech": ["u000", "u040", "u079"], "text": ["u005"]}
    return {name: open_store(path) for name, path in make_stores(corpus, missing=missing, speech_hz=50).items()}


def means(frames, group):
    parts = [frames[first : first + group].astype(np.float64).mean(0) for first in range(0, len(frames), group)]
    return np.array(parts).reshape(-1, frames.shape[1])


def test_a_batch_holds_each_utterances_own_frames_padded_to_the_longest(corpus):
    paths = make_stores(corpus, missing={"text": ["u005"]})
    data = data_of(corpus, paths)
    rows = torch.tensor([7, 5, 40])
    for name, padded in data.batch(rows).items():
        opened = open_store(paths[name])
        lengths = [len(opened.frames(f"u{row:03d}")) for row in rows]
        assert padded.mask.sum(1).tolist() == lengths
        assert padded.mask.shape[1] == max(lengths)
        for row, frames, length in zip(rows.tolist(), padded.values, lengths, strict=True):
            np.testing.assert_array_equal(frames[:length].numpy(), opened.frames(f"u{row:03d}"))
    assert data.batch(rows)["text"].present.tolist() == [True, False, True]


@pytest.mark.parametrize("rate_hz", [0, 17])
def test_a_rounded_batch_holds_the_same_frames_without_their_origin_padded_to_few_lengths(corpus, opened, rate_hz):
    data = read_data(corpus, opened, rounded=True, speech_rate_hz=rate_hz)
    plain_data = read_data(corpus, opened, speech_rate_hz=rate_hz)
    rows, lengths = torch.arange(80), set()
    for some in (rows, rows[:3], rows[5:6]):
        plain = plain_data.batch(some)
        for name, padded in data.batch(some, for_bfloat16=True).items():
            values, mask = plain[name]
            longest = mask.shape[1]
            assert longest <= padded.mask.shape[1] <= longest * 1.25
            assert torch.equal(padded.mask[:, :longest], mask)
            assert not padded.mask[:, longest:].any()
            expected = (values.float() - data.modalities[name].rounded.origin).bfloat16()
            assert torch.equal(padded.values[:, :longest][mask], expected[mask])
            again = data.batch(some)[name]
            assert torch.equal(again.values[again.mask], values[mask])
    for count in range(1, 1000):
        one = PackedFrames(torch.zeros(1000, 1), torch.zeros(1, dtype=torch.int64), torch.tensor([count]))
        lengths.add(one.gather(rows[:1], for_bfloat16=True).mask.shape[1])
    assert lengths > {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20}
    assert len(lengths) == 8 + 4 * 7


def test_frames_beyond_the_bound_are_not_rounded(corpus):
    opened = {name: open_store(path) for name, path in make_stores(corpus).items()}
    data = read_data(corpus, opened, rounded=True, memory_gib=0.0)
    assert all(packed.rounded is None for packed in data.modalities.values())
    assert data.batch(torch.arange(5), for_bfloat16=True)["speech"].values.dtype == torch.float16


def test_the_origin_is_about_the_median_of_however_many_frames_there_are():
    for count in (1, 1000, 2**17 + 3):
        values = 300 + torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
        rounded = Bfloat16Frames.of(values)
        torch.testing.assert_close(rounded.origin, values.median(0).values, atol=0.1, rtol=0)
        torch.testing.assert_close(rounded.values.float() + rounded.origin, values, atol=0.02, rtol=0)


def test_features_are_aligned_by_id_and_not_by_row(corpus, tmp_path):
    paths = make_stores(corpus)
    backwards = make_corpus(tmp_path, utterances()[::-1], "backwards")
    data, again = data_of(corpus, paths), data_of(backwards, paths)
    for number in (0, 17, 79):
        one, other = data.batch(torch.tensor([number])), again.batch(torch.tensor([79 - number]))
        for name in one:
            assert torch.equal(one[name].values, other[name].values)
    assert (data.values[17] == again.values[62]).all()


@pytest.mark.parametrize("block", [1, 7, 2**12])
@pytest.mark.parametrize("rate_hz", [0, 17])
def test_frames_that_stay_in_their_file_are_the_same(corpus, opened, rate_hz, block, monkeypatch):
    whole = read_data(corpus, opened, speech_rate_hz=rate_hz)
    monkeypatch.setattr(packed_frames, "BLOCK_FRAMES", block)
    filed = read_data(corpus, opened, memory_gib=0, speech_rate_hz=rate_hz)
    assert whole.size == filed.size
    assert all(isinstance(packed.values, FileFrames) for packed in filed.modalities.values())
    rows = torch.tensor([7, 5, -1, 40])
    for name, padded in filed.batch(rows).items():
        expected = whole.batch(rows)[name]
        assert torch.equal(padded.mask, expected.mask)
        assert torch.equal(padded.values[padded.mask], expected.values[expected.mask])
        assert not padded.values[~padded.mask].any()
        for one, other in zip(
            *(data.modalities[name].statistics(np.arange(80)) for data in (whole, filed)), strict=True
        ):
            assert torch.equal(one, other)


def test_a_speech_rate_averages_neighbours_of_speech_alone_and_what_is_left_of_them(corpus, opened):
    data = read_data(corpus, opened, speech_rate_hz=12)
    batch = data.batch(torch.arange(80))
    lengths = [opened["speech"].length(name) for name in corpus.ids]
    assert {length % 4 for length in lengths} == {0, 1, 2, 3}
    assert batch["speech"].values.dtype == torch.float16
    assert batch["speech"].mask.sum(1).tolist() == [-(-length // 4) for length in lengths]
    averaged = [means(opened["speech"].frames(name), 4) for name in corpus.ids]
    for row, (values, mask) in enumerate(zip(*batch["speech"], strict=True)):
        np.testing.assert_allclose(values[mask], averaged[row], rtol=2**-10)
        text, there = (tensor[row] for tensor in batch["text"])
        np.testing.assert_array_equal(text[there], opened["text"].frames(corpus.ids[row]))
    mean, deviation = data.modalities["speech"].statistics(np.arange(80))
    np.testing.assert_allclose(mean, np.concatenate(averaged).mean(0), rtol=1e-3)
    np.testing.assert_allclose(deviation, np.concatenate(averaged).std(0), rtol=1e-3)


@pytest.mark.parametrize(("speech_hz", "rate_hz"), [(None, 12), (2, 12), (12.5, 12), (50, 50), (50, 0)])
def test_speech_of_few_frames_or_without_a_frame_rate_stays_as_it_is(corpus, speech_hz, rate_hz):
    opened = {name: open_store(path) for name, path in make_stores(corpus, speech_hz=speech_hz).items()}
    data = read_data(corpus, opened, speech_rate_hz=rate_hz)
    np.testing.assert_array_equal(data.modalities["speech"].values, opened["speech"].values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_means_are_of_each_utterance_by_itself_and_do_not_overflow(dtype):
    frames = torch.full((7, 2), 60000, dtype=dtype)
    frames[3:] = torch.arange(4, dtype=dtype).unsqueeze(1)
    values, lengths = average(frames, np.array([0, 3, 0, 4, 0]), 4)
    assert values.dtype == dtype
    assert values.tolist() == [[60000, 60000], [1.5, 1.5]]
    assert lengths.tolist() == [0, 1, 0, 1, 0]


def test_averaged_frames_fit_into_less_memory_and_are_read_a_block_after_the_other(corpus, opened, monkeypatch):
    most, fill = [], Store.fill

    def watch(store, spans):
        spans = list(spans)
        most.append(max(len(frames) for _, frames in spans))
        fill(store, spans)

    speech = {"speech": opened["speech"]}
    size = read_data(corpus, speech, speech_rate_hz=12).size
    assert size < opened["speech"].nbytes / 3
    monkeypatch.setattr(Store, "fill", watch)
    monkeypatch.setattr(packed_frames, "BLOCK_FRAMES", 32)
    for bound, kind in [(size, torch.Tensor), (size - 1, FileFrames)]:
        data = read_data(corpus, speech, memory_gib=bound / 2**30, speech_rate_hz=12)
        assert isinstance(data.modalities["speech"].values, kind)
    assert len(most) > 2 * opened["speech"].shape[0] // 32
    assert max(most) <= 32


def test_nobody_is_an_utterance_without_frames(corpus):
    batch = data_of(corpus, make_stores(corpus)).batch(torch.tensor([3, -1]))
    assert all(padded.present.tolist() == [True, False] for padded in batch.values())


def test_a_modality_missing_from_all_is_one_padding_frame(corpus):
    data = data_of(corpus, make_stores(corpus, missing={"visual": corpus.ids}))
    padded = data.batch(torch.tensor([0, 1]))["visual"]
    assert padded.values.shape == (2, 1, 4)
    assert not padded.mask.any()
    mean, deviation = data.modalities["visual"].statistics(np.arange(80))
    assert mean.abs().sum() == 0
    assert deviation.tolist() == [1] * 4


def test_statistics_are_those_of_the_given_utterances_alone(corpus):
    paths = make_stores(corpus)
    data = data_of(corpus, paths)
    opened = open_store(paths["speech"])
    rows = np.arange(0, 80, 3)
    frames = np.concatenate([opened.frames(f"u{row:03d}") for row in rows]).astype(np.float64)
    mean, deviation = data.modalities["speech"].statistics(rows)
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, frames.std(0), rtol=1e-5)


def test_statistics_survive_a_mean_far_from_zero():
    values = 1000 + torch.randn(5001, 3, generator=torch.Generator().manual_seed(0))
    lengths = torch.full((500,), 10)
    packed = PackedFrames(values, torch.arange(0, 5000, 10), lengths)
    mean, deviation = packed.statistics(np.arange(500))
    np.testing.assert_allclose(mean, values[:5000].double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, values[:5000].double().std(0, correction=0), rtol=1e-3)


def test_an_epoch_visits_everybody_once_in_batches_of_like_length():
    random = np.random.default_rng(0)
    costs = random.integers(1, 500, 1000)
    rows = np.flatnonzero(costs < 450)
    generator = torch.Generator().manual_seed(0)
    batches = epoch(rows, costs, 30, generator)
    assert sorted(np.concatenate(batches)) == sorted(rows)
    assert {len(batch) for batch in batches} <= {len(rows) // 30, len(rows) // 30 + 1}
    padded = sum(costs[batch].max() * len(batch) for batch in batches)
    assert padded < 1.2 * costs[rows].sum()
    again = epoch(rows, costs, 30, torch.Generator().manual_seed(0))
    assert all((one == other).all() for one, other in zip(batches, again, strict=True))
    later = epoch(rows, costs, 30, generator)
    assert not any(set(one) == set(other) for one in batches for other in later)


def test_evaluation_batches_hold_everybody_once_longest_first():
    costs = np.array([3, 9, 1, 7, 5])
    assert [batch.tolist() for batch in sorted_batches(np.arange(5), costs, 2)] == [[1, 3], [4, 0], [2]]


def test_frames_that_are_no_numbers_are_refused(corpus):
    path = corpus.folder / "speech" / "tiny-9.h5"
    items = [Item(name, "", np.full((2, 3), np.nan if name == "u004" else 1, dtype=np.float16)) for name in corpus.ids]
    write_store(path, Header("speech", "tiny", "9", {}, 3), items)
    with pytest.raises(RunError, match="no finite numbers, in u004: extract them again in float32"):
        data_of(corpus, {"speech": path})


def test_a_file_that_lacks_utterances_is_refused(corpus, tmp_path):
    paths = make_stores(corpus)
    grown = make_corpus(tmp_path, utterances(84), "grown")
    with pytest.raises(StoreError, match="has no row for u080"):
        data_of(grown, paths)


def test_feature_files_are_found_by_letter_and_encoder(corpus):
    paths = make_stores(corpus)
    assert find_stores(corpus) == paths
    assert list(find_stores(corpus, "v,s")) == ["speech", "visual"]
    other = corpus.folder / "text" / "bert-1.h5"
    write_store(other, Header("text", "bert", "1", {}, 3), [Item("u000", "", np.ones((1, 3)))])
    with pytest.raises(StoreError, match="choose one with --encoder"):
        find_stores(corpus, "t")
    assert find_stores(corpus, "st", ["bert"]) == {"speech": paths["speech"], "text": other}
    with pytest.raises(RunError, match="For text several encoders are named"):
        find_stores(corpus, "t", ["bert", "tiny"])
    with pytest.raises(RunError, match="No feature file is of the encoder wavlm"):
        find_stores(corpus, "s", ["wavlm"])
    with pytest.raises(RunError, match="'x' doesn't name modalities"):
        find_stores(corpus, "x")
    paths["visual"].unlink()
    with pytest.raises(RunError, match="run `mer extract --corpus toy --modality visual`"):
        find_stores(corpus, "v")


def test_no_features_at_all_say_how_to_make_them(corpus):
    with pytest.raises(RunError, match="run `mer extract --corpus toy --modality all`"):
        find_stores(corpus)
    assert corpus.classes == CLASSES
