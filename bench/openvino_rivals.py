"""What users take instead of hfnb on a CPU with OpenVINO: each a function from prompts to texts.

All are greedy, write `NEW_TOKENS` tokens a row, and give the new text alone, in the prompts' order.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Rival = Callable[[list[str]], list[str]]

NEW_TOKENS = 32
_GENERATION = {"max_new_tokens": NEW_TOKENS, "do_sample": False}


def langchain(folder: Path) -> Rival:
    """Return langchain-huggingface as it comes: PyTorch, float32, four rows at a time."""
    from langchain_huggingface import HuggingFacePipeline

    options = {**_GENERATION, "return_full_text": False}
    peer = HuggingFacePipeline.from_model_id(
        str(folder), "text-generation", device=-1, pipeline_kwargs=options
    )
    return peer.batch


def langchain_openvino(export: Path) -> Rival:
    """Return langchain-huggingface with ``backend="openvino"`` and its other defaults."""
    from langchain_huggingface import HuggingFacePipeline

    options = {**_GENERATION, "return_full_text": False}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        peer = HuggingFacePipeline.from_model_id(
            str(export),
            "text-generation",
            backend="openvino",
            model_kwargs={"device": "CPU"},
            pipeline_kwargs=options,
        )
    return peer.batch


def optimum(export: Path, batch_size: int, *, ordered: bool, seq2seq: bool = False) -> Rival:
    """Return optimum-intel's own ``generate`` in batches.

    Args:
        export: The exported model.
        batch_size: Rows at a time.
        ordered: Sort the prompts by length first, so that little is padded.
        seq2seq: Whether it is an encoder-decoder.
    """
    from optimum.intel import OVModelForCausalLM, OVModelForSeq2SeqLM
    from transformers import AutoTokenizer

    side = "right" if seq2seq else "left"
    tokenizer = AutoTokenizer.from_pretrained(export, padding_side=side)
    family = OVModelForSeq2SeqLM if seq2seq else OVModelForCausalLM
    model = family.from_pretrained(str(export), device="CPU")

    def call(prompts: list[str]) -> list[str]:
        order = list(range(len(prompts)))
        if ordered:
            order.sort(key=lambda i: len(prompts[i].split()))
        texts = [""] * len(prompts)
        for begin in range(0, len(order), batch_size):
            chosen = order[begin : begin + batch_size]
            batch = tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True)
            batch.pop("token_type_ids", None)
            out = model.generate(**batch, **_GENERATION)
            skip = 0 if seq2seq else batch["input_ids"].shape[1]
            new = tokenizer.batch_decode(out[:, skip:], skip_special_tokens=True)
            for i, text in zip(chosen, new, strict=True):
                texts[i] = text
        return texts

    return call


def ctranslate2(folder: Path, batch_size: int = 16) -> Rival:
    """Return CTranslate2 with int8 weights, which sorts its batches itself."""
    import ctranslate2 as library
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    target = Path(tempfile.mkdtemp()) / "int8"
    converter = library.converters.TransformersConverter(str(folder))
    converter.convert(str(target), quantization="int8")
    _name_an_end(target / "config.json")
    generator = library.Generator(str(target), device="cpu", compute_type="int8")

    def call(prompts: list[str]) -> list[str]:
        results = generator.generate_batch(
            [tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) for text in prompts],
            max_batch_size=batch_size,
            max_length=NEW_TOKENS,
            min_length=NEW_TOKENS,
            include_prompt_in_result=False,
        )
        return tokenizer.batch_decode([each.sequences_ids[0] for each in results])

    return call


def _name_an_end(file: Path) -> None:
    """Name the end token, which CTranslate2 must have; the bench's tokenizer has none."""
    config = json.loads(file.read_text())
    config["eos_token"] = config["eos_token"] or "</s>"
    file.write_text(json.dumps(config))


def genai(
    export: Path, max_num_seqs: int, max_num_batched_tokens: int, *, prefix_caching: bool = False
) -> Rival:
    """Return OpenVINO GenAI used directly: all prompts submitted at once, the longest first."""
    import numpy as np
    import openvino
    import openvino_genai
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(export / "tokenizer.json"))
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_seqs = max_num_seqs
    scheduler.max_num_batched_tokens = max_num_batched_tokens
    scheduler.cache_size = 4  # GB
    scheduler.enable_prefix_caching = prefix_caching
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(export), scheduler, "CPU", {})
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos = NEW_TOKENS, True

    def call(prompts: list[str]) -> list[str]:
        encoded = [each.ids for each in tokenizer.encode_batch(prompts)]
        order = sorted(range(len(prompts)), key=lambda i: -len(encoded[i]))
        handles = {
            i: pipeline.add_request(
                i, openvino.Tensor(np.array([encoded[i]], dtype=np.int64)), config
            )
            for i in order
        }
        while pipeline.has_non_finished_requests():
            pipeline.step()
        return [
            tokenizer.decode(handles[i].read_all()[0].generated_ids) for i in range(len(prompts))
        ]

    return call


def hfnb_run(llm: Any, said: list[str]) -> Rival:
    """Return `hfnb.run` over a DataFrame; ``said`` gets its statistics as text.

    It keeps a journal, as without a setting, but an empty one each time: rows that an earlier run
    has answered would not be computed.
    """
    import pandas as pd

    import hfnb

    def call(prompts: list[str]) -> list[str]:
        frame = pd.DataFrame({"prompt": prompts})
        with tempfile.TemporaryDirectory() as folder:
            journal = Path(folder) / "journal"
            result = hfnb.run(frame, "{prompt}", llm, progress=False, journal=journal)
        assert result.stats.ok == len(prompts)
        said[:] = [str(result.stats)]
        texts: list[str] = result.data["output"].tolist()
        return texts

    return call


def equal(texts: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> int:
    """Count the rows, over all rounds, whose texts are the same."""
    return sum(
        a.strip() == b.strip()
        for mine, theirs in zip(texts, others, strict=True)
        for a, b in zip(mine, theirs, strict=True)
    )
