"""Real exports: what comes out answers as transformers does, in each format and architecture."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hfnb
from hfnb import hub
from hfnb.engines import openvino_convert, openvino_export, openvino_folder
from hfnb.engines.openvino_export import Exported
from hfnb.errors import MissingExtraError, ModelError
from hfnb.spec import ModelSpec
from tests.needs import require
from tests.openvino.conftest import export_of, write_weights

require("openvino")

PROMPTS = ["What is the number 72 in french?", "one two three", "café été déjà"]
NEW_TOKENS = 12
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def expected(folder: Path, prompts: list[str]) -> list[list[int]]:
    """Return transformers' own greedy tokens, in float32."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    seq2seq = config.is_encoder_decoder
    auto = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for prompt in prompts:
        given = tokenizer(prompt, return_tensors="pt")
        given.pop("token_type_ids", None)
        out = model.generate(**given, max_new_tokens=NEW_TOKENS, do_sample=False)[0]
        found.append(out[1:] if seq2seq else out[given["input_ids"].shape[1] :])
    return [each.tolist() for each in found]


def genai_tokens(done: Exported, prompts: list[str]) -> list[list[int]]:
    """Return the greedy tokens of OpenVINO GenAI over an exported decoder."""
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        str(done.folder), scheduler, "CPU", dict(EXACT)
    )
    settings = pipeline.get_config()
    settings.max_new_tokens, settings.do_sample = NEW_TOKENS, False
    tokenizer = pipeline.get_tokenizer()
    handles = [
        pipeline.add_request(number, tokenizer.encode(prompt).input_ids, settings)
        for number, prompt in enumerate(prompts)
    ]
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return [each.read_all()[0].generated_ids for each in handles]


def seq2seq_tokens(done: Exported, source: Path, prompts: list[str]) -> list[list[int]]:
    """Return the greedy tokens of optimum-intel over an exported encoder-decoder."""
    import transformers
    from optimum.intel import OVModelForSeq2SeqLM

    tokenizer = transformers.AutoTokenizer.from_pretrained(done.folder)
    model = OVModelForSeq2SeqLM.from_pretrained(
        done.folder, ov_config={"INFERENCE_PRECISION_HINT": "f32"}, local_files_only=True
    )
    found = []
    for prompt in prompts:
        given = tokenizer(prompt, return_tensors="pt")
        given.pop("token_type_ids", None)
        out = model.generate(**given, max_new_tokens=NEW_TOKENS, do_sample=False)[0]
        found.append(out[1:].tolist())
    return found


def without_end(rows: list[list[int]], end: int | None) -> list[list[int]]:
    return [row[:-1] if row and row[-1] == end else row for row in rows]


def test_an_exported_decoder_answers_as_transformers_does(
    gpt2_export: Exported, tiny_model: Callable[[str], Path]
) -> None:
    folder = tiny_model("gpt2")
    assert gpt2_export.weight_format == "fp32"
    assert gpt2_export.notes == ()
    assert genai_tokens(gpt2_export, PROMPTS) == expected(folder, PROMPTS)


def test_an_export_has_all_that_a_model_needs(
    gpt2_export: Exported, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        kept = gpt2_export.folder / name
        assert kept.read_bytes() == (tiny_model("gpt2") / name).read_bytes()
    assert openvino_folder.exported_task(gpt2_export.folder) == "text-generation"
    assert openvino_folder.has_tokenizer(gpt2_export.folder)
    assert openvino_folder.weight_format_of(gpt2_export.folder) == "fp32"
    [kept_export] = hfnb.exports()
    assert kept_export.size > 100_000
    copy = hfnb.export(tiny_model("gpt2"), tmp_path / "ov", progress=None)
    assert export_of(copy).tokenizer == copy


def test_everybody_may_read_an_export(gpt2_export: Exported) -> None:
    mask = os.umask(0o022)
    os.umask(mask)
    assert gpt2_export.folder.stat().st_mode & 0o777 == 0o777 & ~mask


def test_int4_groups_shrink_where_a_layer_is_too_narrow_and_a_note_says_so(
    tiny_model: Callable[[str], Path],
) -> None:
    """Layers 64 wide: `optimum-cli` ends with InvalidGroupSizeError there."""
    done = export_of(tiny_model("llama"), "int4")
    assert done.weight_format == openvino_folder.weight_format_of(done.folder) == "int4"
    [note] = done.notes
    assert note.startswith("int4: groups of 64 weights in ")
    assert [len(each) for each in genai_tokens(done, PROMPTS[:1])] == [NEW_TOKENS]


def unsupported(folder: Path, model_type: str, head: str) -> Path:
    import transformers

    transformers.AutoConfig.for_model(model_type).save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace("{", f'{{"architectures": ["{head}"],', 1))
    (folder / "tokenizer.json").write_text("{}")
    write_weights(folder / "model.safetensors", b"\1" * 64)
    return folder


def test_a_type_that_optimum_cannot_export_is_refused_before_its_weights_are_read(
    tmp_path: Path, cache: Path
) -> None:
    folder = unsupported(tmp_path / "gemma3", "gemma3_text", "Gemma3ForCausalLM")
    with pytest.raises(ModelError, match=r"'gemma3_text'.*transformers.*backend='pytorch'"):
        export_of(folder)
    assert list((cache / "exports").iterdir()) == []


@pytest.mark.slow
def test_a_type_that_optimum_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = unsupported(tmp_path / "ctrl", "ctrl", "CTRLLMHeadModel")
    with pytest.raises(ModelError, match=r"'ctrl'.*can't export.*backend='pytorch'"):
        export_of(folder)


def test_a_missing_package_is_named_with_what_installs_it(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "optimum-intel":
            raise openvino_export.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(openvino_export, "version", version)
    with pytest.raises(MissingExtraError, match=r"pip install 'hfnb\[openvino\]'"):
        export_of(tiny_model("gpt2"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bloom", "llama", "qwen3", "opt", "gpt_neox", "phi3"])
def test_every_decoder_answers_as_transformers_does(
    tiny_model: Callable[[str], Path], name: str
) -> None:
    folder = tiny_model(name)
    done = export_of(folder)
    wanted = expected(folder, PROMPTS)
    end = hub.find(ModelSpec(str(folder))).config.get("eos_token_id")
    assert without_end(genai_tokens(done, PROMPTS), end) == without_end(wanted, end)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_every_encoder_decoder_answers_as_transformers_does(
    tiny_model: Callable[[str], Path], name: str
) -> None:
    folder = tiny_model(name)
    done = export_of(folder)
    assert openvino_folder.exported_task(done.folder) == "text2text-generation"
    assert seq2seq_tokens(done, folder, PROMPTS) == expected(folder, PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("weight_format", ["fp16", "bf16", "int8", "int4"])
@pytest.mark.parametrize("name", ["hfnb/numbers-fr", "hfnb/tiny-t5"])
def test_every_format_is_what_it_says_and_still_answers(name: str, weight_format: str) -> None:
    done = export_of(name, weight_format)
    assert done.weight_format == openvino_folder.weight_format_of(done.folder) == weight_format
    source = hub.packaged()[name]
    prompts = ["What is the number 72 in french?"]
    tokens = seq2seq_tokens(done, source, prompts) if "t5" in name else genai_tokens(done, prompts)
    assert all(tokens)
    if weight_format != "int4":
        assert without_end(tokens, _end(source)) == without_end(
            expected(source, prompts), _end(source)
        )


def _end(folder: Path) -> Any:
    return hub.find(ModelSpec(str(folder))).config.get("eos_token_id")


@pytest.mark.slow
def test_a_folder_of_optimum_gets_its_tokenizer_beside_it(
    tiny_model: Callable[[str], Path], tmp_path: Path, gpt2_export: Exported
) -> None:
    """What `OVModelForCausalLM.save_pretrained` and a tokenizer's `save_pretrained` leave."""
    names = ("openvino_model.xml", "openvino_model.bin", "config.json", "tokenizer.json")
    (tmp_path / "ov").mkdir()
    for name in (*names, "tokenizer_config.json"):
        shutil.copyfile(gpt2_export.folder / name, tmp_path / "ov" / name)
    before = {each.name for each in (tmp_path / "ov").iterdir()}
    done = export_of(tmp_path / "ov")
    assert {each.name for each in (tmp_path / "ov").iterdir()} == before
    assert done.tokenizer is not None
    assert openvino_folder.has_tokenizer(done.tokenizer)
    assert done.tokenizer != done.folder
    assert export_of(tmp_path / "ov").tokenizer == done.tokenizer


def test_the_group_size_is_what_optimum_takes_by_default() -> None:
    assert openvino_convert.GROUP_SIZE == 128
