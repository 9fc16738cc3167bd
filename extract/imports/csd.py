"""Turns a computational sequence of the CMU-MultimodalSDK (.csd, an HDF5 file) into arrays with times.

    <sequence>/data/<video>/features     (T, D)
    <sequence>/data/<video>/intervals    (T, 2), start and end in seconds
    <sequence>/metadata/…

CMU-MOSEI (23,453 segments of 3,228 videos; sentiment and six emotions) and CMU-MOSI (2,199 segments of 93 videos;
sentiment) are published so: a sequence of features for each modality over whole videos, and one of labels whose
intervals are the segments. http://multicomp.cs.cmu.edu/resources (Zadeh et al., 2016, 2018); for research.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from gia_mic.extract.errors import StoreError

__all__ = ["Sequence", "read_sequences"]


@dataclass(frozen=True)
class Sequence:
    """What a file holds of one video.

    Attributes:
        video: Name of the video, or of the segment in an aligned file.
        features: (T, D) float32, one row for each interval.
        intervals: (T, 2) float64, start and end of each row in seconds.
    """

    video: str
    features: np.ndarray
    intervals: np.ndarray


def read_sequences(path: Path) -> Iterator[Sequence]:
    """Give the sequences of a file, by name.

    Raises:
        StoreError: It is no such file, or is broken.
    """
    try:
        with h5py.File(path, "r") as file:
            roots = [name for name in file if isinstance(file.get(name), h5py.Group) and "data" in file[name]]
            if len(roots) != 1:
                raise StoreError(
                    f"{path} is no computational sequence: expected one group with a group data in it, "
                    f"found {len(roots)}."
                )
            data = file[roots[0]]["data"]
            for video in data:
                features = _array(data, video, "features")
                intervals = _array(data, video, "intervals").astype(np.float64)
                if features.dtype.kind not in "fiu" or features.ndim != 2 or intervals.shape != (len(features), 2):
                    raise StoreError(
                        f"{path}: {video} has features of shape {features.shape} and intervals of shape "
                        f"{intervals.shape}, expected numbers (T, D) and (T, 2)."
                    )
                with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told with that
                    frames = features.astype(np.float32)
                yield Sequence(video, frames, intervals)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StoreError(f"{path} is no readable computational sequence ({error}): copy it again.") from error


def _array(data: h5py.Group, video: str, name: str) -> np.ndarray:
    """Read an array that lies in this very file: HDF5 can point into any other one, too."""
    links = (data.get(video, getlink=True), data[video].get(name, getlink=True))
    values = data[video][name]
    if not all(isinstance(link, h5py.HardLink) for link in links) or values.external or values.is_virtual:
        raise ValueError(f"{name} of {video} points into another file")
    return np.asarray(values)
