"""What users take instead of hfnb with PyTorch: each makes a function from prompts to texts."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rivals import Rival, cut, in_batches, rendered
from workloads import Workload


def langchain(
    workload: Workload, batch_size: int = 4, dtype: str = "auto", device: int = -1
) -> Rival:
    """Return langchain-huggingface; ``batch_size=4`` and the checkpoint's dtype are its defaults.

    It passes stop strings over: rows go on to their last token, and are cut afterwards.
    """
    from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline

    folder = str(workload.model())
    options = {"max_new_tokens": workload.new_tokens, "do_sample": False, "return_full_text": False}
    peer = HuggingFacePipeline.from_model_id(
        folder,
        "text-generation",
        device=device,
        batch_size=batch_size,
        model_kwargs={"dtype": dtype},
        pipeline_kwargs=options,
    )
    if workload.chat:
        chat = ChatHuggingFace(llm=peer, tokenizer=peer.pipeline.tokenizer)
        return lambda prompts: [each.content for each in chat.batch(list(prompts))]
    return lambda prompts: cut(peer.batch(prompts), workload.stop)


def pipeline_over_dataset(workload: Workload, batch_size: int, dtype: str) -> Rival:
    """Return ``transformers.pipeline`` over a dataset, which loads and batches as it goes."""
    import torch
    from torch.utils.data import Dataset
    from transformers import pipeline

    pipe = pipeline(
        "text-generation", str(workload.model()), dtype=getattr(torch, dtype), device=-1
    )
    pipe.tokenizer.padding_side = "left"

    class Rows(Dataset):  # type: ignore[type-arg]
        def __init__(self, prompts: Sequence[str]) -> None:
            self._rows = [rendered(pipe.tokenizer, workload, each) for each in prompts]

        def __len__(self) -> int:
            return len(self._rows)

        def __getitem__(self, at: int) -> str:
            return self._rows[at]

    def call(prompts: list[str]) -> list[str]:
        answers = pipe(
            Rows(prompts),
            batch_size=batch_size,
            max_new_tokens=workload.new_tokens,
            do_sample=False,
            return_full_text=False,
            eos_token_id=ends_of(pipe.model, pipe.tokenizer, workload),
        )
        return cut([each[0]["generated_text"] for each in answers], workload.stop)

    return call


def generate_in_batches(
    workload: Workload, batch_size: int, dtype: str, *, ordered: bool = True
) -> Rival:
    """Return transformers' ``generate`` in padded batches, by length unless told otherwise."""
    import torch

    model, tokenizer = loaded(workload, dtype)
    ends = ends_of(model, tokenizer, workload)

    def answer(prompts: list[str]) -> list[str]:
        batch = tokenizer(
            [rendered(tokenizer, workload, each) for each in prompts],
            return_tensors="pt",
            padding=True,
            return_token_type_ids=False,
            add_special_tokens=not workload.chat,
        ).to(model.device)
        with torch.inference_mode():
            out = model.generate(
                **batch, max_new_tokens=workload.new_tokens, do_sample=False, eos_token_id=ends
            )
        skip = 0 if workload.seq2seq else batch["input_ids"].shape[1]
        return cut(tokenizer.batch_decode(out[:, skip:], skip_special_tokens=True), workload.stop)

    return lambda prompts: in_batches(prompts, batch_size, answer, ordered=ordered)


def generate_batch(workload: Workload, dtype: str, device: str = "cpu", **settings: Any) -> Rival:
    """Return transformers' continuous batching.

    Args:
        workload: What it runs.
        dtype: What it computes in.
        device: Where.
        settings: Of its ``ContinuousBatchingConfig``. Where there is no GPU whose memory it could
            go by, ``num_blocks`` and ``max_batch_tokens`` must be told.
    """
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model, tokenizer = loaded(workload, dtype, device)
    config = ContinuousBatchingConfig(**settings)
    ends = ends_of(model, tokenizer, workload)
    generation = GenerationConfig(
        max_new_tokens=workload.new_tokens,
        do_sample=False,
        eos_token_id=-1 if ends is None else ends,
        pad_token_id=tokenizer.pad_token_id,
    )

    def call(prompts: list[str]) -> list[str]:
        ids = [
            tokenizer(rendered(tokenizer, workload, each), add_special_tokens=not workload.chat)[
                "input_ids"
            ]
            for each in prompts
        ]
        with _quiet():
            found = model.generate_batch(
                ids,
                generation_config=generation,
                continuous_batching_config=config,
                progress_bar=False,
            )
        new = [found[f"req_{i}"].generated_tokens for i in range(len(prompts))]
        return cut(tokenizer.batch_decode(new, skip_special_tokens=True), workload.stop)

    return call


def ctranslate2(workload: Workload, batch_size: int, compute_type: str = "int8") -> Rival:
    """Return CTranslate2, which sorts its batches itself; the weights are converted before."""
    import ctranslate2 as library

    model, tokenizer = loaded(workload, "float32")
    ends = ends_of(model, tokenizer, workload)
    target = Path(tempfile.mkdtemp()) / compute_type
    converter = library.converters.TransformersConverter(str(workload.model()))
    converter.convert(str(target), quantization=compute_type)
    _name_special_tokens(target / "config.json")
    most = workload.new_tokens
    options: dict[str, Any] = {"max_batch_size": batch_size}
    if ends is not None:
        options["end_token"] = ends
    family = library.Translator if workload.seq2seq else library.Generator
    runner = family(str(target), device="cpu", compute_type=compute_type)

    def tokens(prompt: str) -> list[str]:
        text = rendered(tokenizer, workload, prompt)
        ids = tokenizer(text, add_special_tokens=not workload.chat)["input_ids"]
        found: list[str] = tokenizer.convert_ids_to_tokens(ids)
        return found

    def call(prompts: list[str]) -> list[str]:
        given = [tokens(each) for each in prompts]
        if workload.seq2seq:
            least = 0 if ends is not None else most
            done = runner.translate_batch(
                given, max_decoding_length=most, min_decoding_length=least, beam_size=1, **options
            )
            new = [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in done]
        else:
            least = 0 if ends is not None else most
            done = runner.generate_batch(
                given,
                max_length=most,
                min_length=least,
                include_prompt_in_result=False,
                **options,
            )
            new = [each.sequences_ids[0] for each in done]
        return cut(tokenizer.batch_decode(new, skip_special_tokens=True), workload.stop)

    return call


def ends_of(model: Any, tokenizer: Any, workload: Workload) -> int | list[int] | None:
    """Return the tokens that end a row: the model's, and those that hold a stop string.

    A stop string ends a row of hfnb by its text. transformers' ``stop_strings`` fail with the
    benchmark's tokenizer, whose every word is a token: there the peers get the tokens.
    """
    own = model.generation_config.eos_token_id
    if not workload.stop:
        return own  # type: ignore[no-any-return]
    holding = [
        id
        for word, id in tokenizer.get_vocab().items()
        if any(each in word for each in workload.stop)
    ]
    return [*([] if own is None else [own] if isinstance(own, int) else own), *sorted(holding)]


def loaded(workload: Workload, dtype: str, device: str = "cpu") -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    folder = workload.model()
    family = AutoModelForSeq2SeqLM if workload.seq2seq else AutoModelForCausalLM
    model = family.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()
    side = "right" if workload.seq2seq else "left"
    return model, AutoTokenizer.from_pretrained(folder, padding_side=side)


def _name_special_tokens(file: Path) -> None:
    """Name the special tokens that CTranslate2 must have, and the benchmark's models have not."""
    config = json.loads(file.read_text())
    names = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<pad>"}
    config |= {key: name for key, name in names.items() if key in config and config[key] is None}
    file.write_text(json.dumps(config))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries log below errors off the screen."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
