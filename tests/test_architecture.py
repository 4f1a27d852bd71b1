"""The house rules, read from the source: who may import whom, what loads when, and that every public name explains itself."""

import ast
import functools
import importlib
import importlib.resources
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnaccel.backends import Backend, backend_class, backend_names

ROOT = Path(__file__).resolve().parent.parent

RANKS = (
    ("kernels",),
    ("errors", "arrays", "version", "described"),
    ("description", "machine", "threads", "files", "report"),
    ("profile",),
    ("activations", "dropout", "order", "table", "model_file"),
    ("losses", "optimizers", "schedules", "sources"),
    ("network", "metrics", "targets", "inputs"),
    ("plan", "layout", "encoding", "assessment", "prediction"),
    ("reference", "learning", "onnx_file"),
    ("program", "preparation"),
    ("cost", "progress"),
    ("backends", "fused", "gpu"),
    ("backends.*",),
    ("model",),
    ("recipe",),
    ("identity", "interruption", "checkpoint_file"),
    ("checkpoint", "loop"),
    ("training",),
    ("trial", "synthetic", "records"),
    ("calibration",),
    ("estimators", "estimation"),
    ("bench",),
    ("cli",),
    ("__main__",),
)
"""Lowest first. A module imports only what stands in a row above its own; those of one row don't know each other."""

PACKAGES = {"kernels", "bench", "cli", "sources", "estimators", "gpu"}
"""Packages that take one row as a whole: their modules may import each other, though not in circles."""

HEAVY = {"numba", "cupy", "sklearn", "pandas", "rich", "scipy", "matplotlib", "pyarrow", "safetensors", "onnx"}


def source_files() -> dict[str, Path]:
    """Every file of the package by the name of its module."""
    found = {}
    for folder, prefix in (("nnaccel", ""), ("kernels", "nnaccel."), ("bench", "nnaccel.")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[prefix + ".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = source_files()


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The full name of everything that is imported, with its line: inside functions, under TYPE_CHECKING, by importlib."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, node.lineno) for alias in names)
            case ast.ImportFrom(module=module, names=names):
                yield from ((f"{module}.{alias.name}", node.lineno) for alias in names)
            case ast.Call(func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[argument, *_]):
                if isinstance(argument, ast.Constant):
                    yield str(argument.value), node.lineno


def internal_imports(module: str) -> list[tuple[str, int]]:
    """The modules of nnaccel that a module imports, with their lines; `nnaccel` is the package itself."""
    found = []
    for name, line in imports(parse(MODULES[module])):
        while name.startswith("nnaccel.") and name not in MODULES:
            name = name.rpartition(".")[0]
        if name.partition(".")[0] == "nnaccel":
            found.append((name, line))
    return found


def row(module: str) -> int:
    """The number of a module's row."""
    package, _, rest = module.removeprefix("nnaccel.").partition(".")
    key = package if not rest or package in PACKAGES else f"{package}.*"
    for number, names in enumerate(RANKS):
        if key in names:
            return number
    raise AssertionError(
        f"{module} has no rank: add {key!r} to RANKS in tests/test_architecture.py, below all that it imports."
    )


def package(module: str) -> str:
    return module.split(".")[1]


RANKED = [module for module in MODULES if module != "nnaccel"]


@pytest.mark.parametrize("module", RANKED)
def test_imports_only_what_stands_lower(module: str) -> None:
    for imported, line in internal_imports(module):
        place = f"{MODULES[module].relative_to(ROOT)}:{line}: {module} imports {imported}"
        assert imported != "nnaccel", f"{place}: import the module that defines the name instead."
        if package(module) == package(imported) in PACKAGES:
            continue
        assert row(imported) < row(module), f"{place}, which doesn't stand lower; see RANKS."


def test_no_circles() -> None:
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"these import each other in a circle: {' > '.join((*path, module))}"
        if module not in finished:
            for imported, _ in internal_imports(module):
                if imported not in (module, "nnaccel"):
                    visit(imported, (*path, module))
            finished.add(module)

    for module in RANKED:
        visit(module, ())


@pytest.mark.parametrize("module", RANKED)
def test_backends_are_reached_by_name_alone(module: str) -> None:
    single = [name for name, _ in internal_imports(module) if name.startswith("nnaccel.backends.")]
    assert not single, f"{module} imports {single}: take get_backend(name) of nnaccel.backends instead."


@pytest.mark.parametrize("module", [module for module in RANKED if package(module) == "kernels"])
def test_kernels_know_nothing_of_the_rest(module: str) -> None:
    assert {package(name) for name, _ in internal_imports(module)} <= {"kernels"}


def test_package_imports_nothing_but_its_version_at_once() -> None:
    """The names that type checkers see under TYPE_CHECKING are not loaded."""
    at_once = [node for node in parse(MODULES["nnaccel"]).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name for name, _ in imports(ast.Module(body=list(at_once), type_ignores=[]))}
    assert {name for name in names if name.startswith("nnaccel")} <= {"nnaccel.version.VERSION"}


def test_a_module_without_a_rank_is_told_where_to_add_it() -> None:
    with pytest.raises(AssertionError, match="add 'novel' to RANKS"):
        row("nnaccel.novel")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    from nnaccel.plan import Plan", "nnaccel.plan"),
        ("if TYPE_CHECKING:\n    import nnaccel.plan", "nnaccel.plan"),
        ("from nnaccel import plan", "nnaccel.plan"),
        ("importlib.import_module('nnaccel.plan')", "nnaccel.plan"),
    ],
)
def test_no_import_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str) -> None:
    path = tmp_path / "probe.py"
    path.write_text(source)
    monkeypatch.setitem(MODULES, "nnaccel.probe", path)
    assert [name for name, _ in internal_imports("nnaccel.probe")] == [expected]


def loaded_after(statement: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [("import nnaccel", HEAVY), ("import nnaccel.cli", HEAVY | {"numpy"})],
)
def test_importing_loads_nothing_heavy(statement: str, unwanted: set[str]) -> None:
    unwelcome = loaded_after(statement) & unwanted
    assert unwelcome == set()


PYTHON_FILES = [
    path for folder in ("nnaccel", "kernels", "bench", "tests") for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_are_absolute(path: Path) -> None:
    relative = [node.lineno for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative, f"relative imports in lines {relative}"
    twice = [(name, line) for name, line in imports(parse(path)) if name.partition(".")[0] in ("kernels", "bench")]
    assert not twice, f"{twice}: import them as nnaccel.kernels and nnaccel.bench, or the file is loaded twice"


def test_every_package_is_installed() -> None:
    """The list is written by hand, because two of the folders lie outside nnaccel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    on_disk = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    assert set(settings["packages"]) == on_disk
    without_init = {
        path.parent.relative_to(ROOT).as_posix()
        for path in MODULES.values()
        if not (path.parent / "__init__.py").exists()
    }
    assert not without_init, "these folders hold modules but no __init__.py"


@pytest.mark.parametrize("name", ["nnaccel.kernels", "nnaccel.bench"])
def test_outer_folders_are_reached_as_packages(name: str) -> None:
    files = importlib.resources.files(name)
    assert files.joinpath("__init__.py").is_file()
    assert importlib.import_module(name).__name__ == name


def public_members(owner: type) -> dict[str, Any]:
    """The public methods and properties of a class, as declared, its bases' included."""
    names = [name for name in dir(owner) if not name.startswith("_")]
    found = {name: inspect.getattr_static(owner, name) for name in names}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, (classmethod, staticmethod, property)) or callable(value)
    }


def parameters(member: Any) -> list[tuple[str, Any, Any]]:
    """The names, kinds and defaults of a method's parameters; a backend may annotate the array type that it has."""
    function: Any = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_every_backend_is_found_by_its_file() -> None:
    files = {path.stem for path in (ROOT / "nnaccel" / "backends").glob("*.py")} - {"__init__"}
    assert set(backend_names()) == files


@pytest.mark.parametrize("name", backend_names())
def test_backends_have_the_contracts_signatures(name: str) -> None:
    backend = backend_class(name)
    assert issubclass(backend, Backend)
    assert backend.name == name
    assert not inspect.isabstract(backend), f"missing: {sorted(backend.__abstractmethods__)}"
    contract, got = public_members(Backend), public_members(backend)
    assert set(got) == set(contract), "a backend has the contract's public methods, no others"
    for member, wanted in contract.items():
        assert type(got[member]) is type(wanted), f"{member} is a {type(wanted).__name__} in the contract"
        assert parameters(got[member]) == parameters(wanted), f"{member} has other parameters in the contract"


def written_docstring(owner: type) -> str | None:
    """The docstring of a class, unless it is inherited or made up by `dataclass` or `NamedTuple`."""
    text = vars(owner).get("__doc__")
    return None if text is None or text.startswith(f"{owner.__name__}(") else text


def undocumented(module: str) -> Iterator[str]:
    """Public names of a module without a docstring; an overriding method may leave it to the one that it overrides."""
    tree, loaded = parse(MODULES[module]), importlib.import_module(module)
    if not ast.get_docstring(tree):
        yield module
    for node in tree.body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)) or node.name.startswith("_"):
            continue
        item = getattr(loaded, node.name)
        if not (written_docstring(item) if isinstance(node, ast.ClassDef) else inspect.getdoc(item)):
            yield f"{node.name} (line {node.lineno})"
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                inherited = (ancestor.__dict__.get(method.name) for ancestor in item.__mro__)
                if not any(inspect.getdoc(declared) for declared in inherited if declared is not None):
                    yield f"{node.name}.{method.name} (line {method.lineno})"


@pytest.mark.parametrize("module", MODULES)
def test_public_names_have_docstrings(module: str) -> None:
    missing = list(undocumented(module))
    assert not missing, f"without a docstring in {MODULES[module].relative_to(ROOT)}: {', '.join(missing)}"
