"""Turns an emotion and a scenario into one English sentence of a small grammar.

Two words of every sentence bear the emotion and exclamation marks at its end count the intensity; everything else
(template, subject, verb, place) is drawn without looking at either. So a reader learns what is displayed and no more.
"""

import re

import numpy as np

__all__ = ["SCENARIOS", "WORDS", "sentence"]

_EXCLAMATIONS = {
    "angry": ["damn", "enough", "nonsense"],
    "happy": ["hooray", "wonderful", "wow"],
    "neutral": ["well", "okay", "anyway"],
    "sad": ["alas", "sadly", "sigh"],
}
_ADJECTIVES = {
    "angry": ["furious", "outrageous", "unfair"],
    "happy": ["delightful", "lovely", "fantastic"],
    "neutral": ["ordinary", "usual", "normal"],
    "sad": ["hopeless", "lonely", "heartbreaking"],
}
_TEMPLATES = [
    "{exclamation}, {subject} {verb} {place} and it is {adjective}",
    "{subject} {verb} {place}, {exclamation}, how {adjective}",
    "i think that {subject} {verb} {place}, {exclamation}, just {adjective}",
    "{exclamation}, it is {adjective} that {subject} {verb} {place}",
]
_VERBS = ["was left", "was found", "waited", "arrived"]
_SCENARIOS = {
    "airport": (["my luggage", "the plane", "our pilot", "his passport"], ["at the gate", "on the runway"]),
    "bank": (["the letter", "my account", "the clerk", "her card"], ["at the counter", "in the bank"]),
    "garden": (["the old dog", "our fence", "the ladder", "his bicycle"], ["under the tree", "behind the shed"]),
    "hospital": (["the doctor", "my sister", "the nurse", "his file"], ["on the ward", "in the hall"]),
    "kitchen": (["the soup", "our kettle", "the bread", "her recipe"], ["by the stove", "on the table"]),
    "office": (["the report", "my manager", "the printer", "his desk"], ["near the door", "on the third floor"]),
    "school": (["the teacher", "my homework", "the bus", "her class"], ["in the yard", "by the stairs"]),
    "shop": (["the parcel", "my order", "the cashier", "his basket"], ["behind the counter", "in the aisle"]),
    "station": (["the train", "my ticket", "the driver", "her suitcase"], ["on the platform", "near the tunnel"]),
    "theatre": (["the band", "our seat", "the actor", "his costume"], ["on the stage", "in the front row"]),
}

SCENARIOS = tuple(_SCENARIOS)
"""What the dialogs are about; every session plays them all."""

WORDS = tuple(
    sorted(
        {
            word
            for text in [
                *_TEMPLATES,
                *_VERBS,
                *(phrase for parts in _SCENARIOS.values() for phrases in parts for phrase in phrases),
                *(word for words in (*_EXCLAMATIONS.values(), *_ADJECTIVES.values()) for word in words),
            ]
            for word in re.findall(r"[a-z]+", re.sub(r"{\w+}", "", text))
        }
    )
)
"""Every word that a sentence can hold, in lower case."""


def sentence(emotion: str, intensity: float, scenario: str, rng: np.random.Generator) -> str:
    """Return a sentence about `scenario` whose words show `emotion`, with a mark for each 0.5 of `intensity` above 1.

    >>> sentence("sad", 2.5, "kitchen", np.random.default_rng(0))
    'Alas, it is hopeless that the bread waited by the stove!!!'
    """
    subjects, places = _SCENARIOS[scenario]
    text = _pick(_TEMPLATES, rng).format(
        subject=_pick(subjects, rng),
        verb=_pick(_VERBS, rng),
        place=_pick(places, rng),
        exclamation=_pick(_EXCLAMATIONS[emotion], rng),
        adjective=_pick(_ADJECTIVES[emotion], rng),
    )
    marks = "!" * round(2 * (intensity - 1)) or "."
    return f"{text[0].upper()}{text[1:]}{marks}"


def _pick(choices: list[str], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]
