"""What an encoder of one's own is written with; `docs/own-encoder.md` says how.

    @dataclass(frozen=True)
    class Config:
        bands: int = setting(40, "Mel bands.", at_least=1)

    class Mine:
        modality, sampling_rate_hz, frame_rate_hz = "speech", 16_000, 100
        def __init__(self, config: Config) -> None: ...
        def frames(self, sound: np.ndarray) -> np.ndarray: ...

Such a file needs no other name of this package.
"""

from gia_mic.extract.settings import out_of_range, setting

__all__ = ["out_of_range", "setting"]
