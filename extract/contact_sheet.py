"""Turns an utterance's video into a contact sheet: the pictures that a vision model saw, as they were cropped."""

import math
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.corpus import Corpus
from gia_mic.extract.crop import stream_cropped
from gia_mic.extract.errors import StoreError, one_line
from gia_mic.extract.files import replacing
from gia_mic.extract.media import Framing
from gia_mic.extract.store import open_store

__all__ = ["contact_sheet"]

TILE = 160
"""Height of a picture on the sheet, in pixels."""

TITLE = 14
"""Height of the line above it."""

COLUMNS = 8

MOST = 96
"""Pictures on a sheet; of a longer clip, so many evenly spaced ones."""


def contact_sheet(corpus: Corpus, feature_file: Path, utterance_id: str, folder: Path) -> Path:
    """Write a PNG of what a visual feature file's encoder saw of an utterance, each picture with its time.

    The video is decoded and cropped again, by the spec in the file; no model is needed.

    Args:
        corpus: The corpus that the features are of.
        feature_file: A visual feature file.
        utterance_id: Id of an utterance with video.
        folder: Folder that the sheet is written to.

    Returns:
        Path of the sheet.

    Raises:
        StoreError: There is no such utterance with video, or the features were not made from pictures.
        MediaError: The video can't be decoded.
    """
    spec = open_store(feature_file).spec
    framing, rate = spec.get("framing"), spec.get("frame_rate_hz")
    if not framing or not rate:
        raise StoreError(f"{feature_file} was not made from pictures by `mer extract`: choose one that was.")
    utterance = next((utterance for utterance in corpus if utterance.id == utterance_id), None)
    if utterance is None or utterance.video is None:
        with_video = [utterance.id for utterance in corpus if utterance.video]
        raise StoreError(f"{corpus.name} has no video of {utterance_id!r}; it has video of {one_line(with_video, 3)}.")
    pictures = list(
        stream_cropped(
            corpus.path(utterance.video),
            utterance.video,
            rate,
            Framing(tuple(framing["size"]), framing["shortest_edge"], framing["resample"]),
            spec.get("crop", EncoderConfig.crop),
        )
    )
    height, width = framing["size"]
    size = (max(round(TILE * width / height), 40), TILE)
    numbers = sorted({round(number) for number in np.linspace(0, len(pictures) - 1, min(len(pictures), MOST))})
    columns = min(COLUMNS, len(numbers))
    sheet = Image.new("RGB", (columns * size[0], math.ceil(len(numbers) / columns) * (TILE + TITLE)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, number in enumerate(numbers):
        x, y = index % columns * size[0], index // columns * (TILE + TITLE)
        picture = pictures[number]
        draw.text((x + 2, y), f"{number / rate:.2f} s{'' if picture is not None else ', no face'}", "black")
        tile = Image.new("RGB", size, "lightgray") if picture is None else Image.fromarray(picture).resize(size)
        sheet.paste(tile, (x, y + TITLE))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", utterance_id).strip("-.")
    path = folder / f"{name}-{feature_file.stem}.png"
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")
    return path
