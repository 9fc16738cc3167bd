"""A GPU without a GPU: tensors that say they lie on `pretended:0`, hold their values on the CPU, and keep CUDA's rules.

    from pretended import pretended

    with pretended() as seen:
        encoder.to("pretended").encode(pieces)  # real values: compare them with the CPU's
        print(seen.kernels, seen.waits, seen.uploads)

Pure Python on PrivateUse1, the place torch keeps for other people's devices; forward, backward, `torch.func`, fused
optimisers, threads, transformers' models. What breaks a rule raises `Mixed`: operands on two devices (a CPU number and
CPU indices may be), a CPU generator on the device; `.numpy()` is a TypeError as on CUDA. What it can't do: autocast,
time, kernels' own errors, TF32's values. Needs torch 2.10 or later: begin a file of tests with
`pytest.importorskip("pretended")`.

Once imported, "pretended" is a device of the process; inside `pretended()` it computes.
"""

import collections
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

__all__ = ["HERE", "Mixed", "Seen", "pretended"]


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def empty_cache(self) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> torch.Tensor:  # `fork_rng` asks for it
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        pass


_setup_privateuseone_for_python_backend("pretended", _Module())
HERE = torch.device("pretended:0")
CPU = torch.device("cpu")
aten = torch.ops.aten
INDEXING = {
    aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default,
    aten._unsafe_index.Tensor, aten._unsafe_index_put.default,
}  # fmt: skip
WRITING = INDEXING - {aten.index.Tensor, aten._unsafe_index.Tensor}
WAITING = {
    aten.nonzero.default, aten.masked_select.default, aten.unique_dim.default, aten._unique2.default,
    aten.equal.default, aten.is_nonzero.default, aten._local_scalar_dense.default, aten.item.default,
}  # fmt: skip
"""Operations whose result, or its shape, the host needs: on CUDA it waits there until the queue is empty."""


class Mixed(RuntimeError):
    """CUDA would refuse this."""


class Seen:
    """What the device was asked to do; and what it is told to refuse.

    Attributes:
        kernels: Operations that compute or copy on the device; views are none. `names` counts them by name.
        waits: Where the host waited for the device, each copy to the host included, and how often.
        uploads, downloads: Where something was copied to the device and to the host; `upload_bytes`, `download_bytes`.
        largest: Bytes of the largest tensor made on the device.
        float64: Where float64 came onto the device, which mps can't have; `no_float64` makes that a TypeError.
        room, error: A new tensor of more than `room` bytes raises `error()`, if it is set: out of memory, in any words.
        watch: Called with each operation on the device and its arguments, before it.
    """

    def __init__(self) -> None:
        self.no_float64 = False
        self.room: int | None = None
        self.error: Callable[[], Exception] = lambda: torch.OutOfMemoryError("CUDA out of memory.")
        self.watch: Callable[[Any, tuple], None] | None = None
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget the counts."""
        self.kernels = self.upload_bytes = self.download_bytes = self.largest = self.refused = 0
        self.names: collections.Counter[str] = collections.Counter()
        self.waits: collections.Counter[str] = collections.Counter()
        self.uploads: collections.Counter[str] = collections.Counter()
        self.downloads: collections.Counter[str] = collections.Counter()
        self.float64: collections.Counter[str] = collections.Counter()

    def kernel(self, func: Any) -> None:
        with self._lock:
            self.kernels += 1
            self.names[str(func).removeprefix("aten.")] += 1

    def wait(self, why: str) -> None:
        with self._lock:
            self.waits[f"{_where()} {why}"] += 1

    def upload(self, size: int) -> None:
        with self._lock:
            self.uploads[_where()] += 1
            self.upload_bytes += size

    def download(self, size: int) -> None:
        self.wait("copy to the host")
        with self._lock:
            self.downloads[_where()] += 1
            self.download_bytes += size

    def made(self, inner: torch.Tensor) -> None:
        """Look at a tensor that comes to lie on the device."""
        if inner.dtype == torch.float64:
            with self._lock:
                self.float64[_where()] += 1
            if self.no_float64:
                raise TypeError(f"Cannot convert a MPS Tensor to float64 dtype, at {_where()}")
        size = inner.numel() * inner.element_size()
        if self.room is not None and size > self.room:
            self.refused += 1
            raise self.error()
        self.largest = max(self.largest, size)


_SEEN = Seen()


class _On(torch.Tensor):
    """A tensor on the device, around the one that has its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "_On":
        _SEEN.made(inner)
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=HERE,
        )  # fmt: skip

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"pretended{tuple(self.shape)} {self.dtype}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, dict(kwargs or {}))


class _Rules(TorchDispatchMode):
    """Takes what makes tensors out of none, such as `torch.zeros(…, device="pretended")`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, dict(kwargs or {}))


class _Python(TorchFunctionMode):
    """What Python does before the dispatcher is asked."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], _On):
            if name == "tolist":
                _SEEN.download(args[0].nbytes)
                return args[0].inner.tolist()
            if name in ("numpy", "__array__"):
                raise TypeError(f"can't convert a tensor on the device to numpy, at {_where()}: use .cpu() first")
            if name in ("__getitem__", "__setitem__") and isinstance(args[1], list):
                args = (args[0], torch.tensor(args[1]), *args[2:])
        if name in ("tensor", "as_tensor") and _here(kwargs.get("device")):
            del kwargs["device"]
            return func(*args, **kwargs).to(HERE)
        return func(*args, **kwargs)


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    """Do one operation by the device's rules."""
    if _composite(func):
        with _Rules():
            found = func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
    leaves = tree_leaves((args, kwargs))
    on = any(isinstance(one, _On) for one in leaves)
    if _SEEN.watch is not None and on:
        _SEEN.watch(func, args)
    if func is aten._to_copy.default:
        return _to_copy(func, args, kwargs)
    if func is aten.copy_.default:
        return _copy(func, args, kwargs)
    wanted = kwargs.get("device")
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu" and (_here(wanted) if wanted is not None else on):
        raise Mixed(f"{func}: a generator of the CPU for the device, at {_where()}")
    if wanted is not None:  # factories, and those like another
        made = func(*_inner(args), **{**_inner(kwargs), "device": CPU if _here(wanted) else wanted})
        if _here(wanted):
            _SEEN.kernel(func)
            return _wrapped(made)
        return made
    if not on:
        return func(*args, **kwargs)
    _refuse_mixed(func, args, leaves)
    _count_waits(func, args, kwargs)
    found = func(*_inner(args), **_inner(kwargs))
    if func is aten._local_scalar_dense.default:
        return found
    if not any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns):
        _SEEN.kernel(func)
    known = {id(one.inner): one for one in leaves if isinstance(one, _On)}  # in place: the same wrapper again
    return return_and_correct_aliasing(
        func, args, kwargs, tree_map(lambda one: known[id(one)] if id(one) in known else _wrapped(one), found)
    )


def _to_copy(func: Any, args: tuple, kwargs: dict) -> Any:
    source, wanted = args[0], kwargs.pop("device", None)
    kwargs.pop("pin_memory", None)
    if not isinstance(source, torch.Tensor):  # a number, under vmap
        return func(torch.tensor(source), *args[1:], **kwargs)
    was = isinstance(source, _On)
    stays = was if wanted is None else _here(wanted)
    made = func(_inner(source), *args[1:], **kwargs, device=None if stays else wanted)
    if stays:
        _SEEN.kernel(func) if was else _SEEN.upload(made.nbytes)
        return _On(made)
    if was and wanted.type == "cpu":
        _SEEN.download(made.nbytes)
    return made


def _copy(func: Any, args: tuple, kwargs: dict) -> Any:
    to, of = args[:2]
    if isinstance(to, _On) and isinstance(of, _On):
        _SEEN.kernel(func)
    elif isinstance(to, _On):
        _SEEN.upload(of.nbytes)
    elif isinstance(of, _On):
        _SEEN.download(of.nbytes)
    func(_inner(to), _inner(of), *args[2:], **kwargs)
    return to


def _refuse_mixed(func: Any, args: tuple, leaves: list) -> None:
    tensors = [one for one in leaves if isinstance(one, torch.Tensor)]
    off = [one for one in tensors if not isinstance(one, _On)]
    if not off:
        return None
    if func in INDEXING and isinstance(args[0], _On):
        return _SEEN.upload(sum(one.nbytes for one in off))
    written = [
        one
        for one, about in zip(args, func._schema.arguments, strict=False)
        if about.alias_info is not None and about.alias_info.is_write and isinstance(one, torch.Tensor)
    ]
    if any(one.dim() for one in off) or any(not isinstance(one, _On) for one in written):
        raise Mixed(f"{func}: the device and the CPU's {[tuple(one.shape) for one in off]}, at {_where()}")
    return None


def _count_waits(func: Any, args: tuple, kwargs: dict) -> None:
    if func in WAITING:
        _SEEN.wait(str(func).removeprefix("aten."))
    elif func in INDEXING and any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1]):
        if func not in WRITING or args[2].dim():  # writing one number is a masked_fill_
            _SEEN.wait("index by a mask")
    elif func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
        _SEEN.wait("repeat_interleave without output_size")


_COMPOSITE: dict[Any, bool] = {}


def _composite(func: Any) -> bool:
    """Whether it consists of other operations, on any device."""
    if func not in _COMPOSITE:
        key = "CompositeImplicitAutograd"
        _COMPOSITE[func] = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key)
    return _COMPOSITE[func]


def _here(device: Any) -> bool:
    return device is not None and torch.device(device).type == HERE.type


def _inner(tree: Any) -> Any:
    return tree_map(lambda one: one.inner if isinstance(one, _On) else one, tree)


def _wrapped(tree: Any) -> Any:
    return tree_map(lambda one: _On(one) if isinstance(one, torch.Tensor) and not isinstance(one, _On) else one, tree)


def _where() -> str:
    """Return the innermost line that isn't torch's or ours; one of transformers after the one that called it."""
    frame: Any = sys._getframe(1)
    inside = ""
    while frame is not None:
        folder, _, name = frame.f_code.co_filename.rpartition("/")
        place = f"{folder.rpartition('/')[2]}/{name}:{frame.f_lineno}"
        if frame.f_code.co_filename != __file__ and "/torch" not in folder and "<" not in name:
            if "/transformers" not in folder:
                return place + inside
            inside = inside or f" in {place}"
        frame = frame.f_back
    return "?" + inside


@contextlib.contextmanager
def pretended() -> Iterator[Seen]:
    """Let the device compute, in this thread and in those begun meanwhile, and yield what it sees."""
    begin = threading.Thread.run

    def begin_here(thread: threading.Thread) -> None:
        with _Rules(), _Python():
            begin(thread)

    _SEEN.__init__()  # type: ignore[misc]
    future = torch.__future__
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(threading.Thread, "run", begin_here))
        for name in ("__enter__", "__exit__"):
            stack.enter_context(mock.patch.object(torch.inference_mode, name, _INFERENCE[name]))
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device=…) copies, as `.to` does
        stack.callback(
            future.set_overwrite_module_params_on_conversion, future.get_overwrite_module_params_on_conversion()
        )
        future.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(_Rules())
        stack.enter_context(_Python())
        yield _SEEN


def _enter(self: Any) -> None:
    self._was = torch.is_grad_enabled()
    torch._C._set_grad_enabled(False)


def _exit(self: Any, *_: Any) -> None:
    torch._C._set_grad_enabled(self._was)


_INFERENCE = {"__enter__": _enter, "__exit__": _exit}
"""Stand for `torch.inference_mode`'s own: what is made inside it can't be a view of what was made before."""
