"""What a fusion of one's own is written with; `docs/own-fusion.md` says how.

    @dataclass(frozen=True)
    class Config:
        width: int = setting(64, "Features of the hidden layer.", at_least=1)

    class Mine(nn.Module):
        def __init__(self, dims: Mapping[str, int], outputs: int, config: Config) -> None: ...
        def forward(self, batch: Batch) -> Tensor | Output: ...

Such a file needs no other name of this package.
"""

from gia_mic.extract.settings import out_of_range, setting
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, mean

__all__ = ["Batch", "Output", "PaddedFrames", "mean", "out_of_range", "setting"]
