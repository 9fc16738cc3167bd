"""Turns IEMOCAP's raw release into utterances.

About 12 hours of ten actors in five sessions of two, scripted and improvised; 10,039 turns, each judged by several
people. Four classes, with excitement merged into happiness: angry 1103, happy 1636, neutral 1708, sad 1084, in all
5,531; by session 1085, 1023, 1151, 1031, 1241. With frustration (1849) five classes and 7,380 turns; six where
excitement (1041) stays apart from happiness (595). Improvised turns of four classes: 289, 947, 1099, 608.

Valence, arousal and dominance are means on a scale of 1 to 5. Means outside it are kept, and the score's range is as
wide as they need. Votes are those of the external evaluators on the chosen classes: one who names happiness and
excitement counts once where these are one class. A turn whose evaluators chose other emotions alone has no votes.

Licence: for research, after signing a release form; https://sail.usc.edu/iemocap/ (Busso et al., 2008).

In `IEMOCAP_full_release/Session<n>/`:

    dialog/EmoEvaluation/<dialog>.txt, dialog/transcriptions/<dialog>.txt    as `iemocap_dialog` says
    dialog/avi/DivX/<dialog>.avi         both actors side by side
    sentences/wav/<dialog>/<turn>.wav

A turn's video is its time in the dialog's, and the half in which its speaker sits: the left one if the actor with
the motion-capture markers (sixth letter of the id) is the one who speaks (fourth from the end).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from gia_mic.extract.corpora.iemocap_dialog import Turn, outside_scale, read_transcript, read_turns, score_ranges
from gia_mic.extract.corpora.release import ALL, CorpusInfo, ReleaseContents
from gia_mic.extract.corpus import Clip, Utterance, inside
from gia_mic.extract.errors import CorpusError, one_line

__all__ = ["INFO", "read_release"]

INFO = CorpusInfo(
    title="IEMOCAP: dyadic acted conversations, scripted and improvised (English)",
    utterances=10_039,
    classes=("angry", "happy", "neutral", "sad", "excited", "frustrated"),
    holds=("audio", "text", "video"),
    folds="session",
    licence="research only, after a signed form",
    source="https://sail.usc.edu/iemocap/iemocap_release.htm",
)

_NAMES = {"ang": "angry", "exc": "excited", "fru": "frustrated", "hap": "happy", "neu": "neutral", "sad": "sad"}
_COUNTS = {  # turns of each label by session 1 to 5
    "ang": (229, 137, 240, 327, 170),
    "exc": (143, 210, 151, 238, 299),
    "fru": (280, 325, 382, 481, 381),
    "hap": (135, 117, 135, 65, 143),
    "neu": (384, 362, 320, 258, 384),
    "sad": (194, 197, 305, 143, 245),
}
_IMPROVISED = {"ang": 289, "exc": 663, "hap": 284, "neu": 1099, "sad": 608}
_TAG = re.compile(r"\[[A-Za-z_ ]+\]")
_SAME_TIME_S = 0.05


def read_release(
    path: Path, *, labels: int = 4, improvised_only: bool = False, all_turns: bool = False, keep_tags: bool = False
) -> ReleaseContents:
    """Read the release.

    Args:
        path: The folder that holds Session1 to Session5.
        labels: 4 (angry, happy with excited, neutral, sad), 5 (and frustrated) or 6 (excited apart).
        improvised_only: Leave the scripted dialogs out.
        all_turns: Keep the turns without one of these labels, for their scores and votes.
        keep_tags: Keep tags such as [LAUGHTER] in the text.

    Raises:
        CorpusError: There are no evaluation files, a turn is evaluated twice, a file links out of the folder, or no
            such set of labels exists.
    """
    if labels not in (4, 5, 6):
        raise CorpusError(f"There is no set of {labels} labels for IEMOCAP: choose 4, 5 or 6.")
    names = dict(_NAMES) if labels == 6 else {**_NAMES, "exc": "happy"}
    if labels == 4:
        del names["fru"]
    which = "Ses*impro*.txt" if improvised_only else "Ses*.txt"
    evaluations = sorted(path.glob(f"Session[1-5]/dialog/EmoEvaluation/{which}"))
    if not evaluations:
        raise CorpusError(
            f"{path} has no Session1/dialog/EmoEvaluation/Ses*.txt: give the folder IEMOCAP_full_release itself."
        )
    odd: dict[str, list[str]] = defaultdict(list)
    if absent := [f"Session{number}" for number in range(1, 6) if not (path / f"Session{number}").is_dir()]:
        odd["sessions that are not there"] = absent
    turns: list[Turn] = []
    utterances: list[Utterance] = []
    for file in evaluations:
        judged = [turn for turn in read_turns(file) if turn.label in names or (all_turns and turn.scores)]
        turns += judged
        utterances += _dialog(path, file, judged, names, keep_tags, odd)
    odd["turns with a mean outside 1 to 5, kept as it is"] = outside_scale(turns)
    if twice := [turn for turn, count in Counter(utterance.id for utterance in utterances).items() if count > 1]:
        raise CorpusError(f"{path} evaluates turns twice: {one_line(twice)}; unpack the release again.")
    expected: Counter[tuple[str, str]] = Counter()
    for label, name in names.items():
        sessions = {f"Ses{number:02d}": count for number, count in enumerate(_COUNTS[label], start=1)}
        published = {ALL: _IMPROVISED.get(label, 0)} if improvised_only else sessions
        expected.update({(group, name): count for group, count in published.items() if count})
    by = ALL if improvised_only else "session"
    classes = sorted(set(names.values()))
    return ReleaseContents(utterances, classes, expected, by, odd, score_ranges=score_ranges(turns))


def _dialog(
    path: Path, evaluation: Path, turns: list[Turn], names: dict[str, str], keep_tags: bool, odd: dict[str, list[str]]
) -> Iterator[Utterance]:
    dialog, session = evaluation.stem, evaluation.parents[2]
    transcript = session / "dialog" / "transcriptions" / f"{dialog}.txt"
    texts = read_transcript(transcript) if transcript.is_file() else {}
    if not transcript.is_file():
        odd["transcripts that are not there"].append(transcript.name)
    film = _there(path, session / "dialog" / "avi" / "DivX" / f"{dialog}.avi")
    if film is None:
        odd["dialogs without video"].append(dialog)
    for turn in turns:
        text, text_start_s, text_end_s = texts.get(turn.id, (None, turn.start_s, turn.end_s))
        if text is None:
            odd["turns without a transcript"].append(turn.id)
        elif max(abs(text_start_s - turn.start_s), abs(text_end_s - turn.end_s)) > _SAME_TIME_S:
            odd["turns with another time in the transcript (the evaluation's is taken)"].append(turn.id)
        if text is not None and not keep_tags:
            text = " ".join(_TAG.sub(" ", text).split())
        sound = _there(path, session / "sentences" / "wav" / dialog / f"{turn.id}.wav")
        if sound is None:
            odd["turns without sound"].append(turn.id)
        half = (0.0, 0.0, 0.5, 1.0) if turn.id[5] == turn.id[-4] else (0.5, 0.0, 1.0, 1.0)
        votes = Counter(name for choice in turn.choices for name in {names[word] for word in choice & names.keys()})
        yield Utterance(
            id=turn.id,
            label=names.get(turn.label),
            speaker=f"{turn.id[:5]}{turn.id[-4]}",
            session=turn.id[:5],
            dialog=dialog,
            scenario=re.sub(r"(?<=\d)[a-z]$", "", dialog[7:]),  # the second part of a take ends in b
            source_label=turn.label,
            text=text or None,
            audio=Clip(sound) if sound else None,
            video=Clip(film, turn.start_s, turn.end_s, half) if film and turn.start_s < turn.end_s else None,
            scores=turn.scores,
            votes=dict(votes) or None,
        )


def _there(path: Path, file: Path) -> str | None:
    relative = file.relative_to(path).as_posix()
    return relative if inside(path, relative).is_file() else None
