"""The cell: what it runs, what it shows, and what it leaves."""

import signal
import threading
from typing import Any

import pandas as pd
import polars as pl
import pytest

import hfnb
from hfnb import session
from tests.magics.conftest import Shell
from tests.needs import require

ASK = "What is the number {i} in french?"
ANSWERS = ["soixante-douze", "sept", "mille neuf cent quatre-vingt-quatre"]


def test_a_cell_answers_each_row_with_the_packaged_model(shell: Shell) -> None:
    before = shell.names["df"].copy()
    data = shell(f'%%hfnb df --into answer --model hfnb/numbers-fr --stop "\\n"\n{ASK}')
    assert data["answer"].tolist() == ANSWERS
    assert "soixante-douze" in shell.said
    assert "latency" in shell.said
    assert "rows     3: 3 ok" in shell.said
    assert shell.names["df"].equals(before)


def test_the_result_is_shown_once_and_its_table_is_in_the_underscore(shell: Shell) -> None:
    data = shell(f"%%hfnb df --model echo\n{ASK}")
    assert shell.said.count("What is the number 72") == 1
    assert type(data) is pd.DataFrame
    assert shell.names["_"] is data
    shell("_")
    assert "latency" not in shell.said  # from now on it is an ordinary table
    assert "long name" in shell.said


def test_a_table_that_was_changed_is_shown_as_it_is(shell: Shell) -> None:
    shell(f'answers = get_ipython().run_cell_magic("hfnb", "df --model echo", "{ASK}")')
    assert shell.said == ""
    shell("answers['more'] = 1\nanswers")
    assert "more" in shell.said
    assert "latency" not in shell.said


def test_another_table_of_the_same_cell_is_shown_as_itself(shell: Shell) -> None:
    shell(f'get_ipython().run_cell_magic("hfnb", "df --model echo", "{ASK}")\ndisplay(df.head(1))')
    assert "latency" not in shell.said


def test_the_users_own_picture_of_a_frame_comes_back(shell: Shell) -> None:
    formatter = shell.ip.display_formatter.mimebundle_formatter
    formatter.for_type(pd.DataFrame, lambda frame: {"text/plain": "mine"})
    shell(f"%%hfnb df --model echo\n{ASK}")
    assert "latency" in shell.said
    shell("df")
    assert "mine" in shell.said


def test_o_keeps_the_table_in_a_variable_even_in_df(shell: Shell) -> None:
    data = shell(f"%%hfnb df --model echo --into said -o kept\n{ASK}")
    assert shell.names["kept"] is data
    assert list(shell.names["df"].columns) == ["i", "long name"]
    shell(f"%%hfnb df --into said -o df\n{ASK}")
    assert list(shell.names["df"].columns) == ["i", "long name", "said"]
    shell(f"%%hfnb df --into said -o df --overwrite\n{ASK}")
    assert shell.error is None


def test_the_model_is_kept_for_the_next_cell_and_not_loaded_again(shell: Shell) -> None:
    shell(f"%%hfnb df --model hfnb/numbers-fr\n{ASK}")
    llm = session.current()
    assert llm is not None
    shell(f"%%hfnb df\n{ASK}")
    assert session.current() is llm
    shell(f"%%hfnb df --model hfnb/numbers-fr\n{ASK}")
    assert session.current() is llm
    shell(f"%%hfnb df --model hfnb/numbers-fr --dtype float32\n{ASK}")
    assert shell.error is None
    other = session.current()
    assert other is not None
    assert other is not llm
    assert other.engine.info.dtype == "float32"


def test_a_variable_that_holds_a_model_is_used(shell: Shell) -> None:
    llm = hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine(answer=str.upper))
    shell.names["loud"] = llm
    data = shell("%%hfnb df --model loud\nrow {i}")
    assert data["output"].tolist() == ["ROW 72", "ROW 7", "ROW 1984"]
    assert session.current() is llm


def test_a_model_that_another_part_of_hfnb_put_in_use_is_used(shell: Shell) -> None:
    session.use(hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine(answer=str.upper)))
    assert shell("%%hfnb df\nrow {i}")["output"].tolist()[0] == "ROW 72"


def test_limit_takes_the_first_rows_and_sample_the_same_ones_each_time(shell: Shell) -> None:
    shell.names["df"] = pd.DataFrame({"i": range(100)})
    assert shell("%%hfnb df --model echo --limit 2\n{i}")["i"].tolist() == [0, 1]
    first = shell("%%hfnb df --sample 5\n{i}")["i"].tolist()
    assert len(set(first)) == 5
    assert first == sorted(first)
    assert first != [0, 1, 2, 3, 4]
    assert shell("%%hfnb df --sample 5\n{i}")["i"].tolist() == first
    assert len(shell("%%hfnb df --sample 500\n{i}")) == 100


def test_a_polars_frame_comes_back_as_one(shell: Shell) -> None:
    shell.names["pf"] = pl.DataFrame({"i": [1, 2, 3]})
    data = shell("%%hfnb pf --model echo --sample 2\nrow {i}")
    assert isinstance(data, pl.DataFrame)
    assert data.height == 2
    assert shell.said.count("row ") == 2
    assert "latency" in shell.said


def test_arrow_and_lazy_tables_can_be_sampled(shell: Shell) -> None:
    shell.names["table"] = pl.DataFrame({"i": [1, 2, 3]}).to_arrow()
    shell.names["lazy"] = pl.LazyFrame({"i": [1, 2, 3]})
    for name in ("table", "lazy"):
        data = shell(f"%%hfnb {name} --model echo --sample 2\nrow {{i}}")
        assert len(data) == 2
        assert "latency" in shell.said
        assert shell.complete(f"%%hfnb {name}\n{{") == ["i"]


def test_an_expression_gives_the_table_too(shell: Shell) -> None:
    assert shell("%%hfnb df.tail(1) --model echo\nrow {i}")["output"].tolist() == ["row 1984"]
    assert len(shell('%%hfnb "df[df.i > 50]"\nrow {i}')) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--var tone", "72 kind {x}"),
        ("--var tone='loud'", "72 loud"),
        ('--var tone="tone + str(number)"', "72 tone + str(number)"),
        ('--var "tone=tone.upper() + str(number)"', "72 KIND {X}3"),
        ("--var tone=number*2", "72 6"),
    ],
)
def test_a_python_variable_is_put_into_the_prompt(shell: Shell, given: str, said: str) -> None:
    shell.names["tone"] = "kind {x}"
    data = shell(f"%%hfnb df --model echo {given} --limit 1\n{{i}} {{tone}}")
    assert data["output"].tolist() == [said]


def test_a_value_is_formatted_and_other_braces_stay(shell: Shell) -> None:
    shell.names["share"] = 0.5
    cell = "%%hfnb df --model echo --var share --limit 1\n{i:>4} {share:.2f} {{x}} {long name!r}"
    assert shell(cell)["output"].tolist() == ["  72 0.50 {x} 'a'"]


def test_the_prompt_is_what_stands_in_the_cell(shell: Shell) -> None:
    data = shell("%%hfnb df --model echo --limit 1\n\nQ: {i} $number %d\n  A:\n\n")
    assert data["output"].tolist() == ["Q: 72 $number %d\n  A:"]


def test_options_reach_the_run_under_their_transformers_names(shell: Shell) -> None:
    shell("%%hfnb df --model echo --max-new-tokens 2 --stop x --stop '\\n' --system Hi\na b {i}")
    last = hfnb.last_result()
    assert last is not None
    assert last.manifest["options"]["max_new_tokens"] == 2
    assert last.manifest["options"]["stop"] == ["x", "\n"]
    assert last.manifest["prompt"]["system"] == "Hi"
    assert last.data["output"].tolist()[0] == "Hi a"
    shell("%%hfnb df --no-chat --temperature=0.5 --seed 1 --top_p 0.9 --do-sample\na {i}")
    last = hfnb.last_result()
    assert last is not None
    assert last.manifest["prompt"]["chat"] is False
    assert (
        last.manifest["options"] | {"temperature": 0.5, "seed": 1, "top_p": 0.9}
        == (last.manifest["options"])
    )


def test_quiet_shows_nothing(shell: Shell) -> None:
    assert shell("%%hfnb df --model echo --quiet -o kept\nrow {i}") is None
    assert shell.said == ""
    assert shell.names["kept"]["output"].tolist()[1] == "row 7"


def test_settings_count_where_the_line_says_nothing(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    shell("%config HfnbMagics.max_new_tokens = 1")
    shell("%config HfnbMagics.into = 'said'")
    assert shell("%%hfnb df --model echo\nrow {i}")["said"].tolist()[0] == "row"
    assert shell("%%hfnb df --max-new-tokens 2\nrow {i}")["said"].tolist()[0] == "row 72"
    shell("%config HfnbMagics.max_new_tokens = 0")
    assert "max_new_tokens" in caplog.text  # %config logs what it refuses
    assert shell("%%hfnb df\nrow {i}")["said"].tolist()[0] == "row"
    shell("%config HfnbMagics")
    assert "The most tokens of an answer" in shell.said


def test_settings_come_from_the_users_configuration(shell: Shell) -> None:
    shell("%unload_ext hfnb")
    shell.ip.config.HfnbMagics.into = "said"
    shell("%load_ext hfnb")
    assert "said" in shell("%%hfnb df --model echo\nrow {i}").columns


def test_a_model_in_the_settings_is_loaded_by_the_first_cell(shell: Shell) -> None:
    shell("%config HfnbMagics.model = 'hfnb/numbers-fr'")
    assert shell(f"%%hfnb df\n{ASK}")["output"].tolist() == ANSWERS


def test_an_interrupted_cell_keeps_its_rows_and_the_next_one_goes_on(shell: Shell) -> None:
    main = threading.main_thread().ident
    assert main is not None
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        if len(asked) == 20:
            signal.pthread_kill(main, signal.SIGINT)
        return prompt

    shell.names["df"] = pd.DataFrame({"i": range(200)})
    shell.names["slow"] = hfnb.EchoEngine(answer, delay_s=0.02, fingerprint="slow")
    shell("%%hfnb df --model slow\nrow {i}")
    assert isinstance(shell.error, KeyboardInterrupt)
    assert "of 200 rows are finished: %hfnb last" in shell.said
    assert "Run the cell again" in shell.said
    assert "Traceback" not in shell.said
    last = shell("%hfnb last")
    done = last.stats.ok
    assert 0 < done < 200
    shell.names["slow"]._delay_s = 0.0
    data = shell("%%hfnb df\nrow {i}")
    assert data["output"].tolist() == [f"row {i}" for i in range(200)]
    assert hfnb.last_result().stats.from_journal == done  # type: ignore[union-attr]
    assert len(asked) <= 201  # at most the row that the interrupt ended was asked again


def test_without_a_journal_an_interrupt_does_not_promise_to_go_on(shell: Shell) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def answer(prompt: str) -> str:
        signal.pthread_kill(main, signal.SIGINT)
        return prompt

    shell.names["slow"] = hfnb.EchoEngine(answer, delay_s=0.2, fingerprint="slow")
    shell("%%hfnb df --model slow --no-journal\nrow {i}")
    assert "rows are finished" in shell.said
    assert "again" not in shell.said


def test_a_failed_row_is_shown_and_on_error_raise_is_one_line(shell: Shell) -> None:
    shell.names["frail"] = hfnb.EchoEngine(fail=lambda prompt: prompt.endswith("7"))
    shell("%%hfnb df --model frail\nrow {i}")
    assert "error: The echo engine was told to fail" in shell.said
    shell("%%hfnb df --on-error raise\nrow {i}")
    assert shell.said.startswith("UsageError: ")


def test_errors_of_the_users_own_code_keep_their_traceback(shell: Shell) -> None:
    class Broken:
        task = "text-generation"

        def __getattr__(self, name: str) -> Any:
            return hfnb.EchoEngine().__getattribute__(name)

        def generate(self, *args: Any, **options: Any) -> Any:
            raise ZeroDivisionError("mine")

    shell.names["broken"] = Broken()
    shell("%%hfnb df --model broken\nrow {i}")
    assert "UsageError" not in shell.said


# --- schemas ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    ["Tone", "'tone: good|bad, stars: int'", "\"{'tone': ['good', 'bad'], 'stars': int}\"",
     '\'{"type": "object", "properties": {"tone": {"enum": ["good", "bad"]}, '
     '"stars": {"type": "integer"}}}\''],
)  # fmt: skip
def test_a_schema_makes_typed_columns(shell: Shell, schema: str) -> None:
    require("structured")
    shell.names["Tone"] = {"tone": ["good", "bad"], "stars": int}
    shell.names["said"] = hfnb.EchoEngine(lambda _: '{"tone": "good", "stars": 3}')
    data = shell(f"%%hfnb df --schema {schema} --model said --raw-text\n{ASK}")
    assert str(data["tone"].dtype) == "category"
    assert data["stars"].tolist() == [3, 3, 3]
    assert list(data)[-1] == "output_text"
    assert "tone" in shell.said


def test_labels_with_probabilities_in_a_cell(shell: Shell) -> None:
    require("structured")
    data = shell(
        "%%hfnb df --schema 'sept, soixante-douze' --probabilities --into word "
        f"--model hfnb/numbers-fr\n{ASK}"
    )
    assert data["word"].tolist()[:2] == ["soixante-douze", "sept"]
    assert data["word.sept"][1] > 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--schema Tonne", "There is no variable 'Tonne' for --schema. Did you mean 'Tone'"),
        ("--schema 'tone: flaot'", "Did you mean 'float'"),
        ("--schema int --probabilities", "--probabilities is for a choice among labels"),
        ("--raw-text", "is about a schema"),
        ("--schema 'i: int'", "has a column 'i' already"),
    ],
)
def test_a_wrong_schema_is_one_line(shell: Shell, options: str, said: str) -> None:
    require("structured")
    shell.names["Tone"] = {"tone": ["good", "bad"]}
    shell(f"%%hfnb df {options} --model no/such-model\n{ASK}")
    assert said in shell.said.replace("\n", " ")
    assert "Traceback" not in shell.said
