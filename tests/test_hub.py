"""Finding models and checking their files, before torch is imported."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from hfnb import hub, hub_fetch
from hfnb.errors import HfnbError, ModelError, ModelFilesError, ModelNotFoundError, OptionError
from hfnb.hub import find, packaged, tasks_of
from hfnb.spec import ModelSpec
from tests.hub_process import run_python
from tests.hub_server import COMMIT, hub_server

Tiny = Callable[[str], Path]


@pytest.fixture
def gpt2(tiny_model: Tiny, tmp_path: Path) -> Path:
    """A copy of a tiny model's folder, to be damaged."""
    return Path(shutil.copytree(tiny_model("gpt2"), tmp_path / "gpt2"))


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def refusal(model: object, kind: type[HfnbError] = ModelFilesError, **options: Any) -> str:
    """Return the words with which a model is refused; they never hold a traceback."""
    with pytest.raises(kind) as caught:
        find(ModelSpec(str(model), **options))
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["numbers-fr", "tiny-t5"])
def test_packaged_models_are_found_by_their_names(name: str) -> None:
    found = find(ModelSpec(f"hfnb/{name}"))
    assert found.folder == packaged()[f"hfnb/{name}"]
    assert found.task == ("text-generation" if name == "numbers-fr" else "text2text-generation")


def test_a_typo_in_a_packaged_name_gets_the_closest_one() -> None:
    message = refusal("hfnb/numbers-fx", ModelNotFoundError)
    assert "Did you mean 'hfnb/numbers-fr'?" in message
    assert "hfnb/tiny-t5" in message


def test_a_folder_is_found_absolute_relative_linked_and_from_home(
    gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = gpt2.parent / "link"
    link.symlink_to(gpt2, target_is_directory=True)
    monkeypatch.chdir(gpt2.parent)
    monkeypatch.setenv("HOME", str(gpt2.parent))
    for name in (str(gpt2), "gpt2", "./gpt2", "gpt2/", "../" + gpt2.parent.name + "/gpt2"):
        assert find(ModelSpec(name)).folder.samefile(gpt2)
    for name in (str(link), "link", "~/gpt2", "~/link"):
        assert find(ModelSpec(name)).folder.samefile(gpt2)
    assert find(ModelSpec(gpt2)).folder == gpt2  # type: ignore[arg-type]


def test_a_file_is_no_folder(gpt2: Path) -> None:
    message = refusal(gpt2 / "model.safetensors")
    assert "is a file" in message
    assert "Give the folder" in message


@pytest.mark.parametrize(
    "model", ["/no/such/folder", "./nothing", "../nothing", "~/nothing", "a/b/c", "~nobody123/x"]
)
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(model: str) -> None:
    assert f"There is no folder {model!r}" in refusal(model, ModelNotFoundError)


@pytest.mark.parametrize(
    "model",
    [
        *("a..b", "org/a..b", "a--b", "org/a--b", "org-/x", "org/x.", "org/", "-gpt2", "gpt2.git"),
        *("a b", "gpt2\n", "gp\x00t2", "gpt2;ls", "org/" + "ü" * 3, "gpt2\u202e"),
        *("x" * 97, "x" * 5000),
    ],
)
def test_what_no_hub_id_can_be_is_refused_without_asking_the_hub(model: str) -> None:
    message = refusal(model, ModelNotFoundError)
    assert "neither a folder nor the id of a model on the Hub" in message
    assert "\n" not in message
    assert "\x00" not in message


def test_offline_an_unknown_id_gets_the_closest_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "models--org--tiny-gpt2").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    message = refusal("org/tiny-gpt3", ModelNotFoundError)
    assert "HF_HUB_OFFLINE is set" in message
    assert "Did you mean 'org/tiny-gpt2'?" in message
    assert "hfnb/numbers-fr" in message
    assert "Did you mean 'hfnb/numbers-fr'" in refusal("numbers-fr", ModelNotFoundError)


# --- configurations ---------------------------------------------------------------------------


def test_an_empty_folder_and_one_without_config_say_what_they_hold(tmp_path: Path) -> None:
    assert "It is empty." in refusal(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    message = refusal(tmp_path)
    assert "no config.json" in message
    assert "notes.txt" in message


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe\x00", b'{"a": }', b"[" * 100_000, b"not json"],
    ids=lambda content: repr(content[:8]),
)
def test_a_broken_config_is_named(content: bytes, gpt2: Path) -> None:
    (gpt2 / "config.json").write_bytes(content)
    message = refusal(gpt2)
    assert "config.json" in message
    assert "Get the file again" in message


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
        {"model_type": "bert"},
        {"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"]},
        {"model_type": "bert", "architectures": ["BertLMHeadModel"]},
        {
            "model_type": "whisper",
            "architectures": ["WhisperForConditionalGeneration"],
            "is_encoder_decoder": True,
        },
        {"model_type": "whisper", "is_encoder_decoder": True},
        {"model_type": "vit", "architectures": ["ViTForImageClassification"]},
        {"model_type": "t5", "architectures": ["T5EncoderModel"], "is_encoder_decoder": True},
        {
            "model_type": "bart",
            "architectures": ["BartForSequenceClassification"],
            "is_encoder_decoder": True,
        },
        {
            "model_type": "speech-encoder-decoder",
            "architectures": ["SpeechEncoderDecoderModel"],
            "is_encoder_decoder": True,
        },
        {"model_type": "gpt2", "architectures": ["GPT2ForSequenceClassification"]},
        {"model_type": 5, "architectures": [5]},
        {"architectures": {}},
        {},
    ],
    ids=lambda config: str(config.get("architectures", config.get("model_type"))),
)
def test_a_model_that_writes_no_text_is_refused_with_what_hfnb_runs(
    config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    message = refusal(tmp_path, ModelError)
    assert "text-generation" in message
    assert "summarization" in message


SEQ2SEQ = ("text2text-generation", "translation", "summarization")


@pytest.mark.parametrize(
    ("config", "tasks"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, ("text-generation",)),
        ({"architectures": ["Qwen3ForCausalLM"]}, ("text-generation",)),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, SEQ2SEQ),
        ({"architectures": ["T5WithLMHeadModel"], "is_encoder_decoder": True}, SEQ2SEQ),
        ({"architectures": ["MarianMTModel"], "is_encoder_decoder": True}, SEQ2SEQ),
        ({"model_type": "gpt2"}, ("text-generation",)),
        (
            {"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True},
            ("text-generation",),
        ),
    ],
)
def test_the_config_says_the_tasks(config: dict[str, Any], tasks: tuple[str, ...]) -> None:
    assert tasks_of(config) == tasks


@pytest.mark.parametrize(
    ("name", "task", "instead"),
    [
        ("gpt2", "translation", "text-generation"),
        ("gpt2", "text2text-generation", "text-generation"),
        ("t5", "text-generation", "text2text-generation"),
    ],
)
def test_a_task_that_does_not_fit_names_one_that_does(
    name: str, task: str, instead: str, tiny_model: Tiny
) -> None:
    message = refusal(tiny_model(name), OptionError, task=task)
    assert f"task={task!r}" in message
    assert f"task={instead!r}" in message


@pytest.mark.parametrize("task", SEQ2SEQ)
def test_an_encoder_decoder_does_its_three_tasks(task: Any, tiny_model: Tiny) -> None:
    assert find(ModelSpec(str(tiny_model("t5")), task=task)).task == task


# --- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.0001, 0.001, 0.3, 0.999])
def test_truncated_weights_are_found_wherever_they_were_cut(share: float, gpt2: Path) -> None:
    file = gpt2 / "model.safetensors"
    whole = file.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    cuts = {0.0: 0, 0.00001: 5, 0.0001: 8, 0.001: 8 + header // 2}
    size = cuts.get(share, int(len(whole) * share))
    file.write_bytes(whole[:size])
    message = refusal(gpt2)
    assert "model.safetensors" in message
    assert "Get the file again" in message
    if size > 8 + header:
        assert f"{size:,} of {len(whole):,} bytes" in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: struct.pack("<Q", 2**63) + data[8:],
        lambda data: struct.pack("<Q", 2) + b"[]",
        lambda data: struct.pack("<Q", 4) + b"null",
        lambda data: struct.pack("<Q", 8) + b'{"a": 1}',
        lambda data: struct.pack("<Q", 28) + b'{"a": {"data_offsets": [0]}}',
        lambda data: b"<!DOCTYPE html><html>a login page</html>",
    ],
)
def test_damaged_weights_are_named(damage: Callable[[bytes], bytes], gpt2: Path) -> None:
    file = gpt2 / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    message = refusal(gpt2)
    assert str(file) in message
    assert "Get the file again" in message


def test_a_git_clone_without_lfs_says_what_to_run(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n"
    )
    assert "git lfs pull" in refusal(gpt2)


def test_a_link_to_nowhere_is_a_file_that_cant_be_read(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "model.safetensors").symlink_to(gpt2 / "gone")
    message = refusal(gpt2)
    assert "model.safetensors" in message


def shard(folder: Path) -> list[Path]:
    """Split a folder's weights into two files with an index, as large models are."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    parts = {files[0]: names[::2], files[1]: names[1::2]}
    for file, part in parts.items():
        held: dict[str, torch.Tensor] = {name: tensors[name] for name in part}
        save_file(held, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in parts.items() for name in part}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return [folder / file for file in files]


def test_sharded_weights_are_whole_only_with_every_shard(gpt2: Path) -> None:
    first, second = shard(gpt2)
    assert find(ModelSpec(str(gpt2))).folder == gpt2
    data = second.read_bytes()
    second.write_bytes(data[: len(data) // 2])
    assert str(second) in refusal(gpt2)
    second.unlink()
    message = refusal(gpt2)
    assert "lacks 1 of its 2 weight files" in message
    assert second.name in message
    assert first.name not in message


@pytest.mark.parametrize(
    "index", ["", "{", "[]", "{}", '{"weight_map": 5}', '{"weight_map": ["a"]}', "null"]
)
def test_a_damaged_index_is_named(index: str, gpt2: Path) -> None:
    shard(gpt2)
    (gpt2 / "model.safetensors.index.json").write_text(index)
    assert "index.json is damaged" in refusal(gpt2)


def test_an_index_with_other_things_for_names_lacks_them(gpt2: Path) -> None:
    shard(gpt2)
    (gpt2 / "model.safetensors.index.json").write_text('{"weight_map": {"a": 5, "b": "x"}}')
    assert "lacks 2 of its 2 weight files" in refusal(gpt2)


def test_an_old_index_beside_whole_weights_does_not_matter(gpt2: Path) -> None:
    """transformers, too, looks for model.safetensors first."""
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (gpt2 / "model.safetensors.index.json").write_text(json.dumps(index))
    (gpt2 / "optimizer.safetensors").write_bytes(b"cut")
    assert find(ModelSpec(str(gpt2))).folder == gpt2


def test_pickles_are_refused_unless_they_are_asked_for(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").rename(gpt2 / "pytorch_model.bin")
    message = refusal(gpt2)
    assert "can run code" in message
    assert "allow_pickle=True" in message
    assert find(ModelSpec(str(gpt2), allow_pickle=True)).folder == gpt2


def test_a_folder_of_openvino_names_its_backend(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "openvino_model.xml").write_text("<net/>")
    assert "backend='openvino'" in refusal(gpt2)


def test_no_weights_at_all_names_the_file_that_is_expected(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    assert "no weights. Expected model.safetensors" in refusal(gpt2)
    assert "no weights" in refusal(gpt2, allow_pickle=True)


# --- before torch -----------------------------------------------------------------------------

LOADS = """
import sys
import hfnb

def error_of(call):
    try:
        call()
    except hfnb.HfnbError as error:
        return type(error).__name__
    return "no error"

broken = sys.argv[1]
print([
    error_of(lambda: hfnb.load("hfnb/numbers-fx")),
    error_of(lambda: hfnb.load("no-such-model")),
    error_of(lambda: hfnb.load("./no/such/folder")),
    error_of(lambda: hfnb.load(broken)),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", "translation")),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", temprature=1)),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", max_new_tokens=0)),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", device="gpu0")),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", device="cpu", device_map="auto")),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", backend="opnvino")),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", dtype="int3")),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", batch_size=0)),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", chat="yes")),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", model_kwargs={"attn_implementaton": "eager"})),
    error_of(lambda: hfnb.load("hfnb/numbers-fr", model_kwargs={"torch_dtype": "auto"})),
    error_of(lambda: hfnb.load(None)),
])
print("torch" in sys.modules, "transformers" in sys.modules)
"""


def test_what_can_be_wrong_is_found_before_torch_is_imported(gpt2: Path) -> None:
    file = gpt2 / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    errors, imported = run_python(LOADS, str(gpt2)).splitlines()
    assert imported == "False False"
    assert json.loads(errors.replace("'", '"')) == [
        "ModelNotFoundError",
        "ModelNotFoundError",
        "ModelNotFoundError",
        "ModelFilesError",
        *["OptionError"] * 3,
        "DeviceError",
        *["OptionError"] * 8,
    ]


# --- the Hub ----------------------------------------------------------------------------------


def test_a_model_is_fetched_from_the_hub_and_answers(
    gpt2: Path, online: Callable[..., str]
) -> None:
    for name in ("onnx/model.safetensors", "runs/events.json", "original/config.json"):
        (gpt2 / name).parent.mkdir(exist_ok=True)
        (gpt2 / name).write_text("{}")
    for name in ("pytorch_model.bin", "training_args.bin", "modeling.py", "README.md", "x.pkl"):
        (gpt2 / name).write_text("import os")
    load = """
        import sys
        import hfnb
        llm = hfnb.load(sys.argv[1], device="cpu", max_new_tokens=4)
        print(repr(llm.invoke("What is")), llm.engine.info.model)
    """
    with hub_server({"org/tiny": gpt2}) as server:
        first = online(server, "org/tiny", load)
        fetched = server.fetched()
        server.asked.clear()
        assert online(server, "org/tiny", offline="1").startswith("found text-generation")
        assert server.asked == []
    assert first.endswith(" org/tiny")
    kept = {each.name for each in gpt2.iterdir() if each.suffix in (".json", ".safetensors")}
    assert fetched == kept
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched


def test_errors_of_the_hub_are_told_apart(gpt2: Path, online: Callable[..., str]) -> None:
    (gpt2.parent / "empty").mkdir()
    (gpt2.parent / "empty" / "README.md").write_text("nothing")
    models = {"org/tiny": gpt2, "org/closed": gpt2, "org/empty": gpt2.parent / "empty"}
    with hub_server(
        models, gated=frozenset({"org/closed"}), tokens={"org/closed": "hf_let_me_in"}
    ) as server:
        missing = online(server, "org/tinny")
        closed = online(server, "org/closed")
        opened = online(server, "org/closed", load_options=(("token", "hf_let_me_in"),))
        revision = online(server, "org/tiny", revision="v9")
        commit = online(server, "org/tiny", revision=COMMIT)
        empty = online(server, "org/empty")
    assert missing.startswith("ModelNotFoundError The Hub has no model 'org/tinny'")
    assert closed.startswith("ModelNotFoundError 'org/closed' is gated.")
    assert "https://huggingface.co/org/closed" in closed
    assert "hf auth login" in closed
    assert opened.startswith("found text-generation")
    assert revision.startswith("ModelNotFoundError 'org/tiny' has no revision 'v9'")
    assert commit.startswith("found text-generation")
    assert empty.startswith("ModelFilesError 'org/empty' on the Hub has no config.json")


def test_a_model_of_another_kind_is_refused_before_its_weights_are_fetched(
    gpt2: Path, online: Callable[..., str]
) -> None:
    change_config(gpt2, architectures=["GPT2ForSequenceClassification"])
    with hub_server({"org/classifier": gpt2}) as server:
        assert online(server, "org/classifier").startswith("ModelError hfnb can't run")
        assert server.fetched() == {"config.json"}


def test_pickles_on_the_hub_are_fetched_only_when_they_are_asked_for(
    gpt2: Path, online: Callable[..., str]
) -> None:
    (gpt2 / "model.safetensors").rename(gpt2 / "pytorch_model.bin")
    with hub_server({"org/old": gpt2}) as server:
        refused = online(server, "org/old")
        assert "pytorch_model.bin" not in server.fetched()
        allowed = online(server, "org/old", allow_pickle=True)
        assert "pytorch_model.bin" in server.fetched()
    assert refused.startswith("ModelFilesError 'org/old' has its weights only as pickles")
    assert "allow_pickle=True" in refused
    assert allowed.startswith("found text-generation")


def test_safetensors_are_fetched_rather_than_the_pickles_that_are_allowed(
    gpt2: Path, online: Callable[..., str]
) -> None:
    (gpt2 / "pytorch_model.bin").write_text("a pickle")
    with hub_server({"org/both": gpt2}) as server:
        assert online(server, "org/both", allow_pickle=True).startswith("found")
        assert "pytorch_model.bin" not in server.fetched()


def test_an_exported_model_on_the_hub_is_fetched_for_openvino_without_its_weights(
    gpt2: Path, online: Callable[..., str]
) -> None:
    exported = {"openvino_model.xml", "openvino_model.bin", "openvino_tokenizer.xml"}
    for name in exported:
        (gpt2 / name).write_text(f"<net name={name}/>")
    with hub_server({"org/both": gpt2}) as server:
        assert online(server, "org/both", backend="openvino").startswith("found text-generation")
        assert exported <= server.fetched()
        assert "model.safetensors" not in server.fetched()
        server.asked.clear()
        assert online(server, "org/both").startswith("found text-generation")
        assert "model.safetensors" in server.fetched()
    (gpt2 / "model.safetensors").unlink()
    with hub_server({"org/exported": gpt2}) as server:
        assert online(server, "org/exported", backend="openvino").startswith("found")
        refused = online(server, "org/exported")
    assert refused.startswith("ModelFilesError 'org/exported' holds an exported OpenVINO model")
    assert "backend='openvino'" in refused


def test_a_folder_with_an_export_is_found_for_openvino(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    for name in ("openvino_model.xml", "openvino_model.bin"):
        (gpt2 / name).write_text("<net/>")
    assert hub.find(ModelSpec(str(gpt2), backend="openvino")).folder == gpt2


def test_a_transfer_that_breaks_off_is_no_traceback_and_the_next_try_mends_it(
    gpt2: Path, online: Callable[..., str]
) -> None:
    with hub_server({"org/tiny": gpt2}, cut="config.json") as server:
        assert online(server, "org/tiny").startswith("ModelNotFoundError")
        server.cut = ""
        assert online(server, "org/tiny").startswith("found")


def test_what_the_cache_has_in_part_is_told_offline(gpt2: Path, online: Callable[..., str]) -> None:
    part = """
        import sys
        from huggingface_hub import hf_hub_download
        hf_hub_download(sys.argv[1], "config.json")
    """
    with hub_server({"org/tiny": gpt2}) as server:
        online(server, "org/tiny", part)
        message = online(server, "org/tiny", offline="1")
    assert message.startswith("ModelFilesError 'org/tiny' is in the HF cache without its weights")
    assert "HF_HUB_OFFLINE" in message


def test_where_the_hub_cant_be_reached_what_is_here_is_listed(
    gpt2: Path, online: Callable[..., str]
) -> None:
    with hub_server({"org/tiny": gpt2}) as server:
        online(server, "org/tiny")
    # The server is gone now.
    assert online(server, "org/tiny").startswith("found text-generation")
    message = online(server, "org/tinny")
    assert "can't be reached" in message
    assert "Did you mean 'org/tiny'?" in message


def test_every_file_that_transformers_reads_is_among_those_that_are_fetched(
    tiny_model: Tiny,
) -> None:
    saved = {file.name for name in ("gpt2", "t5", "qwen3") for file in tiny_model(name).iterdir()}
    others = {
        *("merges.txt", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"),
        *("source.spm", "target.spm", "qwen.tiktoken", "tekken.json", "model.fp16.safetensors"),
        *("model-00001-of-00002.safetensors", "chat_template.jinja", "bpe.codes"),
    }
    for name in saved | others:
        assert any(fnmatch(name, pattern) for pattern in hub_fetch._FILES), name


@pytest.mark.parametrize("vocabulary", ["tokenizer.json", "spiece.model", "vocab.json"])
def test_a_model_without_a_vocabulary_is_refused(vocabulary: str, gpt2: Path) -> None:
    """transformers would make an empty tokenizer of it, and the model would answer nonsense."""
    (gpt2 / "tokenizer.json").unlink()
    assert "has no tokenizer" in refusal(gpt2)
    (gpt2 / vocabulary).write_text("{}")
    assert find(ModelSpec(str(gpt2))).folder == gpt2
