"""Completion offers what may stand where the cursor is, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

import hfnb
from tests.magics.conftest import Shell

OFFERED = [
    ("%%hfnb ", ["df", "compare"]),
    ("%%hfnb d", ["df"]),
    ("%%hfnb df --mod", ["--model"]),
    ("%%hfnb df --model hfnb/n", ["hfnb/numbers-fr"]),
    ("%%hfnb df --model ec", ["echo"]),
    ("%%hfnb df --backend ", ["pytorch", "openvino"]),
    ("%%hfnb df --device c", ["cpu", "cuda", "cuda:0"]),
    ("%%hfnb df --backend openvino --device C", ["CPU"]),
    ("%%hfnb df --too-long ", ["error", "truncate", "skip"]),
    ("%%hfnb df --var nu", ["number"]),
    ("%%hfnb df --schema ", ["tones"]),
    ("%%hfnb df --nested o", ["objects"]),
    ("%%hfnb df --chat --no-ch", ["--no-ch"]),
    ("%%hfnb df --into an", ["an"]),
    ("%%hfnb df\nWhat is {", ["i", "long name"]),
    ("%%hfnb df\nWhat is {i} {lo", ["long name"]),
    ("%%hfnb df\nWhat is {long n", ["long name"]),
    ("%%hfnb df\nWhat is {zz", ["i", "long name"]),
    ("%%hfnb df --var number\nWhat is {n", ["number"]),
    ("%%hfnb df\nWhat is {{nu", ["nu"]),
    ("%%hfnb df\nWhat is the nu", ["nu"]),
    ("%%hfnb nothing\nWhat is {nu", ["nu"]),
    ("%%hfnb df.head(2)\nWhat is {lo", ["long name"]),
    ("%%hfnb comp", ["compare"]),
    ("%%hfnb compare ", ["df"]),
    ("%%hfnb compare df ec", ["echo"]),
    ("%%hfnb compare df echo hfnb/n", ["hfnb/numbers-fr"]),
    ("%%hfnb compare df hfnb/numbers-fr,back", ["hfnb/numbers-fr,backend="]),
    ("%%hfnb compare df a/b,backend=o", ["a/b,backend=openvino"]),
    ("%%hfnb compare df a/b,backend=openvino,device=C", ["a/b,backend=openvino,device=CPU"]),
    ("%%hfnb compare df a/b,dtype=float32,dt", ["a/b,dtype=float32,dt"]),
    ("%%hfnb compare df a/b,reproducible=t", ["a/b,reproducible=true"]),
    ("%%hfnb compare df echo --rep", ["--repeat", "--repetition-penalty"]),
    ("%%hfnb compare df echo --reference ", ["i"]),
    ("%%hfnb compare df echo --schema ", ["tones"]),
    ("%%hfnb compare df echo --nulls s", ["skip"]),
    ("%%hfnb compare df echo\nWhat is {lo", ["long name"]),
    ("%hfnb comp", ["compare"]),
    ("%hfnb l", ["load", "last"]),
    ("%hfnb load hfnb/t", ["hfnb/tiny-t5"]),
    ("%hfnb load hfnb/numbers-fr --dt", ["--dtype"]),
    ("%hfnb load hfnb/numbers-fr --dtype b", ["bfloat16"]),
    ("x = 1\n%hfnb sta", ["status"]),
    ("%hfnb help opt", ["options"]),
]


@pytest.mark.parametrize(("text", "offered"), OFFERED)
def test_what_may_come_next_is_offered_and_nothing_else(
    shell: Shell, text: str, offered: list[str]
) -> None:
    assert shell.complete(text) == offered


def test_a_variable_that_fails_when_it_is_looked_at_does_no_harm(shell: Shell) -> None:
    class Angry:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    shell.names["angry"] = Angry()
    assert shell.complete("%%hfnb ") == ["df", "compare"]
    assert shell.complete("%%hfnb df --model e") == ["echo"]


def test_every_option_is_offered_until_it_is_given(shell: Shell) -> None:
    every = shell.complete("%%hfnb df --")
    assert {"--into", "--model", "--max-new-tokens", "--stop", "--device"} <= set(every)
    assert all(each.startswith("--") for each in every)
    left = shell.complete("%%hfnb df --into x --stop a --")
    assert "--into" not in left
    assert "--stop" in left


def test_loaded_models_can_be_unloaded(shell: Shell) -> None:
    shell.names["llm"] = hfnb.load("hfnb/numbers-fr")
    assert shell.complete("%hfnb unload ") == ["hfnb/numbers-fr"]


def test_models_of_the_cache_and_folders_are_offered(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models--Qwen--Qwen3-0.6B").mkdir()
    (tmp_path / "models--gpt2").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert shell.complete("%hfnb load Qw") == ["Qwen/Qwen3-0.6B"]
    assert shell.complete("%hfnb load g") == ["gpt2"]
    assert shell.complete(f"%hfnb load {tmp_path}/models--g") == [f"{tmp_path}/models--gpt2/"]


def test_other_cells_are_completed_as_ever(shell: Shell) -> None:
    assert "number" in shell.complete("num")
    assert shell.complete("%%hf") == ["%%hfnb"]
    assert "number" in shell.complete("# about %%hfnb df\nnum")
    assert "number" in shell.complete("%%time\nnum")


def test_completing_loads_no_model_and_no_torch() -> None:
    """A list that waits for seconds is no help."""
    script = (
        "import sys, pandas as pd\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell.instance(); ip.run_line_magic('load_ext', 'hfnb')\n"
        "ip.user_ns['df'] = pd.DataFrame({'i': [1]})\n"
        "for text in ('%%hfnb ', '%%hfnb df --model ', '%%hfnb df --device ', '%hfnb load '):\n"
        "    assert ip.Completer.complete(line_buffer=text)[1], text\n"
        "assert not {'torch', 'transformers', 'langchain_core', 'ipywidgets'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
