"""Turns sound and video files of any common format into mono samples and RGB pictures, as streams, on one clock.

Sound in WAV, FLAC, OGG, MP3 and their like is read by libsndfile; all else, and the sound of films, by FFmpeg's
libraries. Nothing here holds more than some seconds of a recording at a time. Of a film both sound and pictures are
timed from the moment at which the first of them begins. What a header says of its length is a hint: what counts is
what decoding gives, and whether the file has all the bytes that its header promises.
"""

from gia_mic.extract.media.headers import TOLERANCE_S
from gia_mic.extract.media.length import Look, duration_s, look
from gia_mic.extract.media.pictures import stream_pictures
from gia_mic.extract.media.sound import stream_audio, stream_samples
from gia_mic.extract.media.voice import NO_VOICE
from gia_mic.runtime.framing import Framing

__all__ = [
    "NO_VOICE",
    "TOLERANCE_S",
    "Framing",
    "Look",
    "duration_s",
    "look",
    "stream_audio",
    "stream_pictures",
    "stream_samples",
]
