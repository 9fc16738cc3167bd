"""Knows the devices to compute on: which can be used, how much fits, and what a processor is good at."""

import ctypes
import os
import platform
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gia_mic.extract.errors import EncoderError, first_line

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "PRODUCT_CACHES",
    "batch_positions",
    "check_precision",
    "choices",
    "device_name",
    "dtype_of",
    "empty_cache",
    "find_devices",
    "free_bytes",
    "hand_back_freed",
    "has_products",
    "host_buffer",
    "is_out_of_memory",
    "keep_freed",
    "keep_products",
    "kind_of",
    "slow",
    "to_host",
    "use_tf32",
    "usual_device",
    "why_unusable",
]

CPU_POSITIONS, ACCELERATOR_POSITIONS = 500, 20_000
"""Positions that a batch may have in the model, padding included; 50 are a second of speech.

On a CPU a batch is what one core does at a time: larger ones make none of it quicker, and the last leave cores idle.
"""

PRODUCT_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Environment variables that say how many compiled products oneDNN keeps, and torch in front of it."""

COPYING = ("cuda", "xpu")
"""Kinds of accelerators that copy by themselves between their memory and pinned memory of the host."""

OUT_OF_MEMORY = (
    "out of memory",  # torch's own allocators: CUDA, HIP, MPS, XPU
    "not enough memory",  # the CPU's on Windows
    "can't allocate memory",  # the CPU's elsewhere
    "_alloc_failed",  # cuBLAS, cuDNN, cuSOLVER, hipBLAS
    "_allocation_failed",  # cuDNN 9
    "invalid buffer size",  # Metal: one tensor is larger than the device
    "_out_of_device_memory",  # Level Zero, below XPU
    "_out_of_host_memory",
    "_out_of_resources",
    "bad_alloc",  # C++
)
"""What errors say in lower case when memory didn't suffice; most are plain `RuntimeError`."""


def kind_of(device: str) -> str:
    """Return the kind of a device, without its number: cpu, cuda, mps or xpu.

    >>> kind_of("cuda:1")
    'cuda'
    """
    return device.partition(":")[0]


def usual_device() -> str:
    """Return where to compute unless somebody says otherwise: CUDA where there is some."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def find_devices(names: str | None) -> list[str]:
    """Return the devices to compute on: those wanted, such as "cuda:0,cuda:1"; else the usual one.

    Raises:
        EncoderError: One of them can't be used here.
    """
    if names is None:
        return [usual_device()]
    devices = [device.strip() for device in names.split(",")]
    for device in devices:
        if (why := why_unusable(device)) is not None:
            raise EncoderError(f"There is no device {device!r} here ({why}): choose {choices()}.")
    return devices


def why_unusable(device: str) -> str | None:
    """Return why a device can't compute here, in a few words; None where it can, which is tried."""
    import torch

    try:
        torch.device(device)
    except RuntimeError:
        return "torch knows no such device"
    try:
        torch.ones(1, device=device).add(1).item()
    except (NotImplementedError, ImportError):
        return "this build of torch can't compute on it"
    except Exception as error:  # each backend has its own way to say so
        return textwrap.shorten(first_line(error), 80, placeholder=" …")
    return None


def choices() -> str:
    """Return what there is to compute on here, for a message."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else f"cpu or {accelerator.type}"


def device_name(device: str) -> str:
    """Return what a device is called by its maker, where torch tells; else what torch calls it."""
    import torch

    kind = kind_of(device)
    module: Any = getattr(torch, kind, None)
    return device if kind == "cpu" or not hasattr(module, "get_device_name") else str(module.get_device_name(device))


def batch_positions(device: str) -> int:
    """Return how many positions, padding included, a batch may have in the model on a device."""
    return CPU_POSITIONS if kind_of(device) == "cpu" else ACCELERATOR_POSITIONS


def free_bytes(device: str) -> int | None:
    """Return how many bytes are free on an accelerator; None on a CPU, and where torch doesn't tell."""
    import torch

    kind = kind_of(device)
    if kind == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    module: Any = getattr(torch, kind, None)
    if kind == "cpu" or not hasattr(module, "mem_get_info"):
        return None
    return int(module.mem_get_info(torch.device(device))[0])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of a device, didn't suffice."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


def host_buffer(shape: tuple[int, ...], dtype: "np.dtype", device: "torch.device") -> "torch.Tensor":
    """Return memory of the host, of any content, that a device copies from or to by itself where it can.

    torch keeps freed pinned memory for the next buffer, once no copy uses it any more.
    """
    import numpy as np
    import torch

    kind = torch.from_numpy(np.empty(0, dtype)).dtype
    return torch.empty(shape, dtype=kind, pin_memory=device.type in COPYING)


def to_host(values: "torch.Tensor") -> "Callable[[], torch.Tensor]":
    """Begin to copy (n,) values to the host, behind what is queued on their device; what is returned waits for them."""
    import torch

    if values.device.type not in COPYING:
        return values.cpu
    copied = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    copied.copy_(values, non_blocking=True)
    event = getattr(torch, values.device.type).current_stream(values.device).record_event()

    def wait() -> torch.Tensor:
        event.synchronize()
        return copied

    return wait


def empty_cache() -> None:
    """Hand the memory that torch keeps for later on this machine's accelerator, if there is one, back to it."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        getattr(torch, accelerator.type).empty_cache()


def keep_products(count: int) -> None:
    """Have so many compiled matrix products kept, unless the user's environment says how many.

    oneDNN compiles one for each shape, in bfloat16 for all that torch multiplies: 1 to 2 ms and a third of a megabyte
    each. It keeps 1,024, and torch as many of its own in front of them in each thread. Both read the number once, when
    they first compute, so it is settled by the first call in a process.
    """
    for cache in PRODUCT_CACHES:
        os.environ.setdefault(cache, str(count))


def keep_freed(threads: int) -> None:
    """Keep freed memory for the next block of its size, in a pool for each of the threads that compute side by side.

    The GNU C library hands blocks of many megabytes back to the system at once, and a training step's activations are
    paged in anew in every step, which measured a fifth of it. Two threads that train out of one pool wait for each
    other, which measured another fifth; more pools than threads only take memory. The first call in a process settles
    how many there are. Other C libraries are left as they are.
    """
    if (library := _glibc()) is not None:
        # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
        for option, value in ((-1, 2**31 - 1), (-3, 2**30), (-8, threads)):
            library.mallopt(option, value)


def hand_back_freed() -> None:
    """Hand freed memory back to the system, also what lies between blocks in use.

    The GNU C library by itself keeps that, and activations of ever new lengths leave more and more of it.
    """
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def has_products(precision: str) -> bool | None:
    """Whether oneDNN multiplies matrices in a precision on this processor; None where torch doesn't tell."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return None
    if precision == "float32":
        return True
    if precision == "int8":
        probe = getattr(torch.cpu, "_is_vnni_supported", None)  # private: looked for before use
        return None if probe is None else probe()
    short = {"bfloat16": "bf16", "float16": "fp16"}.get(precision)
    probe = getattr(torch.ops.mkldnn, f"_is_mkldnn_{short}_supported", None)  # private: looked for before use
    return None if probe is None else probe()


def dtype_of(precision: str) -> "torch.dtype":
    """Return the type that a model's weights have in a precision; of tf32 and int8 only the products are others."""
    import torch

    return torch.float32 if precision in ("tf32", "int8") else getattr(torch, precision)


def use_tf32(allowed: bool) -> None:
    """Let CUDA round what it multiplies in float32 to the 10 bits of TF32, or not; for the whole process.

    torch allows it for convolutions by itself, so that float32 would mean another thing on a GPU than on a CPU.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def check_precision(precision: str, device: str) -> None:
    """Refuse a precision that a device can't compute in, under whose name it would compute in another.

    Raises:
        EncoderError: It is tf32, and the device isn't a GPU that has it; or it is int8, and the device is no CPU.
    """
    import torch

    if precision == "int8" and kind_of(device) != "cpu":
        raise EncoderError(
            f"int8 is for CPUs, and {device} is none: choose --device cpu, or --precision bfloat16 or float16."
        )
    if precision != "tf32":
        return
    if kind_of(device) != "cuda" or (torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] < 8):
        raise EncoderError(
            f"{device} has no tf32, which NVIDIA's GPUs have from Ampere on: choose --precision float32."
        )


def slow(precision: str, device: str | None) -> str | None:
    """Return the line to say where a precision costs time instead of saving it; None where it isn't known to.

    torch multiplies by itself what oneDNN can't, and CUDA computes in float32 what a GPU before Ampere can't.

    Args:
        precision: float32, tf32, bfloat16, float16 or int8.
        device: Where to compute; None is `usual_device`.
    """
    import torch

    device = device or usual_device()
    if kind_of(device) == "cpu" and has_products(precision) is False:
        longer = "longer than" if precision == "int8" else "several times as long as"
        return f"This processor has no instructions for {precision}: here it takes {longer} float32."
    if kind_of(device) == "cuda" and precision == "bfloat16" and torch.cuda.is_available():
        with torch.cuda.device(device):
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                return "This GPU has no instructions for bfloat16: choose --precision float16 or float32."
    return None


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
