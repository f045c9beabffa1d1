"""The Hub when things go wrong: refusals, cut transfers, wrong bytes, hostile repositories."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hfnb import hub
from hfnb.errors import ModelNotFoundError
from hfnb.spec import ModelSpec
from tests.hub_server import COMMIT, hub_server
from tests.needs import require

Ask = Callable[..., str]


@pytest.fixture
def model(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a tiny model's folder, to be changed."""
    return Path(shutil.copytree(tiny_model("gpt2"), tmp_path / "gpt2"))


@pytest.mark.parametrize(
    ("status", "says", "told"),
    [
        (401, "Invalid credentials in Authorization header", "expired. Make a new one"),
        (429, "Too Many Requests", "takes no more requests from here for now (429)"),
        pytest.param(
            *(500, "Internal Error", "has a problem of its own (500)"), marks=pytest.mark.slow
        ),  # huggingface_hub tries five times before it gives up
        pytest.param(
            *(503, "Service Unavailable", "has a problem of its own (503)"), marks=pytest.mark.slow
        ),
    ],
)
def test_a_refusal_of_the_hub_says_what_helps(
    status: int, says: str, told: str, model: Path, online: Ask
) -> None:
    with hub_server({"org/tiny": model}, fails=status, says=says) as server:
        token = {"load_options": (("token", "hf_secretsecret"),)}
        message = online(server, "org/tiny", **token)
    assert message.startswith("ModelNotFoundError")
    assert told in message
    assert "hf_secretsecret" not in message


def test_a_model_that_was_taken_down_is_told_so(model: Path, online: Ask) -> None:
    with hub_server({"org/tiny": model}, removed=frozenset({"org/tiny"})) as server:
        message = online(server, "org/tiny")
    assert message.startswith("ModelNotFoundError 'org/tiny' was taken off the Hub")


@pytest.mark.parametrize("status", [429, 500])
def test_what_is_in_the_cache_loads_while_the_hub_is_down(
    status: int, model: Path, online: Ask
) -> None:
    with hub_server({"org/tiny": model}) as server:
        assert online(server, "org/tiny").startswith("found")
        server.fails = status
        assert online(server, "org/tiny").startswith("found")


@pytest.mark.slow  # huggingface_hub tries several times, and waits longer each time
def test_a_hub_that_answers_too_late_is_said_to_be_out_of_reach(
    model: Path, online: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    with hub_server({"org/tiny": model}, slow_s=4) as server:
        message = online(server, "org/tiny")
        assert message.startswith("ModelNotFoundError")
        assert "can't be reached" in message
        server.slow_s = 0
        assert online(server, "org/tiny").startswith("found")


def test_a_transfer_that_breaks_off_goes_on_where_it_was(model: Path, online: Ask) -> None:
    """What has arrived is written in pieces of 10 MB: only of a larger file can any be kept."""
    file = model / "model.safetensors"
    save_file({**load_file(file), "ballast": np.ones(8_000_000, np.float32)}, file)
    size = file.stat().st_size
    with hub_server({"org/tiny": model}, cut=file.name, cuts=1) as server:
        assert online(server, "org/tiny").startswith("found")
        assert server.asked.count(f"GET /org/tiny/resolve/{COMMIT}/{file.name}") == 2
        assert server.sent[file.name] < 1.5 * size


def test_weights_that_arrive_with_other_bytes_are_refused_and_fetched_again(
    model: Path, online: Ask
) -> None:
    """huggingface_hub compares sizes alone: a wrong bit would be loaded, and stay in its cache."""
    with hub_server({"org/tiny": model}, changed="model.safetensors") as server:
        message = online(server, "org/tiny")
        assert message.startswith("ModelFilesError A file of 'org/tiny' arrived damaged")
        server.changed = ""
        assert online(server, "org/tiny").startswith("found")


ANSWER = """
    import sys
    import hfnb
    options = eval(sys.argv[2])
    llm = hfnb.load(sys.argv[1], max_new_tokens=3, **options)
    print("answered", len(llm.invoke("What is")) >= 0, llm.engine.info.backend)
"""


def test_a_model_of_the_hub_answers_with_openvino_too(model: Path, online: Ask) -> None:
    """That it does with PyTorch is in `test_hub.py`, and in the next test."""
    require("openvino")
    with hub_server({"org/tiny": model}) as server:
        told = online(server, "org/tiny", ANSWER, backend="openvino")
    assert told.endswith("answered True openvino")


HOSTILE = """
from pathlib import Path
from transformers import GPT2Config, GPT2LMHeadModel
Path({trap!r}).write_text("ran")
class HostileConfig(GPT2Config):
    model_type = "gpt2"
class HostileModel(GPT2LMHeadModel):
    config_class = HostileConfig
"""


@pytest.mark.parametrize("backend", ["pytorch", "openvino"])
def test_code_of_a_hostile_repository_runs_only_if_it_is_asked_for(
    backend: str, model: Path, online: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if backend == "openvino":
        require("openvino")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trap = tmp_path / "trap"
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "modeling_hostile.HostileConfig",
        "AutoModelForCausalLM": "modeling_hostile.HostileModel",
    }
    (model / "config.json").write_text(json.dumps(config))
    (model / "modeling_hostile.py").write_text(HOSTILE.format(trap=str(trap)))
    with hub_server({"org/hostile": model}) as server:
        assert "answered" in online(server, "org/hostile", ANSWER, backend=backend)
        assert "modeling_hostile.py" not in server.fetched()
        assert not trap.exists()
        if backend == "pytorch":  # the trap is real
            online(server, "org/hostile", ANSWER, trust_remote_code=True)
            assert trap.read_text() == "ran"


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "org/../../etc",
        "org/a\nb",
        "org/a\x00b",
        "org/a\x1b[31m",
        "/etc/no-such",
        "a/b/c",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused_and_shown_harmless(name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        hub.find(ModelSpec(name))
    assert str(caught.value).isprintable()


# --- what can be picked -----------------------------------------------------------------------

MODELS = """
    import sys
    import hfnb
    options = eval(sys.argv[2])
    found = hfnb.models(sys.argv[1], **options)
    print(found)
    print([(each.name, each.source) for each in found])
    assert "torch" not in sys.modules
"""


@pytest.fixture
def repositories(tiny_model: Callable[[str], Path], tmp_path: Path) -> dict[str, Path]:
    """A few models, one of which hfnb can't run, and one without safetensors."""
    classifier, pickled = tmp_path / "classifier", tmp_path / "pickled"
    shutil.copytree(tiny_model("gpt2"), classifier)
    config = json.loads((classifier / "config.json").read_text())
    config["architectures"] = ["GPT2ForSequenceClassification"]
    (classifier / "config.json").write_text(json.dumps(config))
    shutil.copytree(tiny_model("gpt2"), pickled)
    (pickled / "model.safetensors").unlink()
    packed = hub.packaged()
    return {
        "org/tiny-numbers": packed["hfnb/numbers-fr"],
        "org/tiny-t5": packed["hfnb/tiny-t5"],
        "org/tiny-classifier": classifier,
        "org/tiny-pickled": pickled,
        "org/other": tiny_model("gpt2"),
    }


def test_a_search_finds_what_can_be_run_with_what_the_hub_tells_of_it(
    repositories: dict[str, Path], online: Ask
) -> None:
    settings: dict[str, Any] = {
        "tags": {"org/tiny-t5": "translation"},
        "gated": frozenset({"org/tiny-numbers"}),
    }
    with hub_server(repositories, **settings) as server:
        text = online(server, "tiny", MODELS, source="hub")
        translators = online(server, "tiny", MODELS, source="hub", task="translation")
    *table, names = text.splitlines()
    assert names == "[('org/tiny-numbers', 'hub'), ('org/tiny-t5', 'hub')]"
    head, numbers, t5 = table
    assert {"downloads", "licence", "parameters", "chat"} <= set(head.split())
    for each in ("1.12 M", "float32", "4.46 MB", "yes", "pytorch, openvino", "apache-2.0 (gated)"):
        assert each in numbers
    assert "text2text-generation" in t5
    assert translators.splitlines()[-1] == "[('org/tiny-t5', 'hub')]"


def test_what_is_in_the_cache_is_listed_once_and_before_the_hub(
    repositories: dict[str, Path], online: Ask
) -> None:
    with hub_server(repositories) as server:
        online(server, "org/tiny-numbers")
        names = online(server, "numbers", MODELS, source=["cache", "hub"]).splitlines()[-1]
        assert names == "[('org/tiny-numbers', 'cache')]"
        gone = online(server, "numbers", MODELS, offline="1").splitlines()
    assert gone[-1] == "[('hfnb/numbers-fr', 'packaged'), ('org/tiny-numbers', 'cache')]"
    assert gone[-2] == "the Hub is not among them: HF_HUB_OFFLINE is set"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"fails": 429, "says": "Too Many Requests"}, "takes no more requests"),
        ({"fails": 500}, "has a problem of its own (500)"),
        ({"slow_s": 4.0}, "it did not answer in 1.5 s"),
    ],
)
def test_what_is_here_is_listed_while_the_hub_fails_or_is_slow(
    settings: dict[str, Any], told: str, repositories: dict[str, Path], online: Ask
) -> None:
    with hub_server(repositories, **settings) as server:
        *_, note, names = online(server, "numbers", MODELS).splitlines()
    assert names == "[('hfnb/numbers-fr', 'packaged')]"
    assert note.startswith("the Hub is not among them: ")
    assert told in note


def test_where_there_is_no_network_what_is_here_is_listed(
    repositories: dict[str, Path], online: Ask
) -> None:
    with hub_server(repositories) as server:
        pass  # it is gone now
    *_, note, names = online(server, "numbers", MODELS).splitlines()
    assert names == "[('hfnb/numbers-fr', 'packaged')]"
    assert note.startswith("the Hub is not among them: it can't be reached")


ESTIMATE = """
    import sys
    import hfnb
    try:
        told = hfnb.estimate(sys.argv[1], device="cpu", **eval(sys.argv[2]))
    except hfnb.HfnbError as error:
        print(type(error).__name__, error)
    else:
        print(told.verdict, told.parameters, told.disk_bytes)
"""


def test_an_estimate_reads_the_headers_of_weights_and_does_not_fetch_them(
    repositories: dict[str, Path], online: Ask
) -> None:
    with hub_server(repositories, gated=frozenset({"org/other"})) as server:
        verdict, parameters, disk = online(server, "org/tiny-numbers", ESTIMATE).split()
        pickled = online(server, "org/tiny-pickled", ESTIMATE)
        gated = online(server, "org/other", ESTIMATE)
        missing = online(server, "org/no-such", ESTIMATE)
        kind = online(server, "org/tiny-classifier", ESTIMATE)
    weights = repositories["org/tiny-numbers"] / "model.safetensors"
    assert verdict == "fits"
    assert int(parameters) > 1_000_000
    assert 0.9 * weights.stat().st_size < int(disk) <= weights.stat().st_size
    assert server.sent["model.safetensors"] < 0.1 * weights.stat().st_size
    assert pickled.startswith("ModelFilesError 'org/tiny-pickled' has no safetensors")
    assert gated.startswith("ModelNotFoundError 'org/other' is gated. Accept its terms")
    assert missing.startswith("ModelNotFoundError The Hub has no model 'org/no-such'")
    assert kind.startswith("ModelError hfnb can't run 'org/tiny-classifier'")
