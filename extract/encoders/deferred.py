"""Turns imports that only training and compiling need into ones that wait until something is used.

Every model of transformers imports torch's compiler, its tensors that several machines share, SymPy and SciPy at its
top, for names that no frame passes through. That takes longer than all else that is imported. While transformers'
common modules are imported, a stand-in is there for each of those modules, and the names taken from it are deferred:
they load the real module when they are called, subclassed or looked into.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["DEFERRED", "Deferred", "import_transformers", "standing_in", "without_compiler"]

COMPILER = "torch._dynamo"

DEFERRED = (
    COMPILER,
    "torch._dynamo._trace_wrapped_higher_order_op",
    "torch.distributed.tensor",
    "torch.distributed.fsdp",
    "transformers.distributed.checkpoint",
    "transformers.distributed.expert_parallel",
    "transformers.distributed.sharding_utils",
    "transformers.distributed.tensor_parallel",
    "scipy.optimize",
    "sklearn.metrics",
)
"""Modules that transformers takes names from and that predicting doesn't use."""

MARKS = ("allow_in_graph", "assume_constant_result", "disable")
"""Decorators of the compiler."""

COMMON = ("modeling_utils", "masking_utils", "modeling_layers", "generation.utils")
"""Modules of transformers that every model imports."""


class Deferred:
    """Stands for a name of a module that isn't loaded yet, and loads it when it is used.

    Args:
        module: The module's name.
        name: Name in it.
    """

    def __init__(self, module: str, name: str) -> None:
        self.__dict__.update(_module=module, _name=name)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(self._real(), attribute)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the real one."""
        return self._real()(*arguments, **options)

    def __mro_entries__(self, _: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the real class, for who derives from it."""
        return (self._real(),)

    def __instancecheck__(self, instance: Any) -> bool:
        """Whether something is of the real class: nothing is, as long as that isn't loaded."""
        return self._module in sys.modules and isinstance(instance, self._real())

    def __subclasscheck__(self, subclass: Any) -> bool:
        """Whether a class is derived from the real one."""
        return self._module in sys.modules and issubclass(subclass, self._real())

    def _real(self) -> Any:
        if isinstance(sys.modules.get(self._module), _StandIn):
            del sys.modules[self._module]
        return getattr(import_module(self._module), self._name)


class _StandIn(ModuleType):
    """Gives deferred names of a module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return unmarked if name in MARKS else Deferred(self.__name__, name)


def unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """Return a function as it is, where the compiler would mark it for itself."""
    return function if callable(function) else unmarked


@contextmanager
def standing_in(names: tuple[str, ...] = DEFERRED) -> Iterator[None]:
    """Have stand-ins imported in the place of modules, but for those that are loaded already."""
    stand_ins = {name: _StandIn(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


@contextmanager
def without_compiler() -> Iterator[None]:
    """Keep torch from importing its compiler for what it runs on the meta device, if it wasn't imported so far.

    transformers imports it, unless that was deferred: where it is loaded, it is left alone.
    """
    deferred = "transformers.masking_utils" in sys.modules
    with standing_in((COMPILER,) if deferred else ()):
        yield


def import_transformers() -> None:
    """Import what all models of transformers have in common, without what predicting doesn't use."""
    with standing_in():
        for name in COMMON:
            import_module(f"transformers.{name}")
