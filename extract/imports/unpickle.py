"""Turns a pickle of numpy arrays and plain containers into them, and refuses one that asks for anything else.

A pickle is a program: whatever callable it names, the ordinary reader runs. Published features come as pickles all the
same, so this reader knows the few names that arrays and containers need, and no other.
"""

import codecs
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from gia_mic.extract.errors import StoreError, words_of

__all__ = ["Refused", "Unpickler", "load_objects", "load_pickle"]

_ARRAY = {"_reconstruct": np.empty(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
_BUFFER = {"_frombuffer": np.empty(0).__reduce_ex__(5)[0]}
_PLAIN = (dict, list, tuple, set, frozenset, bytearray, complex)
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # numpy 1 and numpy 2 keep these under different names
    **{(f"numpy.{core}.multiarray", name): value for core in ("core", "_core") for name, value in _ARRAY.items()},
    **{(f"numpy.{core}.numeric", name): value for core in ("core", "_core") for name, value in _BUFFER.items()},
    ("_codecs", "encode"): codecs.encode,  # how protocol 2 writes bytes
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in _PLAIN},
}


class Refused(Exception):
    """A pickle asks for a name that isn't allowed; the message is the name."""


class Unpickler(pickle.Unpickler):
    """Reads a pickle that may ask for a few names only; text of Python 2 as Latin-1.

    Args:
        file: The pickle.
        allowed: What stands for which name, by module and name.
    """

    def __init__(self, file: IO[bytes], allowed: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file, encoding="latin1")
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name.

        Raises:
            Refused: Nothing does.
        """
        try:
            return self._allowed[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None


def load_pickle(path: Path) -> Any:
    """Return what a pickle holds; text of Python 2 as Latin-1.

    Raises:
        StoreError: It asks for something other than arrays and plain containers, or is broken.
    """
    try:
        with path.open("rb") as file:
            return _load(file, path)
    except OSError as error:
        raise StoreError(f"{path} can't be read ({words_of(error)}): give a file you may read.") from error


def load_objects(path: Path) -> dict[str, Any]:
    """Return the arrays of an .npz by name; one that holds a single object, such as a dict, as that object.

    Raises:
        StoreError: It asks for something other than arrays and plain containers, or is broken.
    """
    try:
        objects = {}
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    objects[member.removesuffix(".npy")] = _load_array(file, path)
        return objects
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is no readable .npz ({error}): copy it again.") from error


def _load_array(file: IO[bytes], path: Path) -> Any:
    major, _ = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read_header(file)
    if not dtype.hasobject:
        return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if by_columns else "C")
    values = _load(file, path)
    return values.item() if isinstance(values, np.ndarray) and values.ndim == 0 else values


def _load(file: IO[bytes], path: Path) -> Any:
    try:
        return Unpickler(file, _ALLOWED).load()
    except Refused as refused:
        raise StoreError(
            f"{path} is refused: besides numpy arrays and plain containers it asks for {refused}, and loading it could "
            "run anything; get the features in another format, or from somebody you trust and convert them."
        ) from None
    except OSError:
        raise
    except Exception as error:  # a broken pickle raises nearly anything
        raise StoreError(f"{path} is no readable pickle ({type(error).__name__}: {error}): copy it again.") from error
