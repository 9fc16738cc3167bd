"""A pytorch_model.bin gives the tensors that torch.save put into it, and runs nothing."""

import json
import pickle
import shutil
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
import transformers
from made_media import tone
from made_models import SPEECH, Hostile, save
from test_transcribe import save_ctc, save_whisper

from gia_mic.extract.encoders.checkpoint import DTYPES, read_checkpoint
from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.encoders.recogniser import make_recogniser
from gia_mic.extract.errors import EncoderError

STATE = OrderedDict(
    weight=torch.arange(12.0).view(3, 4),
    turned=torch.arange(6).view(2, 3).t(),
    part=torch.arange(20, dtype=torch.float16)[5:9],
    half=torch.ones(3, dtype=torch.bfloat16),
    count=torch.tensor(7),
    mask=torch.tensor([True, False]),
    nothing=torch.empty(0),
    parameter=torch.nn.Parameter(torch.full((2,), 0.5)),
)
STATE["tied"] = STATE["weight"]


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_out_as_they_went_in(tmp_path, zipped):
    torch.save(STATE, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    tensors = read_checkpoint(tmp_path / "pytorch_model.bin")
    assert list(tensors) == list(STATE)
    for name, tensor in STATE.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert tensors["tied"].data_ptr() == tensors["weight"].data_ptr()


def test_every_kind_of_storage_is_known(tmp_path):
    state = {str(dtype): torch.zeros(2, dtype=dtype) for dtype in DTYPES.values()}
    torch.save(state, tmp_path / "a.bin")
    assert {name: tensor.dtype for name, tensor in read_checkpoint(tmp_path / "a.bin").items()} == {
        name: tensor.dtype for name, tensor in state.items()
    }
    assert len(state) == 10


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_write_a_file_is_refused_and_writes_none(tmp_path, zipped):
    trap = tmp_path / "trap"
    state = {"weight": torch.ones(2), "more": Hostile(trap)}
    torch.save(state, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        EncoderError, match=r"a.bin is refused: .* it asks for io.open, and loading it could run anything"
    ):
        read_checkpoint(tmp_path / "a.bin")
    assert not trap.exists()
    torch.load(tmp_path / "a.bin", weights_only=False)["more"].close()
    assert trap.exists()  # the trap would have worked


def rewritten(path, change):
    """Change the pickle inside a zipped checkpoint."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return path


def test_what_is_no_flat_table_of_tensors_is_refused(tmp_path):
    for number, value in enumerate([{"a": {"b": torch.ones(1)}}, {"a": 3}, [torch.ones(1)], torch.ones(1)]):
        torch.save(value, tmp_path / f"{number}.bin")
        with pytest.raises(EncoderError, match="it holds other things than one table of tensors"):
            read_checkpoint(tmp_path / f"{number}.bin")


def test_what_reaches_beyond_the_file_is_refused(tmp_path):
    torch.save({"a": torch.ones(7)}, tmp_path / "a.bin")
    number = pickle.dumps(7, 2)[2:-1]  # K\x07
    for wrong in (b"K\xff", b"J\xff\xff\xff\xff"):  # 255, and -1
        path = rewritten(shutil.copy(tmp_path / "a.bin", tmp_path / "b.bin"), lambda d, to=wrong: d.replace(number, to))
        with pytest.raises(EncoderError, match="is no readable checkpoint of PyTorch"):
            read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04 and so on"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(EncoderError, match=r"a.bin is no readable checkpoint of PyTorch .*: remove it and fetch it"):
        read_checkpoint(tmp_path / "a.bin")


def test_a_zip_archive_that_was_cut_off_is_named(tmp_path):
    torch.save({"a": torch.ones(1000)}, tmp_path / "a.bin")
    whole = (tmp_path / "a.bin").read_bytes()
    (tmp_path / "a.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match=r"a.bin is no readable .* \(the end of its zip archive is missing\)"):
        read_checkpoint(tmp_path / "a.bin")


def test_parts_are_put_together_and_none_is_read_from_elsewhere(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(1)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    names = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    index.write_text(json.dumps({"weight_map": names}))
    assert read_checkpoint(index) == {"a": torch.ones(1), "b": torch.zeros(1)}
    index.write_text(json.dumps({"weight_map": {"a": "../pytorch_model.bin"}}))
    with pytest.raises(EncoderError, match=r"index.json is no index of weights \(it names files in other folders\)"):
        read_checkpoint(index)


@pytest.mark.parametrize("name", ["hubert", "whisper"])
def test_an_encoder_of_a_local_bin_gives_what_transformers_gives(tmp_path, name):
    folder = save(tmp_path / name, *SPEECH[name])
    job = EncodeJob("u", "", path=tone(tmp_path / "a.wav", 0.5), duration_s=0.5)
    frames = []
    for _ in range(2):
        encoder = make_encoder("speech", str(folder)).to("cpu")
        frames.append(np.concatenate(encoder.encode(list(encoder.pieces(job)))))
        if encoder.spec.weights_file is None:
            torch.save(transformers.AutoModel.from_pretrained(folder).state_dict(), folder / "pytorch_model.bin")
            (folder / "model.safetensors").unlink()
    assert encoder.spec.weights_file == "pytorch_model.bin"
    np.testing.assert_array_equal(*frames)


@pytest.mark.parametrize(("save_recogniser", "kind"), [(save_ctc, "ForCTC"), (save_whisper, "Whisper")])
def test_a_recogniser_of_a_local_bin_hears_the_same(tmp_path, save_recogniser, kind):
    folder = save_recogniser(tmp_path / "recogniser")
    job = EncodeJob("u", "", path=tone(tmp_path / "a.wav", 0.5), duration_s=0.5)
    tokens = []
    for _ in range(2):
        recogniser = make_recogniser(str(folder))
        assert kind in recogniser.kinds[0]
        recogniser.to("cpu")
        tokens.append(np.concatenate(recogniser.encode(list(recogniser.pieces(job)))))
        if recogniser.spec.weights_file is None:
            model = getattr(transformers, recogniser.kinds[0]).from_pretrained(folder)
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
            (folder / "model.safetensors").unlink()
    np.testing.assert_array_equal(*tokens)
