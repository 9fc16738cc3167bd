"""Turns the choices of applying a run into frozen values; nothing here loads what the command line needn't."""

from dataclasses import dataclass

from gia_mic.extract.settings import setting

__all__ = ["ListenConfig"]


@dataclass(frozen=True)
class ListenConfig:
    """What can be chosen about listening to a stream."""

    every_s: float = setting(0.5, "Time between answers, in seconds.", above=0)
    window_s: float = setting(
        4.0, "Sound heard for each answer, in seconds; no longer than what the encoder sees at once.", above=0
    )
