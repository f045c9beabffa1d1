"""Runs in parts on a real cluster: the files are a local run's, and nothing is computed twice."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hfnb
from hfnb.frame.progress import Progress
from tests.ray.conftest import STORE
from tests.ray.support import ON, Noting, assert_same, echo, fails, mixed

PROMPT = "{i}: {text}"


def written(folder: Path, df: pd.DataFrame, files: int = 3) -> str:
    """Write a frame as several parquet files, and return their glob."""
    folder.mkdir()
    size = -(-len(df) // files)
    for number in range(files):
        piece = df.iloc[number * size : (number + 1) * size]
        table = pa.Table.from_pandas(piece, preserve_index=False)
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=17)
    return str(folder / "*.parquet")


def len_of(prompt: str) -> str:
    """Answer with how long a prompt is."""
    return str(len(prompt))


def test_parts_are_those_of_a_local_run_and_either_goes_on_with_the_other_s(
    cluster: Any, tmp_path: Path
) -> None:
    source, note = written(tmp_path / "in", mixed(200)), Noting(tmp_path / "asked")
    llm = echo(answer=note, fail=fails)
    there = hfnb.run(source, PROMPT, llm, out=tmp_path / "there", part_rows=64, **ON)
    assert len(note.lines()) == there.stats.ok
    here = hfnb.run(source, PROMPT, llm, out=tmp_path / "here", part_rows=64, progress=False)
    assert there.complete
    assert [pq.read_table(each) for each in there.files] == [
        pq.read_table(each) for each in here.files
    ]
    pd.testing.assert_frame_equal(there.to_pandas(), here.to_pandas())
    assert there.rows.schema == here.rows.schema
    assert there.errors["error"].tolist() == here.errors["error"].tolist()
    assert (there.stats.rows, there.stats.ok) == (200, here.stats.ok)

    # A part is lost; a row failed before. The cluster computes those alone, in the local folder.
    before = len(note.lines())
    here.files[2].unlink()
    again = hfnb.run(source, PROMPT, echo(answer=note), out=tmp_path / "here", **ON)
    assert again.complete
    assert again.stats.failed == 0
    computed = len(note.lines()) - before
    assert computed == here.stats.failed + sum(at % 7 != 3 for at in range(128, 192))
    # Everything is there: no worker is started for that, nor by a local run.
    for options in (ON, {"progress": False}):
        done = hfnb.run(source, PROMPT, echo(answer=note), out=tmp_path / "here", **options)
        assert (done.stats.rows, done.complete) == (200, True)
    assert len(note.lines()) - before == computed


def test_an_interrupt_stops_the_workers_and_keeps_what_is_finished(
    cluster: Any, tmp_path: Path
) -> None:
    source, note = written(tmp_path / "in", mixed(300), 1), Noting(tmp_path / "asked")
    llm = echo(answer=note, delay_s=0.03)

    def interrupt(progress: Progress) -> None:
        if 60 < progress.done < 250:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"out": tmp_path / "out", "part_rows": 40}
    with pytest.raises(KeyboardInterrupt) as caught:
        hfnb.run(source, PROMPT, llm, **options, **{**ON, "progress": interrupt})
    partial = caught.value.result  # type: ignore[attr-defined]
    assert hfnb.last_result() is partial
    assert not partial.complete
    finished = partial.stats.ok
    assert finished >= 40
    computed = len(note.lines())
    assert computed < 250
    whole = hfnb.run(source, PROMPT, echo(answer=note), **options, **ON)
    assert whole.complete
    assert whole.stats.ok == len(note.lines()) - computed + finished
    here = hfnb.run(mixed(300), PROMPT, echo(), progress=False)
    assert whole.to_pandas()["output"].tolist() == here.data["output"].tolist()


def test_a_dataset_comes_back_as_a_dataset_in_its_order(cluster: Any) -> None:
    import ray

    df = mixed(200).reset_index(drop=True)
    there = hfnb.run(
        ray.data.from_pandas(df), PROMPT, echo(fail=fails), preserve_order=True, part_rows=30, **ON
    )
    here = hfnb.run(df, PROMPT, echo(fail=fails), progress=False)
    assert isinstance(there.data, ray.data.Dataset)
    frame, lines = there.to_pandas(), there.rows.to_pandas()
    assert list(frame.columns) == list(here.data.columns)
    pd.testing.assert_series_equal(frame["output"], here.data["output"], check_dtype=False)
    assert lines["status"].tolist() == here.rows["status"].tolist()
    assert there.errors["error"].tolist() == here.errors["error"].tolist()
    assert (there.complete, len(there), there.stats.ok) == (True, 200, here.stats.ok)


@pytest.mark.slow
def test_a_file_larger_than_the_object_store_goes_through(cluster: Any, tmp_path: Path) -> None:
    """What reads it waits, and keeps its core, while the workers are busy; what cuts needs one too.

    With less than two cores beside the workers', such a file would stand still for ever.
    """
    table = pa.table({"text": ["word " * 800] * 150_000})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1000)
    assert table.nbytes > 1.5 * 2 * STORE
    options: dict[str, Any] = {"out": tmp_path / "out", "part_rows": 2000, "journal": False}
    result = hfnb.run(
        tmp_path / "in.parquet", "{text}", echo(answer=len_of), max_new_tokens=4, **options, **ON
    )
    assert (result.complete, result.stats.ok) == (True, len(table))


@pytest.mark.slow
def test_a_folder_of_another_run_is_told_so_by_the_workers(cluster: Any, tmp_path: Path) -> None:
    source = written(tmp_path / "in", mixed(60))
    hfnb.run(source, PROMPT, echo(), out=tmp_path / "out", part_rows=20, progress=False)
    (tmp_path / "out" / "part-00001.parquet").unlink()
    with pytest.raises(hfnb.HfnbError, match="holds parts of another run: max_new_tokens"):
        hfnb.run(source, PROMPT, echo(), out=tmp_path / "out", max_new_tokens=3, **ON)
    changed = written(tmp_path / "other", mixed(60).iloc[::-1])
    with pytest.raises(hfnb.HfnbError, match="are not those that"):
        hfnb.run(changed, PROMPT, echo(), out=tmp_path / "out", **ON)


@pytest.mark.slow
def test_files_behind_an_address_are_read_by_the_workers(cluster: Any, tmp_path: Path) -> None:
    df = mixed(90).reset_index(drop=True)
    url = f"file://{written(tmp_path / 'in', df)}"
    there = hfnb.run(url, PROMPT, echo(), out=tmp_path / "out", **ON)
    here = hfnb.run(df, PROMPT, echo(), progress=False)
    assert there.to_pandas()["output"].tolist() == here.data["output"].tolist()
    first = hfnb.run(url, PROMPT, echo(), preserve_order=True, limit=10, **ON)
    assert first.to_pandas()["output"].tolist() == here.data["output"].tolist()[:10]
    assert_same(here, hfnb.run(df, PROMPT, echo(), progress=False))


def test_retry_computes_failed_rows_again_by_the_workers(cluster: Any, tmp_path: Path) -> None:
    source, mended = written(tmp_path / "in", pd.DataFrame({"x": range(20)})), tmp_path / "mended"
    note = Noting(tmp_path / "asked")
    llm = echo(answer=note, fail=lambda prompt: prompt == "13" and not mended.exists())
    result = hfnb.run(source, "{x}", llm, out=tmp_path / "out", part_rows=10, **ON)
    assert (result.stats.ok, result.stats.failed) == (19, 1)
    mended.touch()
    again = result.retry(progress=False)
    assert (again.stats.ok, again.stats.failed, again.path) == (20, 0, result.path)
    assert len(note.lines()) == 20
