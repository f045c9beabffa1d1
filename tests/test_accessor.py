"""``df.hfnb`` is there once hfnb and pandas are imported, in either order."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import hfnb
from hfnb import on_import, session


def in_fresh_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


USE = (
    "\ndf = pandas.DataFrame({'i': [1, 2]})"
    "\nprint(df.hfnb.run('row {i}', hfnb.EchoEngine(), progress=False).data.output.tolist())"
)
SAID = "['row 1', 'row 2']"


@pytest.mark.parametrize(
    "imports",
    [
        "import hfnb, pandas",
        "import pandas, hfnb",
        "import hfnb, importlib.util\nassert importlib.util.find_spec('pandas')\nimport pandas",
        "import hfnb, importlib\nimportlib.reload(hfnb)\nimport pandas",
        "import pandas, hfnb, importlib\nimportlib.reload(hfnb)",
        "import hfnb\nfrom pandas.api.types import is_list_like\nimport pandas",
    ],
)
def test_frames_have_it_in_whatever_order_things_are_imported(imports: str) -> None:
    assert in_fresh_python(imports + USE) == SAID


def test_the_hook_goes_away_when_pandas_is_there() -> None:
    code = (
        "import hfnb, sys\n"
        "mine = [each for each in sys.meta_path if type(each).__module__ == 'hfnb.on_import']\n"
        "import pandas\n"
        "print(len(mine), set(mine) & set(sys.meta_path), "
        "type(pandas.__spec__.loader).exec_module.__qualname__ == "
        "pandas.__spec__.loader.exec_module.__qualname__)"
    )
    assert in_fresh_python(code) == "1 set() True"


def test_a_pandas_that_fails_at_first_can_be_imported_later(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise RuntimeError('broken')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport hfnb\n"
        "try:\n    import pandas\nexcept RuntimeError as error:\n    print(error)\n"
        "sys.path.pop(0)\nsys.path_importer_cache.clear()\nimport pandas"
    )
    assert in_fresh_python(code + USE).splitlines() == ["broken", SAID]


def test_without_pandas_nothing_happens() -> None:
    assert in_fresh_python("import sys; sys.modules['pandas'] = None\nimport hfnb") == ""


def test_a_function_is_called_at_once_for_what_is_there_already() -> None:
    called: list[int] = []
    on_import.when_imported("pandas", lambda: called.append(1))
    assert called == [1]


def test_it_uses_the_model_in_use_where_none_is_given() -> None:
    df = pd.DataFrame({"i": [1, 2]})
    with pytest.raises(hfnb.HfnbError, match="Which model"):
        df.hfnb.run("row {i}")
    session.use(hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine()))
    try:
        result = df.hfnb.run("row {i}", into="said", progress=False)
    finally:
        session.use(None)
    assert result.data["said"].tolist() == ["row 1", "row 2"]


def test_a_preview_is_one_as_well() -> None:
    look = pd.DataFrame({"i": range(10)}).hfnb.preview("row {i}", hfnb.EchoEngine(), n=2)
    assert look.rows == 10
    assert len(look.prompts) == 2
