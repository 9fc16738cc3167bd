"""Turns a seed into the demo corpus: speech, sentences and faces whose best possible recognition is known exactly.

Each utterance has one true emotion. Each modality *displays* it with its own known probability, and otherwise one of
the others, all equally likely, independently of the other modalities. What is displayed can be read off without doubt,
and nothing else in the recordings depends on the emotion. So the Bayes-optimal accuracy of every subset of modalities
is a sum over what the subset can display, and a trained model can be held against it.

Each utterance has an intensity, too, which no emotion, speaker or scenario tells anything about. Each modality displays
it with noise of its own, so the best possible error and correlation of every subset are known as well.
"""

import hashlib
import itertools
import json
import logging
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.corpora import demo_face, demo_speech, demo_text
from gia_mic.extract.corpora.demo_cues import CUES, EMOTIONS, ceilings, displayed, in_sample
from gia_mic.extract.corpora.demo_intensity import (
    LEVELS,
    NOISE,
    RANGE,
    best_scores,
    best_scores_in_sample,
    draw_intensities,
)
from gia_mic.extract.corpus import (
    MODALITIES,
    Clip,
    Corpus,
    Utterance,
    corpus_names,
    load_corpus,
    valid_name,
    write_corpus,
)
from gia_mic.extract.errors import CorpusError, one_line
from gia_mic.extract.files import replacing
from gia_mic.extract.progress import progress

__all__ = ["CUES", "EMOTIONS", "INTENSITY", "Demo", "Plan", "ceilings", "plan_demo", "prepare_demo"]

logger = logging.getLogger(__name__)

INTENSITY = "intensity"
"""Name of the score that every utterance has, a number from 1 to 5."""

_VERSION = 4  # counts up whenever the same parameters give other files
_SESSIONS = 5
_SPEAKERS = 2  # in each session
_DIALOG = 12  # utterances in a dialog


@dataclass(frozen=True)
class Demo:
    """Parameters of a demo corpus: lower cues and fewer utterances make it harder.

    Attributes:
        seed: Of everything random in it.
        utterances: Number of utterances, at least 4.
        cues: For each modality's letter, the probability (0.25 to 1) that it displays the true emotion.
    """

    seed: int = 4
    utterances: int = 1000
    cues: Mapping[str, float] = field(default_factory=lambda: dict(CUES))


def prepare_demo(
    features: Path,
    *,
    name: str = "demo",
    demo: Demo | None = None,
) -> Corpus:
    """Make the demo corpus below the features folder, or complete it, or return it as it is.

    Args:
        features: The features folder.
        name: Corpus name.
        demo: Its parameters; by default those of `Demo()`.

    Returns:
        The corpus. Its `about` holds `cues`, the `ceiling` of every subset of modalities (Bayes-optimal accuracy, which
        equals the expected UA since the classes are balanced), and `ceiling_in_sample`: the same optimal decisions
        counted on these utterances. In the same way it holds, for intensity, `noise`, `score_ceiling` and
        `score_ceiling_in_sample`: MAE, Pearson correlation and CCC of the best answers, by score and subset.

    Raises:
        CorpusError: A parameter is out of range.
        StoreError: A file can't be written.
    """
    demo = demo or Demo()
    folder = features / valid_name(name)
    plan = plan_demo(demo)
    about = _about(demo, plan)
    media = f"media/{about['generator']['digest']}"
    plan = plan._replace(utterances=[_with_clips(utterance, media) for utterance in plan.utterances])
    new_count = _make_media(demo, folder, plan)
    if new_count == 0 and name in corpus_names(features):
        corpus = load_corpus(features, name)
        if corpus.about == about:
            logger.info(f"The demo corpus is complete in {folder}.")
            return corpus
    corpus = write_corpus(
        features,
        name,
        plan.utterances,
        root=folder,
        classes=EMOTIONS,
        score_ranges={INTENSITY: RANGE},
        about=about,
    )
    for other in (folder / "media").iterdir():  # those of other parameters: nothing points there any more
        if other.is_dir() and other.name != about["generator"]["digest"]:
            shutil.rmtree(other)
    logger.info(f"Made the demo corpus in {folder}: {len(corpus)} utterances, {new_count} of them now.")
    return corpus


class Plan(NamedTuple):
    """What a demo corpus is to hold.

    Attributes:
        utterances: The U utterances without their recordings.
        emotions: (U, 3) index of the emotion that each modality displays.
        levels: (U, 3) index in `LEVELS` of the intensity that each modality displays.
    """

    utterances: list[Utterance]
    emotions: NDArray[np.int64]
    levels: NDArray[np.int64]


def plan_demo(demo: Demo) -> Plan:
    """Draw the utterances and what each modality displays of them.

    Raises:
        CorpusError: A parameter is out of range.
    """
    _check(demo)
    rng = np.random.default_rng([demo.seed, 0])
    number = np.arange(demo.utterances)
    # In every 40 in a row, each of the 10 speakers has each of the 4 emotions once.
    speaker = number % (_SESSIONS * _SPEAKERS)
    label = (number + number // 20) % len(EMOTIONS)
    displays = displayed(label, demo.cues, rng)
    # A generator of its own: whatever else is drawn stays as it is.
    intensity, levels = draw_intensities(demo.utterances, np.random.default_rng([demo.seed, 5]))
    utterances: list[Utterance] = []
    drawn_rows: list[int] = []
    for session in range(_SESSIONS):
        members = [number[speaker == _SPEAKERS * session + who] for who in range(_SPEAKERS)]
        turns = [_spread(own, label[own], rng) for own in members]
        order = [turn for pair in itertools.zip_longest(*turns) for turn in pair if turn is not None]
        scenarios = rng.permutation(demo_text.SCENARIOS)
        for position, index in enumerate(order):
            dialog = position // _DIALOG
            scenario = str(scenarios[dialog % len(scenarios)])
            where, who = f"Ses{session + 1:02d}", "FM"[speaker[index] % _SPEAKERS]
            utterances.append(
                Utterance(
                    id=f"{where}_{dialog + 1:02d}_{who}{position % _DIALOG + 1:02d}",
                    label=EMOTIONS[label[index]],
                    speaker=f"{where}{who}",
                    session=where,
                    dialog=f"{where}_{dialog + 1:02d}",
                    scenario=scenario,
                    text=demo_text.sentence(EMOTIONS[displays[index, 1]], LEVELS[levels[index, 1]], scenario, rng),
                    scores={INTENSITY: float(intensity[index])},
                )
            )
            drawn_rows.append(index)
    return Plan(utterances, displays[drawn_rows], levels[drawn_rows])


def _spread(turns: NDArray[np.int64], label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Shuffle a speaker's turns such that any stretch of them has about as many of each emotion.

    Dialogs are such stretches, so neither a dialog nor its scenario tells anything about the emotion.
    """
    rank = np.empty(len(turns))
    for emotion in range(len(EMOTIONS)):
        own = rng.permutation(np.flatnonzero(label == emotion))
        rank[own] = (np.arange(len(own)) + rng.random(len(own))) / max(1, len(own))
    return turns[np.argsort(rank)]


def _about(demo: Demo, plan: Plan) -> dict[str, Any]:
    parameters = {"version": _VERSION, **asdict(demo), "cues": {letter: demo.cues[letter] for letter in MODALITIES}}
    label = np.array([EMOTIONS.index(utterance.label) for utterance in plan.utterances if utterance.label])
    intensity = np.array([utterance.scores[INTENSITY] for utterance in plan.utterances if utterance.scores])
    return {
        "description": "Synthetic speech, sentences and faces, made by this program",
        "licence": "CC0-1.0",
        "encoder": "tiny",
        "cues": parameters["cues"],
        "ceiling": ceilings(demo.cues),
        "ceiling_in_sample": in_sample(label, plan.emotions, demo.cues),
        "noise": NOISE,
        "score_ceiling": {INTENSITY: best_scores()},
        "score_ceiling_in_sample": {INTENSITY: best_scores_in_sample(intensity, plan.levels)},
        "generator": {
            **parameters,
            "digest": hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8],
        },
    }


def _with_clips(utterance: Utterance, media: str) -> Utterance:
    base = f"{media}/{utterance.id}"
    return replace(utterance, audio=Clip(f"{base}.wav"), video=Clip(f"{base}.mp4"))


def _make_media(demo: Demo, folder: Path, plan: Plan) -> int:
    """Write the recordings that are not there yet; return for how many utterances.

    Two threads: most of the time goes to numpy and the video encoder, which leave the interpreter to others.
    """
    speakers = sorted({utterance.speaker for utterance in plan.utterances if utterance.speaker})
    streams = [np.random.default_rng([demo.seed, 1, number]) for number in range(len(speakers))]
    voices = {s: demo_speech.voice(rng, low=s.endswith("M")) for s, rng in zip(speakers, streams, strict=True)}
    faces = {s: demo_face.looks(rng) for s, rng in zip(speakers, streams, strict=True)}

    def make(number: int) -> None:
        utterance = plan.utterances[number]
        emotion_heard, _, emotion_seen = (EMOTIONS[emotion] for emotion in plan.emotions[number])
        intensity_heard, _, intensity_seen = LEVELS[plan.levels[number]]
        assert utterance.audio
        assert utterance.video
        assert utterance.speaker
        # A stream for each recording: one that is made again later is the same, whatever else is there.
        duration_s = np.random.default_rng([demo.seed, 2, number]).uniform(1.2, 1.9)
        with replacing(folder / utterance.audio.path) as temporary:
            rng = np.random.default_rng([demo.seed, 3, number])
            voice = voices[utterance.speaker]
            samples = demo_speech.speech(emotion_heard, intensity_heard, voice, duration_s, rng)
            demo_speech.write_wav(temporary, samples)
        with replacing(folder / utterance.video.path) as temporary:
            rng = np.random.default_rng([demo.seed, 4, number])
            frames = demo_face.face(emotion_seen, intensity_seen, faces[utterance.speaker], duration_s, rng)
            demo_face.write_video(temporary, frames)

    def missing(utterance: Utterance) -> bool:
        return any(clip and not (folder / clip.path).is_file() for clip in (utterance.audio, utterance.video))

    todo = [number for number, utterance in enumerate(plan.utterances) if missing(utterance)]
    pool = ThreadPoolExecutor(2)
    try:
        with progress(len(todo), f"{folder.name} corpus", "utterance", quiet=not todo) as recordings:
            for _ in pool.map(make, todo):
                recordings.update()
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, don't make all the others first
    return len(todo)


def _check(demo: Demo) -> None:
    problems = []
    if demo.utterances < len(EMOTIONS):
        problems.append(f"utterances is {demo.utterances}, at least {len(EMOTIONS)} are needed")
    if demo.seed < 0:
        problems.append(f"seed is {demo.seed}, it can't be negative")
    if set(demo.cues) != set(MODALITIES):
        problems.append(f"cues are given for {one_line(demo.cues) or 'nothing'}, expected {one_line(MODALITIES)}")
    for letter, cue in demo.cues.items():
        if not 1 / len(EMOTIONS) <= cue <= 1:
            problems.append(f"the cue of {letter} is {cue}, expected 0.25 (chance) to 1")
    if problems:
        raise CorpusError(f"The demo corpus can't be made: {'; '.join(problems)}.")
