"""Turns the choices of applying a run into frozen values; nothing here loads what the command line needn't."""

from dataclasses import dataclass

from gia_mic.extract.settings import setting

__all__ = ["ListenConfig"]


@dataclass(frozen=True)
class ListenConfig:
    """What can be chosen about listening to a stream."""

    every_s: float = setting(0.5, "Seconds between two answers.", above=0)
    window_s: float = setting(
        4.0, "Seconds that each answer is about; at most the window of the encoder of speech.", above=0
    )
    lag_s: float = setting(
        2.0, "Leave a modality out of answers while its newest data is older than this, in seconds.", above=0
    )
