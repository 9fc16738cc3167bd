"""Turns one declaration of a setting into all that tells it: its check, its option, its row in the documentation.

A setting is a field of a frozen dataclass that is declared with `setting`, as `width` is here:

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     width: int = setting(32, "Features inside the model.", at_least=1)
    >>> out_of_range(Config(width=0))
    ['width is 0, and must be at least 1']
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["Setting", "out_of_range", "setting", "settings_of"]

TRUTH = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
"""Texts that stand for a truth value."""


@dataclass(frozen=True)
class Setting:
    """What is known of a setting.

    Attributes:
        default: Its default, whose type is the setting's.
        help: What it is, with its symbol and unit, in a sentence or two.
        at_least: Lowest value allowed; None sets no such bound, as for the next three.
        above: Bound that every value is above.
        below: Bound that every value is below.
        at_most: Highest value allowed.
        choices: The values there are; for a tuple, those of each of its items.
        off: Value that switches a part of the model off, for ablations; None where it is no switch.
        elsewhere: What else it is by default, and where, in words.
        parse: Turns a text into a value, or raises a ValueError that says why not; by default as `default` is.
    """

    default: Any
    help: str
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: Collection[str] = ()
    parse: Callable[[str], Any] | None = None
    off: Any = None
    elsewhere: str = ""

    @property
    def range(self) -> str:
        """The values that it may have, in words; empty where its type says all.

        >>> Setting(0.5, "", at_least=0, below=1).range
        'in [0, 1)'
        >>> Setting("b", "", choices=("a", "b", "c")).range
        'a, b or c'
        """
        if self.choices:
            *others, last = self.choices
            return f"{', '.join(others)} or {last}" if others else last
        if self.at_least is not None and self.below is not None:
            return f"in [{self.at_least:g}, {self.below:g})"
        words = {"at least": self.at_least, "above": self.above, "below": self.below, "at most": self.at_most}
        return " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)

    @property
    def shown(self) -> str:
        """The default, as it is typed.

        >>> Setting(6e-3, "").shown, Setting((6, 9), "").shown, Setting((), "").shown, Setting(False, "").shown
        ('0.006', '6,9', 'none', 'off')
        """
        return "; ".join(filter(None, (self._shown, self.elsewhere)))

    @property
    def _shown(self) -> str:
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default)) or "none"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def allows(self, value: Any) -> bool:
        """Whether a value is in the range; no number is in none, and no range goes up to infinity."""
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if self.choices:
            return all(item in self.choices for item in (value if isinstance(value, tuple) else (value,)))
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def value_of(self, text: str) -> Any:
        """Return the value that a text stands for, which may still be out of range.

        >>> Setting(True, "").value_of("off"), Setting((1, 2), "").value_of("3,4")
        (False, (3, 4))

        Raises:
            ValueError: It stands for none of this setting's type.
        """
        if self.parse is not None:
            return self.parse(text)
        if isinstance(self.default, bool):
            if (value := TRUTH.get(text.strip().lower())) is None:
                raise ValueError(f"{text} is neither on nor off")
            return value
        if isinstance(self.default, tuple):
            return tuple(map(type(self.default[0]) if self.default else str, text.split(",")))
        return type(self.default)(text)


def setting(default: Any, help: str, *, deferred: bool = False, **limits: Any) -> Any:
    """Declare a field of a frozen dataclass as a setting.

    Args:
        default: Value that the field has by default, of the setting's type.
        help: What it is, with its symbol and unit, in a sentence or two.
        deferred: Leave the field None where it isn't chosen, as its default depends on what isn't known yet.
        limits: Other fields of `Setting`, such as `above=0`.
    """
    return field(default=None if deferred else default, metadata={"setting": Setting(default, help, **limits)})


def settings_of(config: type[Any]) -> dict[str, Setting]:
    """Return the settings of a config by name, in their order."""
    return {each.name: each.metadata["setting"] for each in fields(config) if "setting" in each.metadata}


def out_of_range(values: Any, config: type[Any] | None = None) -> list[str]:
    """Return a sentence for each setting that has a value out of its range.

    Args:
        values: A config, or another object with attributes of the same names, of which None says nothing.
        config: The dataclass that declares the settings; by default that of `values`.
    """
    declared = settings_of(config or type(values))
    return [
        f"{name} is {value!r}, and must be {declaration.range}"
        for name, declaration in declared.items()
        if (value := getattr(values, name)) is not None and not declaration.allows(value)
    ]
