"""Turns what must hold of something that others wrote into findings: what holds, and why what else doesn't."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gia_mic.extract.errors import MerError, what_failed
from gia_mic.extract.plugins import Kind

__all__ = ["Finding", "findings", "refuse_broken"]


@dataclass(frozen=True)
class Finding:
    """What became of one truth.

    Attributes:
        truth: What should hold, in words.
        problem: Why it doesn't; None where it does.
        note: What else is to be said.
    """

    truth: str
    problem: str | None = None
    note: str = ""

    def line(self) -> str:
        """Return it for a terminal.

        >>> Finding("padding changes nothing").line(), Finding("every modality counts", "text doesn't").line()
        ('holds  padding changes nothing', "fails  every modality counts: text doesn't")
        """
        why = self.problem or self.note
        return ("holds  " if self.problem is None else "fails  ") + self.truth + (f": {why}" if why else "")


def findings(truths: Mapping[str, Callable[[Any], str | None]], subject: Any, name: str) -> list[Finding]:
    """Return what becomes of each truth; where the first is broken, the others would say the same and are left out.

    Args:
        truths: What should hold, in words, and what tries it: it raises where it doesn't, or returns what to note.
        subject: What is tried.
        name: What that is called.
    """
    results: list[Finding] = []
    for truth, test in truths.items():
        try:
            results.append(Finding(truth, note=test(subject) or ""))
        except MerError as error:
            results.append(Finding(truth, str(error).rstrip(".")))
        except Exception as error:
            results.append(Finding(truth, f"{name} fails with {what_failed(error)}"))
        if results[0].problem is not None:
            break
    return results


def refuse_broken(results: Collection[Finding], kind: Kind) -> None:
    """Refuse what breaks a truth.

    Raises:
        MerError: It does.
    """
    if broken := sum(finding.problem is not None for finding in results):
        what = kind.noun.partition(" ")[2]
        raise kind.error(f"{broken} of what every {what} must do it doesn't: correct it, and check it again.")
