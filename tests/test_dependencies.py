"""pyproject.toml names what the program imports: everything of others, and nothing else."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = [ROOT / "cli.py", *(ROOT / "gia_mic").glob("*.py")] + [
    path for room in ("commands", "extract", "fuse", "report", "serve") for path in (ROOT / room).rglob("*.py")
]
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "torch.utils.tensorboard": "tensorboard"}
"""Distribution of each import that has another name."""


def distributions(nodes):
    """Distributions of others that import statements among nodes of a syntax tree need."""
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    tops = {module if module in DISTRIBUTIONS else module.partition(".")[0] for module in modules}
    return {normal(DISTRIBUTIONS.get(top, top)) for top in tops - set(sys.stdlib_module_names) - {"gia_mic"}}


def normal(requirement):
    """Name of a requirement, as indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def trees(paths=SOURCES):
    return [ast.parse(path.read_text(encoding="utf-8")) for path in paths]


REQUIRED = {normal(requirement) for requirement in PROJECT["dependencies"]}
EXTRAS = {
    normal(requirement)
    for extra, requirements in PROJECT["optional-dependencies"].items()
    if extra not in ("docs", "test")
    for requirement in requirements
}


def test_what_is_imported_is_named_and_what_is_named_is_imported():
    assert len(SOURCES) > 90
    assert set().union(*(distributions(list(ast.walk(tree))) for tree in trees())) == REQUIRED | EXTRAS


def test_what_an_extra_brings_is_imported_only_when_it_is_needed():
    # the page as a whole is: `mer serve` imports it inside its command
    paths = [path for path in SOURCES if path.parent != ROOT / "serve"]
    assert set().union(*(distributions(tree.body) for tree in trees(paths))) <= REQUIRED
    assert not REQUIRED & EXTRAS


def test_every_requirement_has_a_lowest_version():
    for requirement in PROJECT["dependencies"]:
        assert ">=" in requirement, requirement
