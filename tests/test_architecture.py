"""Guards of the architecture: what is public, what an import costs, and who may import whom."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import hfnb

PACKAGE = Path(hfnb.__file__).parent
ROOT = PACKAGE.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# --- what is public ---------------------------------------------------------------------------


def test_the_public_names_are_those_that_have_a_home() -> None:
    assert sorted(hfnb.__all__) == hfnb.__all__
    assert set(hfnb.__all__) == {*hfnb._HOMES, *hfnb._MODULES}
    assert set(hfnb.__all__) <= set(dir(hfnb))


@pytest.mark.parametrize("name", hfnb._MODULES)
def test_a_public_module_resolves_and_its_functions_are_documented(name: str) -> None:
    module = getattr(hfnb, name)
    assert module is importlib.import_module(f"hfnb.{name}")
    assert inspect.getdoc(module)
    functions = [
        each
        for each in vars(module).values()
        if inspect.isfunction(each)
        and each.__module__ == module.__name__
        and not each.__name__.startswith("_")
    ]
    assert functions
    for each in functions:
        assert f"{module.__name__}.{each.__name__}(" in (module.__doc__ or "")
        assert "Example:" in (inspect.getdoc(each) or "")


@pytest.mark.parametrize("name", sorted(hfnb._HOMES))
def test_a_public_name_resolves_to_its_home_and_is_documented(name: str) -> None:
    value = getattr(hfnb, name)
    assert value is getattr(importlib.import_module(hfnb._HOMES[name]), name)
    assert value.__module__ == hfnb._HOMES[name]
    assert inspect.getdoc(value)


# Classes that a user is given and never makes; their docstrings describe what they hold.
GIVEN = {
    "Comparison",
    "Estimate",
    "JournalWarning",
    "PartsResult",
    "Preview",
    "Progress",
    "Recommendation",
    "RunResult",
    "RunStats",
    "SmallClusterWarning",
    "TightMemoryWarning",
}


@pytest.mark.parametrize("name", sorted(set(hfnb._HOMES) - GIVEN))
def test_what_a_user_calls_is_shown_in_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(hfnb, name)) or ""
    assert "Example:" in text
    assert ">>> " in text


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    guarded = next(
        each for each in tree.body if isinstance(each, ast.If) and "TYPE_CHECKING" in ast.dump(each)
    )
    seen = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == hfnb._HOMES | dict.fromkeys(hfnb._MODULES, "hfnb")


def test_an_unknown_name_is_an_attribute_error_and_the_version_is_known() -> None:
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = hfnb.laod
    assert re.match(r"\d+\.\d+", hfnb.__version__)


# --- what an import costs ---------------------------------------------------------------------

HEAVY = (
    "torch transformers openvino openvino_genai optimum accelerate huggingface_hub langchain_core "
    "pandas numpy ipywidgets IPython matplotlib psutil ray"
).split()


def modules_after(code: str) -> set[str]:
    """Return the modules that code loads in a fresh Python, beside those that are there anyway."""
    script = (
        "import json, sys; before = set(sys.modules)\n"
        f"{code}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_importing_hfnb_loads_nothing_heavy() -> None:
    loaded = modules_after("import hfnb; dir(hfnb); hfnb.__all__")
    assert not loaded & set(HEAVY)
    assert {name for name in loaded if name.startswith("hfnb")} == {"hfnb", "hfnb.on_import"}
    assert len(loaded) < 20, sorted(loaded)


def test_specifications_and_errors_need_only_the_standard_library() -> None:
    loaded = modules_after("import hfnb.spec, hfnb.errors, hfnb.engines.echo, hfnb.engines.base")
    tops = {name.partition(".")[0] for name in loaded}
    assert tops - sys.stdlib_module_names == {"hfnb"}


def test_looking_for_a_packaged_model_loads_neither_torch_nor_the_hub() -> None:
    loaded = modules_after(
        "from hfnb import hub, spec; hub.find(spec.ModelSpec('hfnb/numbers-fr'))"
    )
    assert not loaded & {"torch", "transformers", "huggingface_hub", "langchain_core", "pandas"}


def test_a_run_with_the_echo_engine_loads_no_torch_and_no_langchain() -> None:
    loaded = modules_after(
        "import hfnb, pandas\n"
        "hfnb.run(pandas.DataFrame({'x': ['a']}), '{x}', hfnb.EchoEngine(), progress=False)"
    )
    assert not loaded & {"torch", "transformers", "langchain_core", "ipywidgets"}


# --- who may import whom ----------------------------------------------------------------------

# Rooms, the lowest first. A room may import those below it, and itself.
LAYERS: list[list[set[str]]] = [
    [{"errors", "escapes", "meanwhile", "on_import", "options", "show", "spec", "steps"}],
    [
        {"hardware", "hub", "journal", "journal_file", "measure", "sizes", "weights"}
        | {"hub_errors", "hub_fetch", "schema", "speeds"}
    ],
    [{"engines"}],
    [
        {"loading", "exporting", "llm", "llm_batch", "llm_structured", "llm_text", "pipelines"}
        | {"chat", "session", "machine", "estimating", "needs", "catalogue"},
        {"frame"},
    ],
    [{"comparing"}, {"ray"}, {"accessor"}, {"variables"}],
    [{"panel"}, {"magics"}],
]
# Rooms of one layer that know each other, and then only inside functions or for type checkers.
LAZILY = [{"llm", "frame"}, {"chat", "frame"}, {"loading", "frame"}]
# The package's front door and its demo program, which use public names.
DOORS = {"", "demo"}


@dataclass(frozen=True)
class Import:
    """One import of a part of hfnb by another."""

    file: Path
    line: int
    source: str
    target: str
    lazy: bool


def part_of(module: str) -> str:
    """Return ``"engines"`` for ``"hfnb.engines.base"`` and ``""`` for ``"hfnb"``."""
    return module.partition(".")[2].partition(".")[0]


def imports_of(file: Path) -> Iterator[Import]:
    parts = file.relative_to(ROOT).with_suffix("").parts
    source = part_of(".".join(parts).removesuffix(".__init__"))

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            module = node.module or ""
            # `from hfnb import hub` imports the module hfnb.hub.
            targets = [f"{module}.{a.name}" for a in node.names] if module == "hfnb" else [module]
        for target in targets:
            if target.partition(".")[0] == "hfnb":
                yield Import(file, getattr(node, "lineno", 0), source, part_of(target), lazy)
        inner = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        inner = inner or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inner)

    yield from visit(ast.parse(file.read_text(encoding="utf-8")), lazy=False)


def place_of(part: str) -> tuple[int, int]:
    """Return a part's layer and its room there."""
    for layer, rooms in enumerate(LAYERS):
        for room, parts in enumerate(rooms):
            if part in parts:
                return layer, room
    raise AssertionError(f"hfnb/{part} has no place in the layers: give it one in this test")


def is_allowed(each: Import) -> bool:
    if each.source in DOORS:
        return True
    if each.target in DOORS:
        return False
    source, target = place_of(each.source), place_of(each.target)
    if source[0] == target[0] and source[1] != target[1]:
        return each.lazy and {each.source, each.target} in LAZILY
    return target[0] <= source[0]


def test_imports_run_only_towards_the_lower_layers() -> None:
    every = [each for file in SOURCES for each in imports_of(file)]
    assert len(every) > 50
    wrong = [
        f"{each.file.relative_to(ROOT)}:{each.line}: {each.source} imports {each.target}"
        for each in every
        if not is_allowed(each)
    ]
    assert wrong == []


def test_the_guard_sees_imports_of_every_form(tmp_path: Path) -> None:
    def allowed(source: str, target: str, *, lazy: bool = False) -> bool:
        return is_allowed(Import(tmp_path, 1, source, target, lazy))

    assert allowed("frame", "engines")
    assert allowed("hub", "hardware")
    assert allowed("frame", "llm", lazy=True)
    assert not allowed("frame", "llm")
    assert not allowed("spec", "hub", lazy=True)
    assert not allowed("engines", "frame", lazy=True)
    assert not allowed("panel", "magics", lazy=True)
    assert not allowed("frame", "", lazy=True)
    for part in {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in SOURCES}:
        if part not in DOORS | {"__init__"}:
            place_of(part)


def test_heavy_packages_are_imported_at_the_top_only_where_they_are_the_business() -> None:
    allowed: dict[str, tuple[str, ...]] = {
        "torch": ("torch_",),
        "transformers": ("torch_", "openvino_static"),
        "langchain_core": ("llm", "chat"),
        "openvino": ("openvino_paged",),
        "openvino_genai": ("openvino_engine", "openvino_paged", "openvino_settings"),
        "optimum": ("openvino_static",),
    }
    for file in SOURCES:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {each.partition(".")[0] for each in names} & set(allowed):
                places = file.relative_to(PACKAGE).with_suffix("").parts
                assert any(each.startswith(allowed[name]) for each in places), f"{file}: {name}"


def test_ray_is_imported_in_its_own_package_alone() -> None:
    for file in SOURCES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            for name in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert "ray" not in names or file.parent.name == "ray", file


# --- the sources ------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_says_what_lives_there_and_leaves_nothing_undone(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    assert not re.search(r"noqa|pragma: no cover", text)


def test_what_installs_names_no_registry() -> None:
    """Where packages come from is the business of whoever installs, not of the project."""
    names = ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run"]
    for name in (*names, "binder/environment.yml", "binder/postBuild"):
        file = ROOT / name
        assert not re.search(r"index-url|find-links|https?://\S+/simple", file.read_text()), name


PURE = (
    "hfnb.errors hfnb.show hfnb.spec hfnb.comparing.agreement hfnb.comparing.differences "
    "hfnb.engines.base hfnb.engines.chat_template hfnb.engines.stopping hfnb.engines.echo "
    "hfnb.engines.limits hfnb.engines.task_text hfnb.engines.telling hfnb.engines.text "
    "hfnb.frame.template hfnb.frame.cells hfnb.frame.progress hfnb.frame.duplicates "
    "hfnb.frame.forecast hfnb.magics.arguments hfnb.magics.comparing hfnb.magics.prompt "
    "hfnb.magics.words hfnb.schema.editor hfnb.schema.labels hfnb.schema.patterns"
).split()


@pytest.mark.parametrize("name", PURE)
def test_the_examples_of_pure_modules_give_what_they_show(name: str) -> None:
    module = importlib.import_module(name)
    shown = Path(inspect.getsourcefile(module) or "").read_text().count(">>> ")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, attempted = doctest.testmod(module, optionflags=flags)
    assert failed == 0
    assert attempted == shown
