import numpy as np
import pytest
from made_recordings import TINY_SPEECH, content, make_corpus

from gia_mic.extract.errors import CorpusError, StoreError
from gia_mic.extract.plan import Shard
from gia_mic.extract.run import extract
from gia_mic.extract.store import open_store


@pytest.mark.parametrize(("total", "count"), [(10, 3), (2, 5), (7, 7)])
def test_shards_share_every_utterance_out_once(total, count):
    rows = [row for number in range(count) for row in range(total)[Shard(number + 1, count).rows(total)]]
    assert rows == list(range(total))


def test_there_is_no_shard_beyond_the_last():
    with pytest.raises(CorpusError, match="no shard 4/3: of 3, they are numbered from 1 to 3"):
        Shard(4, 3)


def test_shards_give_what_one_run_gives(tmp_path, caplog):
    corpus = make_corpus(tmp_path)
    (tmp_path / "corpus" / "u000.wav").write_text("no sound")
    path = extract(corpus, TINY_SPEECH, quiet=True).path
    ids, offsets, _, status = content(path)
    whole = np.array(open_store(path).values, np.float32)
    path.unlink()
    caplog.set_level("INFO", "gia_mic")
    for number in (2, 3, 1):
        assert not path.exists()
        extract(corpus, TINY_SPEECH, shard=Shard(number, 3), quiet=True)
    assert caplog.messages[0].startswith("Shard 2/3 is done; once all are, `mer extract --finish` puts")
    result = extract(corpus, TINY_SPEECH, finish=True)
    assert (result.extracted, result.reused, list(result.failed)) == (0, 10, ["u000"])
    assert content(path)[:2] == (ids, offsets)
    assert content(path)[3] == status
    np.testing.assert_allclose(open_store(path).values.astype(np.float32), whole, atol=2e-3)
    assert not path.with_suffix(".parts").exists()


def test_a_shard_that_ran_before_has_nothing_to_do(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    extract(corpus, TINY_SPEECH, shard=Shard(1, 2), quiet=True)
    monkeypatch.setattr(
        "gia_mic.extract.encoders.speech.SpeechEncoder.encode", lambda *_: pytest.fail("nothing is left to encode")
    )
    assert extract(corpus, TINY_SPEECH, shard=Shard(1, 2), quiet=True).extracted == 0


def test_nothing_is_finished_before_all_shards_are(tmp_path):
    corpus = make_corpus(tmp_path)
    extract(corpus, TINY_SPEECH, shard=Shard(1, 2), quiet=True)
    with pytest.raises(StoreError, match="can't be finished: no shard has extracted u006, u007"):
        extract(corpus, TINY_SPEECH, finish=True)
    assert not list(corpus.folder.glob("speech/*.h5"))


def test_the_command_line_takes_shards(tmp_path, mer):
    make_corpus(tmp_path, count=4)
    command = ["extract", "--modality", "text", "--encoder", "tiny", "--features", str(tmp_path / "features")]
    for more in (["--shard", "1/2"], ["--shard", "2/2"], ["--finish"]):
        answer = mer(*command, *more)
        assert answer.exit_code == 0, answer.output
    assert "4 reused" in answer.output
    assert "no share such as 1/8" in mer(*command, "--shard", "3/2").output


@pytest.mark.parametrize("command", [["extract", "--modality", "text", "--encoder", "tiny"], ["fuse-train"], ["tune"]])
def test_without_ray_the_option_says_what_to_install(tmp_path, monkeypatch, command, mer):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    make_corpus(tmp_path, count=4)
    features = tmp_path / "features"
    if command[0] != "extract":
        mer("extract", "--modality", "text", "--encoder", "tiny", "--features", str(features))
    answer = mer(*command, "--engine", "ray", "--features", str(features))
    assert answer.exit_code == 1
    assert "needs Ray, which isn't installed: run `pip install 'gia-mic[ray]'`" in answer.output
