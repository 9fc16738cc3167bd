"""Turns the choices of applying a run into frozen values; nothing here loads what the command line needn't."""

from dataclasses import dataclass

from gia_mic.extract.settings import setting

__all__ = ["ListenConfig"]


@dataclass(frozen=True)
class ListenConfig:
    """What can be chosen about listening to a stream."""

    every_s: float = setting(0.5, "Seconds between two answers.", above=0)
    window_s: float = setting(
        4.0, "Seconds of sound that each answer is about; at most the window of the encoder.", above=0
    )
