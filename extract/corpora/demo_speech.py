"""Turns an emotion, an intensity and a speaker's voice into speech: glottal pulses through formants.

The syllables are nonsense drawn without looking at the sentence: speech that spelled the sentence out would show the
text's cue as well, and the ceilings of the demo corpus would no longer hold. For the same reason the duration is given
from outside: a tempo is heard in how many syllables fit into it, not in how long the clip (and its video) is.
"""

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

__all__ = ["SAMPLING_RATE", "Voice", "speech", "voice", "write_wav"]

SAMPLING_RATE = 16_000

Signal = NDArray[Any]  # float64

# F1 to F3 of an adult male's /ɛ/ and /ɑ/, after Peterson and Barney (1952): the more intense, the wider open
_CLOSE_HZ, _OPEN_HZ = np.array([[530, 1840, 2480], [730, 1090, 2440]], dtype=np.float64)
_BANDWIDTHS_HZ = np.array([80.0, 100.0, 150.0, 250.0])
_WINDOW = 512
_HOP = 128


@dataclass(frozen=True, slots=True)
class Voice:
    """What stays the same whenever a speaker speaks.

    Attributes:
        pitch_hz: Mean fundamental frequency.
        tract: Vocal-tract length relative to an adult male's; formants lie at 1 / tract of his.
        breath: Aspiration noise relative to the voiced source.
        tempo: Factor on the syllable rate.
    """

    pitch_hz: float
    tract: float
    breath: float
    tempo: float


@dataclass(frozen=True, slots=True)
class _Manner:
    """How an emotion changes a voice; semitones and decibels relative to the neutral voice."""

    pitch_semitones: float
    range_semitones: float
    slope_semitones: float
    level_db: float
    syllables_per_s: float
    tilt_hz: float  # the source falls by 6 dB an octave above this
    open_quotient: float  # part of a glottal period in which air flows: low is pressed, high is lax
    breath: float
    roughness: float  # how much weaker every second glottal pulse is, from 0 to 1
    accent_db: float  # how much louder accented syllables are
    staccato: float  # how much a syllable swells and fades: near 0 runs on at one level


_MANNERS = {
    "angry": _Manner(2.0, 3.0, -4.0, 6.0, 5.0, 6000.0, 0.40, 0.02, 0.75, 8.0, 0.8),
    "happy": _Manner(12.0, 6.0, 4.0, 3.0, 7.0, 3000.0, 0.55, 0.02, 0.0, 5.0, 1.6),
    "neutral": _Manner(0.0, 1.0, -1.0, 0.0, 4.3, 700.0, 0.70, 0.03, 0.0, 1.0, 0.3),
    "sad": _Manner(-3.0, 0.5, -2.0, -5.0, 2.4, 250.0, 0.90, 0.90, 0.0, 0.5, 0.6),
}


def voice(rng: np.random.Generator, *, low: bool) -> Voice:
    """Draw a speaker: a low voice with a long vocal tract, or a high one with a short tract."""
    return Voice(
        pitch_hz=rng.uniform(105, 120) if low else rng.uniform(180, 205),
        tract=rng.uniform(0.97, 1.03) if low else rng.uniform(0.85, 0.90),
        breath=rng.uniform(0.0, 0.03),
        tempo=rng.uniform(0.95, 1.05),
    )


def speech(
    emotion: str, intensity: float, speaker: Voice, duration_s: float, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return one utterance of `emotion` and `intensity` (1 to 5), as (N,) int16 with N = round(duration_s · 16000)."""
    manner = _MANNERS[emotion]
    count = round(duration_s * SAMPLING_RATE)
    position, syllable, level = _syllables(manner, speaker, count, rng)
    pitch_hz = _pitch(manner, speaker, position, syllable, count, rng)
    source = _source(manner, speaker, pitch_hz, rng) * level
    opening = (intensity - 1) / 4
    vowel_hz = _CLOSE_HZ ** (1 - opening) * _OPEN_HZ**opening
    sound = _through_formants(source, speaker, vowel_hz, smile=0.06 if emotion == "happy" else 0.0)
    loudness = 0.05 * 10 ** ((manner.level_db + rng.normal(0, 1.0)) / 20)
    sound *= loudness / np.sqrt(np.mean(np.square(sound)))
    sound += rng.normal(0, 4e-4, count)  # the room
    # the loudest would be clipped, and are turned down instead
    return np.round(sound * (32766 / max(np.abs(sound).max(), 1))).astype(np.int16)


def write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    """Write (N,) int16 samples as a 16 kHz mono WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _syllables(
    manner: _Manner, speaker: Voice, count: int, rng: np.random.Generator
) -> tuple[Signal, NDArray[np.int64], Signal]:
    """Return each sample's place within its syllable (0 to 1), its syllable, and its loudness."""
    rate_hz = manner.syllables_per_s * speaker.tempo * rng.uniform(0.98, 1.02)
    total = max(2, round(count / SAMPLING_RATE * rate_hz))
    lengths = rng.uniform(0.9, 1.1, total)
    edges = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()]) * count
    samples = np.arange(count)
    syllable = np.searchsorted(edges, samples, side="right") - 1
    position = (samples - edges[syllable]) / np.diff(edges)[syllable]
    accent = 10 ** (manner.accent_db / 20 * rng.choice([-0.5, 0.5], total))
    return position, syllable, accent[syllable] * np.sin(np.pi * position) ** manner.staccato


def _pitch(
    manner: _Manner,
    speaker: Voice,
    position: Signal,
    syllable: NDArray[np.int64],
    count: int,
    rng: np.random.Generator,
) -> Signal:
    """Return the fundamental frequency of every sample in Hz: level, slope over the utterance, a peak a syllable."""
    peaks = np.abs(rng.normal(0.8, 0.2, syllable[-1] + 1))
    semitones = (
        manner.pitch_semitones
        + rng.normal(0, 0.3)
        + manner.slope_semitones * (np.linspace(0, 1, count) - 0.5)
        + manner.range_semitones * peaks[syllable] * np.sin(np.pi * position)
    )
    pitch_hz: Signal = speaker.pitch_hz * 2 ** (semitones / 12)
    return pitch_hz


def _source(manner: _Manner, speaker: Voice, pitch_hz: Signal, rng: np.random.Generator) -> Signal:
    """Return glottal flow derivative plus breath.

    The flow of one period is the polynomial pulse x² (1 − x) over its open part (Rosenberg, 1971), so its
    derivative is 2x − 3x²: a slow rise, and a sharp corner where the folds close.
    """
    phase = np.cumsum(pitch_hz / SAMPLING_RATE) + rng.uniform()
    quotient = np.clip(manner.open_quotient + rng.normal(0, 0.02), 0.3, 0.95)
    x = np.minimum((phase % 1.0) / quotient, 1.0)
    voiced = np.where(x < 1.0, 2 * x - 3 * x**2, 0.0) * np.where(phase % 2.0 < 1.0, 1.0, 1.0 - manner.roughness)
    decay = np.exp(-2 * np.pi * manner.tilt_hz / SAMPLING_RATE)
    tilted = lfilter([1 - decay], [1.0, -decay], voiced)
    tilted /= np.std(tilted) + 1e-9
    breath = rng.normal(0, 1, x.size) * (0.3 + 0.7 * (x < 1.0))
    source: Signal = tilted + (manner.breath + speaker.breath) * breath
    return source


def _through_formants(source: Signal, speaker: Voice, vowel_hz: Signal, *, smile: float) -> Signal:
    """Filter by resonators at a vowel's F1 to F3 (3) and at a fixed F4, by weighted overlap-add of short spectra."""
    padded = np.pad(source, _WINDOW)
    starts = np.arange(0, padded.size - _WINDOW + 1, _HOP)
    window = np.sqrt(np.hanning(_WINDOW + 1)[:-1])
    spectra = np.fft.rfft(padded[starts[:, None] + np.arange(_WINDOW)] * window)
    formants_hz = np.append(vowel_hz * (1 + smile), 3500) / speaker.tract
    s = 2j * np.pi * np.fft.rfftfreq(_WINDOW, 1 / SAMPLING_RATE)[:, None]
    poles = -np.pi * _BANDWIDTHS_HZ + 2j * np.pi * formants_hz
    response = np.prod(np.abs(poles) ** 2 / ((s - poles) * (s - poles.conj())), axis=-1)
    frames = np.fft.irfft(spectra * response) * window
    sound = np.zeros(padded.size)
    for shift in range(_WINDOW // _HOP):  # frames that don't overlap are added in one go
        block = frames[shift :: _WINDOW // _HOP]
        sound[shift * _HOP : shift * _HOP + block.size] += block.ravel()
    return sound[_WINDOW : _WINDOW + source.size]
