"""The house rules that a machine can count: floors, homes of heavy packages, sizes, quick import."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import neurosae

ROOT = Path(neurosae.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
HOMES = {
    "torch": ("subject", "dictionary"),
    "transformers": ("subject", "dictionary"),
    "transformer_lens": ("subject", "dictionary"),
    "sae_lens": ("dictionary",),
    "sklearn": ("analysis",),
    "nilearn": ("analysis",),
    "rsatoolbox": ("analysis", "export"),
    "matplotlib": ("plotting", "report"),
    "netCDF4": ("recording",),
    "distributed": ("recording",),
    "pydantic": ("protocol",),
    "jinja2": ("report",),
    "typer": ("cli",),
}
HEAVY = (
    "torch",
    "transformer_lens",
    "transformers",
    "sae_lens",
    "sklearn",
    "nilearn",
    "rsatoolbox",
    "matplotlib",
    "distributed",
)


def trees():
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(function):
    """Lines of a function without its signature's decorators, its docstring and blank lines."""
    documented = ast.get_docstring(function) is not None
    body = function.body[1:] if documented else function.body
    if not body:
        return 1
    source = range(body[0].lineno, function.end_lineno + 1)
    return len(source)


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node


def test_heavy_packages_stay_in_their_homes():
    strays = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, tree in trees().items()
        for name, _ in imported(tree)
        if (package := name.split(".")[0]) in HOMES and path.relative_to(ROOT).parts[0] not in HOMES[package]
    ]
    assert not strays


def test_no_import_of_our_own_hides_in_a_function():
    hidden = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in trees().items()
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("neurosae")
    ]
    assert not hidden


def test_functions_and_modules_stay_short():
    lengths = {
        (str(path.relative_to(ROOT)), function.name): code_lines(function)
        for path, tree in trees().items()
        for function in functions(tree)
    }
    assert not {name: length for name, length in lengths.items() if length > 60}
    assert statistics.median(lengths.values()) <= 12
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 30
    long_modules = {
        str(path.relative_to(ROOT)): lines
        for path in MODULES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long_modules


def test_every_public_function_has_a_docstring():
    bare = [
        f"{path.relative_to(ROOT)}:{function.name}"
        for path, tree in trees().items()
        for function in tree.body
        if isinstance(function, ast.FunctionDef | ast.ClassDef)
        and not function.name.startswith("_")
        and ast.get_docstring(function) is None
        and "overload" not in [getattr(its, "id", "") for its in function.decorator_list]
    ]
    assert not bare


def test_no_public_name_equals_a_module_name():
    stems = {path.stem for path in MODULES} | {path.name for path in ROOT.rglob("*") if path.is_dir()}
    functions_ = set(neurosae.__all__) - set(neurosae._MODULES)
    assert not functions_ & stems


@pytest.mark.parametrize("statement", ["import neurosae", "import neurosae.cli"])
def test_import_loads_nothing_heavy(statement):
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
