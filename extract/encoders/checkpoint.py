"""Turns PyTorch's `pytorch_model.bin` into tensors without running what it says.

Such a file is a pickle, and a pickle is a program. This reader knows the few names that tensors and plain containers
need, and builds the tensors itself, from bounds that it checks; so it depends on no promise of `torch.load`
(CVE-2025-32434, CVE-2026-24747). It reads the zip archives that PyTorch writes since 1.6, and the form of before.
"""

import json
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch

from gia_mic.extract.errors import EncoderError, first_line
from gia_mic.extract.imports.unpickle import Refused, Unpickler

__all__ = ["read_checkpoint"]

MAGIC = 0x1950A86A20F9469CFC6C
"""What a file of before PyTorch 1.6 begins with."""

PROTOCOL = 1001

ZIP = b"PK\x03\x04"
"""What a zip archive begins with."""

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a `pytorch_model.bin`, or of all files that a `pytorch_model.bin.index.json` names.

    Raises:
        EncoderError: It asks for something other than tensors and plain containers, is damaged, or isn't flat.
    """
    if path.suffix != ".json":
        return _read(path)
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("it names files in other folders")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{path} is no index of weights ({first_line(error)}): copy the model again.") from error
    return {key: tensor for name in names for key, tensor in _read(path.with_name(name)).items()}


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        views, values = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        if not isinstance(views, dict) or not all(isinstance(view, _View) for view in views.values()):
            raise ValueError("it holds other things than one table of tensors")
        return {str(name): view.tensor(values[view.storage.key]) for name, view in views.items()}
    except Refused as refused:
        raise EncoderError(
            f"{path} is refused: besides tensors and plain containers it asks for {refused}, and loading it could run "
            "anything; choose an encoder with safetensors."
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise EncoderError(
            f"{path} is no readable checkpoint of PyTorch ({first_line(error)}): remove it and fetch it again."
        ) from error


class _Storage:
    """Where the numbers of tensors lie in the file, one after the other; they are read once the pickle is."""

    def __init__(self, key: str, dtype: torch.dtype, count: int) -> None:
        self.key, self.dtype, self.count = key, dtype, count

    def values(self, data: bytes) -> torch.Tensor:
        """Return the numbers (count,) of their bytes.

        Raises:
            ValueError: There are not as many as announced.
        """
        if len(data) != self.count * self.dtype.itemsize:
            raise ValueError(f"{len(data)} bytes where {self.count} numbers of {self.dtype} are announced")
        return torch.frombuffer(bytearray(data), dtype=self.dtype) if data else torch.empty(0, dtype=self.dtype)


class _View:
    """Stands for a tensor until the pickle is read: on a tensor itself, a pickle could call methods.

    Takes the arguments of `torch._utils._rebuild_tensor_v2`.
    """

    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def tensor(self, values: torch.Tensor) -> torch.Tensor:
        """Return the tensor that it stands for.

        Raises:
            ValueError: It reaches beyond its storage.
        """
        numbers = [self.offset, *self.size, *self.stride]
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if not all(type(n) is int and n >= 0 for n in numbers) or (0 not in self.size and last >= len(values)):
            raise ValueError("a tensor that reaches beyond its numbers")
        return torch.as_strided(values, self.size, self.stride, self.offset)


def _parameter(view: _View, *_: Any) -> _View:
    """Stand in for `torch._utils._rebuild_parameter`."""
    return view


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _View,
    ("torch._utils", "_rebuild_tensor_v2"): _View,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
}


class _Unpickler(Unpickler):
    """Reads the pickle inside; storages lie elsewhere, and it names them."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, _ALLOWED)
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage that a pickle refers to."""
        kind, dtype, key, _place, count, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or (view and view[0] is not None):
            raise ValueError(f"a reference to {kind!r}")
        return self.storages.setdefault(key, _Storage(key, dtype, count))


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        [root] = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it is compressed")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its bytes are in another order")
        with archive.open(f"{root}data.pkl") as file:
            unpickler = _Unpickler(file)
            views = unpickler.load()
        storages = unpickler.storages
        return views, {key: storage.values(archive.read(f"{root}data/{key}")) for key, storage in storages.items()}


def _read_legacy(path: Path) -> Any:
    with path.open("rb") as file:
        if file.read(len(ZIP)) == ZIP:
            raise ValueError("the end of its zip archive is missing")
        file.seek(0)
        if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
            raise ValueError("it begins as no such file does")
        if not _Unpickler(file).load().get("little_endian", True):
            raise ValueError("its bytes are in another order")
        unpickler = _Unpickler(file)
        views = unpickler.load()
        values = {}
        for key in _Unpickler(file).load():
            storage = unpickler.storages[key]
            count = int.from_bytes(file.read(8), "little")
            if count != storage.count:
                raise ValueError(f"{count} numbers where {storage.count} are announced")
            values[key] = storage.values(file.read(count * storage.dtype.itemsize))
        return views, values
