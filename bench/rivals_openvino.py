"""What users take instead of hfnb with OpenVINO: each makes a function from prompts to texts."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

from rivals import Rival, cut, in_batches, rendered
from rivals_torch import ends_of
from workloads import Workload


def langchain(workload: Workload, export: Path) -> Rival:
    """Return langchain-huggingface with ``backend="openvino"`` and its other defaults.

    It passes stop strings over: rows go on to their last token, and are cut afterwards.
    """
    from langchain_huggingface import HuggingFacePipeline

    options = {"max_new_tokens": workload.new_tokens, "do_sample": False, "return_full_text": False}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        peer = HuggingFacePipeline.from_model_id(
            str(export),
            "text-generation",
            backend="openvino",
            model_kwargs={"device": "CPU"},
            pipeline_kwargs=options,
        )
    tokenizer = peer.pipeline.tokenizer

    def call(prompts: list[str]) -> list[str]:
        texts = [rendered(tokenizer, workload, each) for each in prompts]
        return cut(peer.batch(texts), workload.stop)

    return call


def optimum(workload: Workload, export: Path, batch_size: int, *, ordered: bool) -> Rival:
    """Return optimum-intel's own ``generate`` in batches; ``ordered`` ones have equal lengths."""
    from optimum.intel import OVModelForCausalLM, OVModelForSeq2SeqLM
    from transformers import AutoTokenizer

    side = "right" if workload.seq2seq else "left"
    tokenizer = AutoTokenizer.from_pretrained(export, padding_side=side)
    family = OVModelForSeq2SeqLM if workload.seq2seq else OVModelForCausalLM
    model = family.from_pretrained(str(export), device="CPU")
    ends = ends_of(model, tokenizer, workload)

    def answer(prompts: list[str]) -> list[str]:
        batch = tokenizer(
            [rendered(tokenizer, workload, each) for each in prompts],
            return_tensors="pt",
            padding=True,
            return_token_type_ids=False,
            add_special_tokens=not workload.chat,
        )
        out = model.generate(
            **batch, max_new_tokens=workload.new_tokens, do_sample=False, eos_token_id=ends
        )
        skip = 0 if workload.seq2seq else batch["input_ids"].shape[1]
        return cut(tokenizer.batch_decode(out[:, skip:], skip_special_tokens=True), workload.stop)

    return lambda prompts: in_batches(prompts, batch_size, answer, ordered=ordered)


def genai(
    workload: Workload,
    export: Path,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    *,
    prefix_caching: bool = False,
) -> Rival:
    """Return OpenVINO GenAI used directly: all prompts submitted at once, the longest first."""
    import json

    import numpy as np
    import openvino
    import openvino_genai
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    tokenizer = Tokenizer.from_file(str(export / "tokenizer.json"))
    templates = AutoTokenizer.from_pretrained(export) if workload.chat else None
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_seqs = max_num_seqs
    scheduler.max_num_batched_tokens = max_num_batched_tokens
    scheduler.cache_size = 4  # GB
    scheduler.enable_prefix_caching = prefix_caching
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(export), scheduler, "CPU", {})
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = workload.new_tokens
    ends = json.loads((export / "generation_config.json").read_text()).get("eos_token_id")
    if ends is None:
        config.ignore_eos = True
    else:
        config.stop_token_ids = set(ends if isinstance(ends, list) else [ends])
    if workload.stop:
        config.stop_strings = set(workload.stop)

    def call(prompts: list[str]) -> list[str]:
        given = [rendered(templates, workload, each) for each in prompts]
        encoded = [
            each.ids for each in tokenizer.encode_batch(given, add_special_tokens=not workload.chat)
        ]
        order = sorted(range(len(prompts)), key=lambda i: -len(encoded[i]))
        handles = {
            i: pipeline.add_request(
                i, openvino.Tensor(np.array([encoded[i]], dtype=np.int64)), config
            )
            for i in order
        }
        while pipeline.has_non_finished_requests():
            pipeline.step()
        found = [handles[i].read_all() for i in range(len(prompts))]
        # A row that a stop string ends at its first token has nothing to read.
        texts = [tokenizer.decode(each[0].generated_ids) if each else "" for each in found]
        return cut(texts, workload.stop)

    return call
