"""What is finished is on disk, and is neither lost nor computed twice."""

import json
import os
import random
import sqlite3
import stat
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pandas.testing
import pytest

import hfnb
from hfnb.errors import JournalWarning, OptionError
from hfnb.journal_file import Answer, JournalFile, default_path

DF = pd.DataFrame({"x": range(50)}, index=range(50, 0, -1))
OUTCOME = ["status", "finish_reason", "error", "prompt_tokens", "new_tokens"]


def echo(**options: Any) -> hfnb.EchoEngine:
    return hfnb.EchoEngine(**{"fingerprint": "echo", **options})


def run(df: pd.DataFrame = DF, engine: Any = None, **options: Any) -> hfnb.RunResult:
    return hfnb.run(df, "{x}", engine or echo(), **{"progress": False, **options})


def test_a_second_run_computes_nothing_and_gives_the_same() -> None:
    first, engine = run(max_new_tokens=3), echo()
    second = run(engine=engine, max_new_tokens=3)
    assert engine.calls == 0
    assert second.rows["source"].unique().tolist() == ["journal"]
    pd.testing.assert_frame_equal(second.data, first.data)
    pd.testing.assert_frame_equal(second.rows[OUTCOME], first.rows[OUTCOME])
    assert (first.stats.from_journal, second.stats.from_journal) == (0, 50)
    assert "50 from the journal" in str(second.stats)
    assert second.stats.rows_per_s == 0
    assert "every answer from the journal" in str(second.stats)
    assert "rows/s" not in str(second.stats)
    assert "rows/s" in str(first.stats)


def test_only_rows_that_are_new_are_computed() -> None:
    run(DF.head(20))
    engine = echo()
    result = run(engine=engine)
    assert engine.calls == 30
    assert result.rows["source"].tolist() == ["journal"] * 20 + ["generated"] * 30
    assert result.data["output"].tolist() == [str(x) for x in range(50)]


@pytest.mark.parametrize(
    "other",
    [
        {"max_new_tokens": 4},
        {"stop": "x"},
        {"temperature": 0.5, "seed": 1},
        {"repetition_penalty": 1.5},
        {"chat": True},
        {"chat": True, "system": "Be brief."},
        {"engine": hfnb.EchoEngine(fingerprint="another")},
    ],
)
def test_whatever_an_answer_depends_on_is_part_of_the_key(other: dict[str, Any]) -> None:
    run()
    assert run(**other).stats.from_journal == 0
    engine = other.get("engine") or echo()
    assert run(**{**other, "engine": engine}).stats.from_journal == 50


def test_seeded_sampling_is_kept_and_unseeded_never() -> None:
    run(temperature=0.7, seed=1)
    assert run(temperature=0.7, seed=1).stats.from_journal == 50
    assert run(temperature=0.7, seed=2).stats.from_journal == 0
    run(temperature=0.7)
    engine = echo()
    assert run(temperature=0.7, engine=engine).stats.from_journal == 0
    assert engine.calls == 50


def test_a_time_limit_is_never_kept() -> None:
    """How far an answer comes depends on the machine's load."""
    run(max_time=5.0)
    assert run(max_time=5.0).stats.from_journal == 0


def test_an_engine_that_cannot_be_recognised_is_not_kept() -> None:
    run(engine=hfnb.EchoEngine())
    assert not default_path().exists()


def test_a_failed_row_is_not_kept() -> None:
    run(engine=echo(fail="7".__eq__))
    engine = echo()
    result = run(engine=engine)
    assert engine.calls == 1
    assert result.rows["source"].tolist().count("generated") == 1
    assert result.stats.ok == 50


def test_a_text_that_the_users_parser_refused_is_parsed_again_and_not_computed() -> None:
    from langchain_core.prompts import PromptTemplate

    llm = hfnb.HuggingFacePipeline(engine=echo())
    refused = []

    def parse(text: str) -> int:
        refused.append(text)
        raise ValueError("no")

    prompt = PromptTemplate.from_template("{x}")
    assert hfnb.run(DF, prompt | llm | parse, progress=False).stats.failed == 50
    calls = llm.engine.calls
    result = hfnb.run(DF, prompt | llm | int, progress=False)
    assert result.data["output"].tolist() == list(range(50))
    assert llm.engine.calls == calls == len(refused) == 50


def test_a_row_is_on_disk_before_it_counts_as_done() -> None:
    """Else a kernel that is killed then would lose rows that the user has seen."""
    counted: list[tuple[int, int]] = []

    def look(progress: hfnb.Progress) -> None:
        with sqlite3.connect(f"file:{default_path()}?mode=ro", uri=True) as db:
            counted.append(
                (progress.done, db.execute("select count(*) from answers").fetchone()[0])
            )

    run(engine=echo(delay_s=0.02), progress=look)
    assert len(counted) > 2
    assert all(done <= written for done, written in counted)


def test_the_file_belongs_to_the_user_alone() -> None:
    run()
    path = default_path()
    assert path.parent == Path(os.environ["XDG_DATA_HOME"]) / "hfnb"
    with JournalFile(path):
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_prompts_are_not_written_down() -> None:
    df = pd.DataFrame({"x": ["a very secret prompt"]})
    hfnb.run(df, "{x}", echo(answer=lambda _: "an answer"), progress=False)
    content = b"".join(each.read_bytes() for each in default_path().parent.iterdir())
    assert b"an answer" in content
    assert b"secret" not in content


def test_a_journal_can_be_elsewhere_or_nowhere(tmp_path: Path) -> None:
    mine = tmp_path / "new" / "mine.sqlite3"
    run(journal=mine)
    assert not default_path().exists()
    assert run(journal=str(mine)).stats.from_journal == 50
    assert run(journal=False).stats.from_journal == 0
    assert run(journal=True).stats.from_journal == 0
    assert default_path().exists()


@pytest.mark.parametrize("wrong", [None, 1, "", b"x"])
def test_what_is_no_place_for_a_journal_is_refused(wrong: Any) -> None:
    with pytest.raises(OptionError, match="journal is True, False, or the path of a file"):
        run(journal=wrong)


def test_a_folder_and_another_programs_database_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is a folder"):
        run(journal=tmp_path)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("create table theirs (x)")
    db.close()
    before = other.read_bytes()
    with pytest.raises(OptionError, match="database of another program"):
        run(journal=other)
    assert other.read_bytes() == before


def test_odd_texts_come_back_as_they_were() -> None:
    texts = ["", " ", "\x00", "half \ud83d", "🎈𐍈", "a\r\n\u2028", "x" * 100_000]
    df = pd.DataFrame({"x": range(len(texts))})
    answers = dict(enumerate(texts))

    def again() -> hfnb.RunResult:
        return hfnb.run(df, "{x}", echo(answer=lambda prompt: answers[int(prompt)]), progress=False)

    first, second = again(), again()
    assert second.stats.from_journal == len(texts)
    assert second.data["output"].tolist() == first.data["output"].tolist()


def test_two_runs_at_once_share_a_journal() -> None:
    results: list[hfnb.RunResult] = []
    halves = (DF.head(30), DF.tail(30))
    engines = [echo(delay_s=0.002) for _ in halves]
    threads = [
        threading.Thread(target=lambda df=df, e=e: results.append(run(df, e)))
        for df, e in zip(halves, engines, strict=True)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [each.stats.ok for each in results] == [30, 30]
    assert run(engine=(third := echo())).stats.from_journal == 50
    assert third.calls == 0


# --- a journal that can't be used --------------------------------------------------------------


def test_a_damaged_journal_is_set_aside_and_the_run_is_whole() -> None:
    run()
    path = default_path()
    path.write_bytes(b"no database" * 1000)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    engine = echo()
    with pytest.warns(JournalWarning, match="was damaged.*set aside"):
        result = run(engine=engine)
    assert (result.stats.ok, engine.calls) == (50, 50)
    assert run().stats.from_journal == 50
    assert hfnb.journal.size() > len(b"no database" * 1000)
    hfnb.journal.clear()
    assert list(path.parent.iterdir()) == []


def test_a_damaged_file_of_the_users_own_is_left_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("my notes\n" * 100)
    with pytest.warns(JournalWarning, match="goes on without it"):
        assert run(journal=mine).stats.ok == 50
    assert mine.read_text() == "my notes\n" * 100


def test_flipped_bytes_never_change_an_answer() -> None:
    """SQLite itself does not notice a flipped bit in a text: each row has a checksum."""
    df = pd.DataFrame({"x": range(300)})
    first = run(df)
    path = default_path()
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for at in draw.sample(range(100, len(damaged)), 30):
            damaged[at] ^= 1 << draw.randrange(8)
        for each in path.parent.iterdir():
            each.unlink()
        path.write_bytes(damaged)
        engine = echo()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = run(df, engine)
        assert {each.category for each in caught} <= {JournalWarning}
        pd.testing.assert_frame_equal(result.data, first.data)
        assert engine.calls + result.stats.from_journal == 300
        refused += engine.calls
    assert refused > 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks for a folder in /sys")
def test_a_read_only_folder_stops_nothing() -> None:
    """Not even root makes files in /sys."""
    with pytest.warns(JournalWarning, match="goes on without it"):
        assert run(journal="/sys/kernel/hfnb-journal").stats.ok == 50


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(JournalWarning, match="goes on without it"):
        assert run(journal=tmp_path / "file" / "below" / "j").stats.ok == 50


def test_a_journal_that_somebody_else_holds_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfnb.journal_file._PATIENCE_S", 0.1)
    run(journal=tmp_path / "j")
    with sqlite3.connect(tmp_path / "j", isolation_level=None) as other:
        other.execute("begin exclusive")
        with pytest.warns(JournalWarning, match="locked"):
            assert run(journal=tmp_path / "j").stats.ok == 50
    other.close()


# --- hfnb.journal ------------------------------------------------------------------------------


def test_the_journal_is_listed_by_model_and_options() -> None:
    assert len(hfnb.journal.entries()) == hfnb.journal.size() == 0
    assert "no rows" in repr(hfnb.journal.entries())
    run(DF.head(3), max_new_tokens=7)
    run(DF.head(5), engine=hfnb.EchoEngine(fingerprint="<b>"))
    latest, first = hfnb.journal.entries()
    assert (first.model, first.backend, first.rows, latest.rows) == ("hfnb/echo", "echo", 3, 5)
    assert "max_new_tokens=7" in first.options
    assert first.made <= first.used <= latest.used
    shown = repr(hfnb.journal.entries())
    assert "8 rows" in shown
    assert str(default_path()) in shown
    assert "<table" in hfnb.journal.entries()._repr_html_()
    assert hfnb.journal.size() >= default_path().stat().st_size > 0


def test_what_was_not_used_for_long_is_pruned() -> None:
    run(DF.head(3), max_new_tokens=7)
    run(DF.head(5))
    with sqlite3.connect(default_path()) as db:
        db.execute("update contexts set used = used - 10 * 86400 where about like '%: 7%'")
    db.close()
    assert hfnb.journal.prune(days=11) == 0
    assert hfnb.journal.prune(days=9) == 3
    assert [each.rows for each in hfnb.journal.entries()] == [5]
    assert run(DF.head(5)).stats.from_journal == 5
    assert hfnb.journal.prune(days=0) == 5
    with pytest.raises(OptionError, match="days is a number"):
        hfnb.journal.prune(days=-1)


def test_pruning_gives_the_disk_back() -> None:
    hfnb.run(DF, "{x}", echo(answer=lambda _: "x" * 20_000), progress=False)
    before = hfnb.journal.size()
    hfnb.journal.prune(days=0)
    assert hfnb.journal.size() < before / 4


def test_a_cleared_journal_is_gone() -> None:
    run()
    assert hfnb.journal.clear() > 0
    assert hfnb.journal.size() == hfnb.journal.clear() == 0
    assert run().stats.from_journal == 0


def test_what_is_no_journal_is_not_cleared(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("my notes\n" * 100)
    with pytest.raises(hfnb.HfnbError):
        hfnb.journal.clear(mine)
    assert mine.exists()


# --- the file ----------------------------------------------------------------------------------


def test_an_answer_is_replaced_by_the_same_prompts_next_one(tmp_path: Path) -> None:
    with JournalFile(tmp_path / "j") as file:
        context = file.context({"model": "m"}, b"k" * 16)
        assert file.context({"model": "m"}, b"k" * 16) == context
        assert file.context({"model": "m"}, b"l" * 16) != context
        for text in ("a", "b"):
            file.add(context, [(b"p" * 16, Answer(text, "eos", 1, 2, 0.5))])
        assert file.find(context, [b"p" * 16, b"q" * 16]) == {
            b"p" * 16: Answer("b", "eos", 1, 2, 0.5)
        }
        assert file.find(context + 1, [b"p" * 16]) == {}


def test_a_result_says_how_to_repeat_it() -> None:
    result = run(max_new_tokens=9, temperature=0.5, seed=3, chat=True, system="Be brief.")
    manifest = json.loads(result.manifest_json())
    assert manifest == result.manifest == result.data.attrs["hfnb"]
    assert manifest["prompt"]["template"] == "{x}"
    assert manifest["prompt"]["system"] == "Be brief."
    assert manifest["model"]["fingerprint"] == "echo"
    assert (manifest["options"]["max_new_tokens"], manifest["options"]["seed"]) == (9, 3)
    assert manifest["rows"]["ok"] == 50
    assert manifest["versions"]["hfnb"] == hfnb.__version__
    assert manifest["hardware"]["cores"] == os.cpu_count()


def test_the_manifest_survives_parquet(tmp_path: Path) -> None:
    result = run()
    result.data.to_parquet(tmp_path / "out.parquet")
    assert pd.read_parquet(tmp_path / "out.parquet").attrs["hfnb"] == result.manifest
