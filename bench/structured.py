"""What a schema costs, and whether it holds: constrained decoding beside free text, and a storm.

Both backends, a random Llama over a byte-level vocabulary of 32,000 tokens that was trained on the
sources of Python's own library, so that it has the words, brackets and quotes that JSON is made of.
"""

from __future__ import annotations

import json
import random
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict

import pandas as pd
from measure import alternate
from models import VOCABULARY, cache_folder, llama_of

TITLE = "Structured output on a CPU"
NEW_TOKENS = 32
REPEATS = 3
MOST_COST = 10
"""Percent of the throughput that a schema may cost."""
STORM_ROWS = 50
"""Rows for each schema of the storm."""
SUITE = Path(__file__).parents[1] / "tests" / "data" / "json-schema-test-suite"


class Review(TypedDict):
    """Five fields, of five types."""

    tone: Literal["positive", "negative", "mixed"]
    stars: int
    recommended: bool
    summary: str
    names: list[str]


def run() -> str:
    """Return the results as Markdown."""
    return "\n".join([*_costs(), *_storm()])


# --- what it costs ----------------------------------------------------------------------------


def _costs() -> list[str]:
    import hfnb

    folder = _model()
    frame = pd.DataFrame({"prompt": _prompts(folder)})
    lines = [
        f"### A JSON schema of five fields beside free text, {NEW_TOKENS} new tokens a row",
        "",
        "| | free, tokens/s | schema, tokens/s | cost | fastest-slowest, s | first call with it |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, options in (
        ("PyTorch, float32", {"dtype": "float32"}),
        ("PyTorch, bfloat16", {"dtype": "bfloat16"}),
        ("OpenVINO", {"backend": "openvino"}),
    ):
        print(f" {name}", flush=True)
        llm: Any = hfnb.load(str(folder), max_new_tokens=NEW_TOKENS, **options)
        lines.append(f"| {name} | {_cost(llm, frame)} |")
        hfnb.unload(llm)
    return [
        *lines,
        "",
        f"{len(frame)} prompts of 8 to 256 tokens, greedy, a random Llama of 110 M parameters, "
        f"medians of {REPEATS} runs in turn. A row that the schema ends sooner counts by the "
        "tokens that it has. Both columns count from the call to the result, reading and checking "
        f"the answers included. Target: at most {MOST_COST}%.",
        "",
    ]


def _cost(llm: Any, frame: pd.DataFrame) -> str:
    import hfnb

    tokens: dict[str, int] = {}

    def call(name: str, schema: Any) -> Callable[[], None]:
        def run_it() -> None:
            result = hfnb.run(frame, "{prompt}", llm, schema=schema, progress=False, journal=False)
            tokens[name] = int(result.rows["new_tokens"].sum())

        return run_it

    free, held = call("free", None), call("schema", Review)
    free()  # warm up
    began = time.perf_counter()
    held()
    first = time.perf_counter() - began
    timings = alternate([("free", free), ("schema", held)], REPEATS)
    free_rate, held_rate = (tokens[each.name] / each.median for each in timings)
    spread = " and ".join(each.spread for each in timings)
    extra = first - timings[1].median
    return (
        f"{free_rate:,.0f} | {held_rate:,.0f} | **{100 * (1 - held_rate / free_rate):.1f}%** | "
        f"{spread} | {extra:+.2f} s"
    )


# --- whether it holds -------------------------------------------------------------------------


def _storm() -> list[str]:
    import hfnb

    schemas, groups = _accepted()
    lines = [
        "### A random model under every schema of JSON Schema's own test suite",
        "",
        f"Draft 2020-12: {groups} schemas, of which {len(schemas)} are accepted; the others are "
        "refused before the run, each with its reason.",
        "",
        "| | rows | finished | of these valid | cut off by max_new_tokens | other errors | s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    folder = _random_writer()
    for backend in ("pytorch", "openvino"):
        print(f" storm, {backend}", flush=True)
        llm: Any = hfnb.load(str(folder), backend=backend, max_new_tokens=160)
        began = time.perf_counter()
        found = [_under(llm, schema, seed) for seed, schema in enumerate(schemas)]
        rows, finished, valid, cut, other = (sum(each) for each in zip(*found, strict=True))
        lines.append(
            f"| {backend} | {rows:,} | {finished:,} | **{valid:,}** | {cut:,} | {other:,} | "
            f"{time.perf_counter() - began:,.0f} |"
        )
        hfnb.unload(llm)
    return [
        *lines,
        "",
        "Sampled at temperature 1, at most 160 new tokens, a random Llama of two layers; validity "
        "is what the package jsonschema says of the text and the schema as it was given.",
        "",
    ]


def _accepted() -> tuple[list[Any], int]:
    """Return the schemas that are accepted, and how many there are in all."""
    from hfnb.engines.grammar_text import check_grammar
    from hfnb.errors import OptionError
    from hfnb.schema.read import read_schema

    accepted, groups = [], 0
    for file in sorted(SUITE.glob("*.json")):
        for group in json.loads(file.read_text(encoding="utf-8")):
            groups += 1
            try:
                check_grammar(read_schema(group["schema"]).grammar)
            except OptionError:
                continue
            accepted.append(group["schema"])
    return accepted, groups


def _under(llm: Any, schema: Any, seed: int) -> tuple[int, int, int, int, int]:
    """Run rows under a schema; return rows, finished, valid, cut off, other errors."""
    from jsonschema import Draft202012Validator

    import hfnb
    from hfnb.schema.read import read_schema

    frame = pd.DataFrame({"x": range(STORM_ROWS)})
    result = hfnb.run(
        frame, "def f{x}", llm, schema=schema, temperature=1.0, seed=seed, raw_text=True,
        progress=False, journal=False,
    )  # fmt: skip
    validator = Draft202012Validator(schema)
    as_label = read_schema(schema).form == "labels"
    texts = result.data.loc[(result.rows["status"] == "ok").to_numpy(), "output_text"]
    valid = sum(
        validator.is_valid(text.removeprefix(" ") if as_label else json.loads(text))
        for text in texts
    )
    cut = int((result.errors["finish_reason"] == "length").sum())
    return len(frame), len(texts), valid, cut, len(result.errors) - cut


# --- the model --------------------------------------------------------------------------------


def _model() -> Path:
    """Return the folder of a random Llama with a byte-level tokenizer, made on first use."""
    folder = cache_folder() / "llama-100m-bytes"
    if not (folder / "model.safetensors").is_file():
        llama_of("100m", folder)
        _tokenizer(VOCABULARY).save_pretrained(folder)
    return folder


def _random_writer() -> Path:
    """Return the folder of a tiny random Llama that likes to close what it has opened.

    Without that, nearly all of its strings would go on until max_new_tokens.
    """
    folder = cache_folder() / "llama-tiny-bytes"
    if (folder / "model.safetensors").is_file():
        return folder
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = _tokenizer(512)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        torch.nn.init.normal_(model.lm_head.weight, std=0.25)
        # The first number of each token's vector stays what it is up to the head: a bias there.
        model.model.embed_tokens.weight[:, 0] = 8.0
        for token, index in tokenizer.get_vocab().items():
            model.lm_head.weight[index, 0] = 0.4 if token[:1] in '"}],' else 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _sources() -> list[str]:
    """Return the sources of Python's own library, a few million characters."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def _tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sources(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=4096,
        padding_side="left",
    )


def _prompts(folder: Path, count: int = 64, least: int = 8, most: int = 256) -> list[str]:
    """Return pieces of sources of between ``least`` and ``most`` tokens, as in `mixed_prompts`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    draw = random.Random(0)
    lengths = [round(least * (most / least) ** (i / (count - 1))) for i in range(count)]
    draw.shuffle(lengths)
    ids = tokenizer("\n".join(draw.sample(_sources(), 20)))["input_ids"]
    begins = [draw.randrange(len(ids) - length) for length in lengths]
    return [
        tokenizer.decode(ids[begin : begin + length])
        for begin, length in zip(begins, lengths, strict=True)
    ]
