"""The line: what stands behind %hfnb, and how the extension comes and goes."""

import gc
import time
import weakref
from pathlib import Path

import hfnb
from hfnb import session
from hfnb.magics.arguments import OF_CELL
from tests.magics.conftest import Shell


def test_alone_it_shows_the_help_and_what_is_loaded(shell: Shell) -> None:
    assert shell("%hfnb") is None
    assert "%%hfnb df --into answer" in shell.said
    assert "model     none; %hfnb load MODEL" in shell.said


def test_load_makes_a_model_the_one_in_use_and_unload_gives_it_back(shell: Shell) -> None:
    shell("%hfnb load hfnb/numbers-fr --device cpu --dtype float32 --max-new-tokens 1")
    assert "hfnb/numbers-fr · text-generation · pytorch · float32 · cpu" in shell.said
    llm = session.current()
    assert llm is not None
    assert llm.generation.get("max_new_tokens") == 1
    shell("%hfnb status")
    assert "hfnb/numbers-fr" in shell.said
    data = shell("%%hfnb df --limit 1\nWhat is the number {i} in french?")
    assert data["output"].tolist() == ["soixante"]
    shell("%hfnb unload hfnb/numbers-fr")
    assert "unloaded hfnb/numbers-fr" in shell.said
    assert session.current() is None
    shell("%hfnb unload")
    assert "no model was in memory" in shell.said


def test_a_model_that_another_takes_the_place_of_is_let_go(shell: Shell) -> None:
    shell("%hfnb load hfnb/numbers-fr")
    before = weakref.ref(session.current().engine)  # type: ignore[union-attr]
    shell("%hfnb load hfnb/tiny-t5")
    until = time.monotonic() + 30
    while before() is not None and time.monotonic() < until:
        time.sleep(0.05)  # the panels of other tests let go of it in a thread of their own
        gc.collect()
    assert before() is None


def test_a_variable_can_be_unloaded(shell: Shell) -> None:
    shell("import hfnb; llm = hfnb.load('hfnb/numbers-fr')")
    shell("%hfnb unload llm")
    assert "unloaded hfnb/numbers-fr" in shell.said


def test_models_are_those_of_python(shell: Shell) -> None:
    names = shell("%hfnb models numbers").names
    assert names == hfnb.models("numbers").names
    assert names[0] == "hfnb/numbers-fr"  # and perhaps its exports
    assert "hfnb/tiny-t5" in shell("%hfnb models --task translation").names
    shell("%hfnb models --task translate")
    assert "Did you mean 'translation'?" in shell.said


def test_devices_are_those_of_python(shell: Shell) -> None:
    assert "cpu" in [each.name for each in shell("%hfnb devices")]


def test_last_and_journal_return_what_python_has(shell: Shell) -> None:
    shell("%%hfnb df --model echo\nrow {i}")
    assert shell("%hfnb last") is hfnb.last_result()
    assert [each.model for each in shell("%hfnb journal")] == ["hfnb/echo"]


def test_a_run_in_parts_is_the_last_one_too(shell: Shell, tmp_path: Path) -> None:
    shell.names["out"] = tmp_path / "out"
    shell("import hfnb; result = hfnb.run(df, 'row {i}', echo, out=out)")
    assert shell.error is None
    shell("%hfnb status")
    assert "last run  3 rows: 3 ok" in shell.said
    shell("%hfnb last")
    assert "3 ok" in shell.said


def test_help_is_short_and_names_every_option(shell: Shell) -> None:
    shell("%hfnb help")
    assert len(shell.said.splitlines()) < 25
    assert max(map(len, shell.said.splitlines())) <= 100
    shell("%hfnb help options")
    assert [line.split()[0] for line in shell.said.splitlines()] == list(OF_CELL)
    shell("%hfnb?")


def test_the_example_of_the_help_works(shell: Shell) -> None:
    shell("%hfnb help")
    lines = [line.strip() for line in shell.said.splitlines()]
    load = next(line.split("  ")[0] for line in lines if line.startswith("%hfnb load"))
    at = next(i for i, line in enumerate(lines) if line.startswith("%%hfnb"))
    shell(load)
    data = shell(f"{lines[at]}\n{lines[at + 1]}")
    assert data["answer"].tolist()[0] == "soixante-douze"


def test_mistakes_name_what_was_meant(shell: Shell) -> None:
    for line, said in (
        ("lod hfnb/numbers-fr", "Did you mean 'load'?"),
        ("df", "%%hfnb df, and the prompt"),
        ("load", "Which model?"),
        ("load a b", "not also 'b'"),
        ("load hfnb/numbers-fr --devise cpu", "Did you mean '--device'?"),
        ("load hfnb/numbers-fr --device cpx", "Did you mean 'cpu'?"),
        ("unload hfnb/numbers-fx", "No model 'hfnb/numbers-fx' is in memory"),
        ("status now", "stands alone"),
        ("help me", "%hfnb help options"),
    ):
        shell(f"%hfnb {line}")
        assert shell.said.startswith("UsageError: "), line
        assert said in shell.said, line


def test_the_extension_leaves_nothing_behind_but_the_accessor(shell: Shell) -> None:
    def left() -> list[object]:
        ip = shell.ip
        return [
            "hfnb" in ip.magics_manager.magics["line"],
            "hfnb" in ip.magics_manager.magics["cell"],
            "HfnbMagics" in ip.magics_manager.registry,
            [type(each).__name__ for each in ip.configurables].count("HfnbMagics"),
            len(ip.Completer.custom_matchers),
            [
                each
                for each in ip.events.callbacks["post_run_cell"]
                if "hfnb" in getattr(each, "__module__", "")
            ]
            != [],
        ]

    assert left() == [True, True, True, 1, 1, True]
    shell("%reload_ext hfnb")
    assert left() == [True, True, True, 1, 1, True]
    shell("%%hfnb df --model echo\nrow {i}")
    assert shell.error is None
    shell("%unload_ext hfnb")
    assert left() == [False, False, False, 0, 0, False]
    shell("%%hfnb df\nrow {i}")
    assert "not found" in shell.said
    assert hasattr(shell.names["df"], "hfnb")
    shell("%load_ext hfnb")
    assert left() == [True, True, True, 1, 1, True]
