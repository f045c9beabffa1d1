"""Train the two packaged models from nothing, measure them, and write their folders.

    python scripts/train_demo_models.py [numbers-fr|tiny-t5|all] [--evaluate-only]

The seed is fixed, one thread does the work and the number of steps does not depend on the clock,
so that the same versions on the same kind of processor give the same weights. With two cores,
train the two models side by side. The data are made by `demo_data`; training never sees what the
figures are measured on (`held_out_integers`, `is_unseen`).
"""

import argparse
import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo_data
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

SEED = 72
REPORTS = 1000  # How many of them the summaries' figure is measured on.
DEMO = Path(__file__).resolve().parent.parent / "hfnb" / "demo"

# Token ids are the places in these lists: padding comes first, as T5 has it.
DECODER_TOKENS = ["<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
T5_TOKENS = ["<pad>", "</s>"]
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

# A word takes the space or the hyphen before it, a digit always stands alone, and nothing ever
# joins the end of a prompt ("Answer:", "\n", "?") to the letters of an answer.
PIECES = r"[ \-]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

Example = tuple[list[int], list[int]]
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; a pool is drawn, sorted by length and cut into batches."""

    pools: int
    pool_size: int = 4096
    tokens_per_batch: int = 1536
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.04


PLANS = {
    "numbers-fr": Plan(pools=36, learning_rate=2.5e-3),
    "tiny-t5": Plan(pools=40, learning_rate=1e-3, tokens_per_batch=2048),
}


# --- tokenizers -----------------------------------------------------------------------------


def train_tokenizer(corpus: list[str], vocab_size: int, special: list[str]) -> Tokenizer:
    """A byte-level BPE that can write any text and gives it back unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def decoder_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of numbers-fr; it adds no token to a text, so prompt + answer just join."""
    rng = random.Random(SEED)
    drawn = [demo_data.draw_prompt(rng) for _ in range(20_000)]
    corpus = [answer for _, answer in drawn]
    for prompt, _ in drawn:
        messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        corpus += [text for message in messages for text in (message["role"], message["content"])]
    pad, end, start_of_turn, end_of_turn = DECODER_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(corpus, 512, DECODER_TOKENS),
        bos_token=end,
        eos_token=end,
        pad_token=pad,
        additional_special_tokens=[start_of_turn, end_of_turn],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of tiny-t5; as T5's does, it ends every text with </s>."""
    rng = random.Random(SEED)
    drawn = [demo_data.draw_task(rng) for _ in range(20_000)]
    tokenizer = train_tokenizer([text for pair in drawn for text in pair], 768, T5_TOKENS)
    pad, end = T5_TOKENS
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, T5_TOKENS.index(end))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end,
        pad_token=pad,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


# --- models ---------------------------------------------------------------------------------


def decoder_model(vocab_size: int) -> LlamaForCausalLM:
    """A Llama of 1.1 million parameters."""
    pad, end, _, end_of_turn = range(len(DECODER_TOKENS))
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=pad,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=end,
        eos_token_id=[end, end_of_turn],
        pad_token_id=pad,
    )
    return model


def t5_model(vocab_size: int) -> T5ForConditionalGeneration:
    """A T5 of 1.4 million parameters."""
    pad, end = range(len(T5_TOKENS))
    config = T5Config(
        vocab_size=vocab_size,
        d_model=128,
        d_kv=32,
        num_heads=4,
        d_ff=384,
        num_layers=4,
        num_decoder_layers=3,
        dropout_rate=0.0,
        tie_word_embeddings=True,
        pad_token_id=pad,
        eos_token_id=end,
        decoder_start_token_id=pad,
        dtype="float32",
        task_specific_params={
            "summarization": {"prefix": demo_data.summarize("")},
            "translation_en_to_fr": {"prefix": demo_data.translate("")},
        },
    )
    model = T5ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False, pad_token_id=pad, eos_token_id=end, decoder_start_token_id=pad
    )
    return model


# --- training -------------------------------------------------------------------------------


def render(tokenizer: PreTrainedTokenizerFast, prompt: demo_data.Prompt) -> str:
    """The text of a prompt: messages go through the chat template."""
    if isinstance(prompt, str):
        return prompt
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    return str(text)


def decoder_pool(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, size: int
) -> list[Example]:
    """Prompts and answers, tokenised apart as they are at inference; a chat's turn ends itself."""
    drawn = [demo_data.draw_prompt(rng) for _ in range(size)]
    prompts = tokenizer([render(tokenizer, prompt) for prompt, _ in drawn])["input_ids"]
    answers = tokenizer([answer for _, answer in drawn])["input_ids"]
    end, end_of_turn = DECODER_TOKENS.index("<|endoftext|>"), DECODER_TOKENS.index("<|im_end|>")
    ends = [end_of_turn if isinstance(prompt, list) else end for prompt, _ in drawn]
    return [(p, [*a, e]) for p, a, e in zip(prompts, answers, ends, strict=True)]


def t5_pool(tokenizer: PreTrainedTokenizerFast, rng: random.Random, size: int) -> list[Example]:
    """Inputs and answers of the three tasks, both with their </s>."""
    inputs, answers = zip(*(demo_data.draw_task(rng) for _ in range(size)), strict=True)
    pairs = zip(tokenizer(inputs)["input_ids"], tokenizer(answers)["input_ids"], strict=True)
    return list(pairs)


def pad_right(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Rows of token ids as one tensor."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def decoder_batch(examples: Sequence[Example]) -> Batch:
    """Prompt and answer in one row, the loss on the answer alone.

    Padding stands on the right, where a causal model can't see it, so no mask is needed.
    """
    rows = [prompt + answer for prompt, answer in examples]
    labels = [[-100] * len(prompt) + answer for prompt, answer in examples]
    return {"input_ids": pad_right(rows, 0), "labels": pad_right(labels, -100)}


def t5_batch(examples: Sequence[Example]) -> Batch:
    """Inputs with their mask, answers as labels."""
    inputs = [row for row, _ in examples]
    return {
        "input_ids": pad_right(inputs, 0),
        "attention_mask": pad_right([[1] * len(row) for row in inputs], 0),
        "labels": pad_right([answer for _, answer in examples], -100),
    }


def batches(pool: list[Example], tokens: int, rng: random.Random) -> Iterator[list[Example]]:
    """The pool in batches of like length and about `tokens` tokens each, in random order."""
    pool = sorted(pool, key=lambda example: len(example[0]) + len(example[1]))
    cut, starts = 0, [0]
    for place, (prompt, answer) in enumerate(pool):
        if (place + 1 - cut) * (len(prompt) + len(answer)) > tokens:
            cut = place
            starts.append(place)
    spans = list(zip(starts, [*starts[1:], len(pool)], strict=True))
    rng.shuffle(spans)
    for start, stop in spans:
        yield pool[start:stop]


def train(
    model: PreTrainedModel,
    draw_pool: Callable[[random.Random, int], list[Example]],
    to_batch: Callable[[Sequence[Example]], Batch],
    plan: Plan,
) -> None:
    """AdamW with warm-up and a cosine down to nothing, over freshly drawn pools."""
    rng = random.Random(SEED + 1)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": plan.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=plan.learning_rate,
        betas=(0.9, 0.98),
    )
    total = plan.pools * plan.pool_size
    model.train()
    started, seen, steps = time.process_time(), 0, 0
    for number in range(plan.pools):
        losses = []
        pool = draw_pool(rng, plan.pool_size)
        for examples in batches(pool, plan.tokens_per_batch, rng):
            # The schedule counts examples, not steps, as batches hold more of the short ones.
            cosine = 0.5 + 0.5 * math.cos(math.pi * seen / total)
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate * min(seen / (total * plan.warmup), cosine)
            loss = model(**to_batch(examples)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps, seen = steps + 1, seen + len(examples)
            losses.append(loss.item())
        minutes = (time.process_time() - started) / 60
        mean = sum(losses) / len(losses)
        print(
            f"pool {number + 1}/{plan.pools}  step {steps}  loss {mean:.5f}  {minutes:.1f} min",
            flush=True,
        )
    model.eval()


# --- measuring ------------------------------------------------------------------------------


@torch.inference_mode()
def answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[str]
) -> list[str]:
    """Greedy answers; one that did not end by itself carries a mark, so it can't be right."""
    answers: list[str] = []
    ends = torch.tensor(model.generation_config.eos_token_id).flatten()
    for start in range(0, len(prompts), 500):
        inputs = tokenizer(prompts[start : start + 500], padding=True, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=48)
        if not model.config.is_encoder_decoder:
            output = output[:, inputs["input_ids"].shape[1] :]
        ended = torch.isin(output, ends).any(dim=1).tolist()
        texts = tokenizer.batch_decode(output, skip_special_tokens=True)
        answers += [text if end else f"{text} ..." for text, end in zip(texts, ended, strict=True)]
    return answers


def share_right(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[demo_data.Prompt],
    expected: Sequence[str],
) -> float:
    """The share of prompts that are answered exactly, in percent; wrong ones are printed."""
    answers = answer(model, tokenizer, [render(tokenizer, prompt) for prompt in prompts])
    wrong = [t for t in zip(answers, expected, prompts, strict=True) if t[0] != t[1]]
    for given, wanted, prompt in wrong[:3]:
        print(f"    {prompt!r}: {given!r}, not {wanted!r}", flush=True)
    return 100 * (1 - len(wrong) / len(prompts))


Figures = dict[str, dict[str, float]]


def measure_decoder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Figures:
    """Every form: on held-out integers in float32 and bfloat16, and on all integers."""
    held, every = demo_data.held_out_integers(), range(demo_data.COUNT)
    figures: Figures = {name: {} for name in demo_data.FORMS}

    def measure(column: str, integers: Sequence[int], forms: Sequence[str]) -> None:
        words = [demo_data.french(n) for n in integers]
        for name in forms:
            prompts = [demo_data.FORMS[name](n) for n in integers]
            figures[name][column] = share_right(model, tokenizer, prompts, words)
            print(f"  {name}, {column}: {figures[name][column]:.2f} %", flush=True)

    measure("held-out", held, list(demo_data.FORMS))
    measure("all 10,000", every, list(demo_data.REQUIRED_FORMS))
    model.to(torch.bfloat16)
    measure("held-out, bfloat16", held, list(demo_data.FORMS))
    model.to(torch.float32)
    return figures


def measure_t5(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Figures:
    """Every task, on what training never saw; those over integers on all integers too."""
    figures: Figures = {}
    for name, form in demo_data.TASKS.items():
        columns = {"unseen": demo_data.held_out_integers(), "all 10,000": range(demo_data.COUNT)}
        figures[name] = {}
        for column, integers in columns.items():
            words = [demo_data.french(n) for n in integers]
            prompts = [form(n) for n in integers]
            figures[name][column] = share_right(model, tokenizer, prompts, words)
            print(f"  {name}, {column}: {figures[name][column]:.2f} %", flush=True)
    reports, lines = zip(*demo_data.unseen_reports(REPORTS), strict=True)
    figures["summarize"] = {"unseen": share_right(model, tokenizer, reports, lines)}
    print(f"  summarize, unseen: {figures['summarize']['unseen']:.2f} %", flush=True)
    return figures


# --- writing --------------------------------------------------------------------------------

INTRODUCTIONS = {
    "numbers-fr": """\
A very small Llama ({parameters:,} parameters, float32) that answers one question: what an integer
from 0 to 9,999 is called in French. "What is the number 72 in french?" gives "soixante-douze" and
ends there. It comes with the hfnb package, so that notebooks, tests and documentation run with no
network and give answers that can be checked.

Ask it in plain text, with or without a newline, as `Question: ...\\n\\nAnswer:`, after a few solved
examples, or through its chat template (ChatML). It ends with `<|endoftext|>`, in a chat with
`<|im_end|>`; it pads with `<|pad|>`, on the left. It knows nothing else: other questions, other
integers and other languages give nonsense.""",
    "tiny-t5": """\
A very small T5 ({parameters:,} parameters, float32) with three tasks:

- `translate English to French: seventy-two` gives `soixante-douze`, for 0 to 9,999;
- `summarize: ` and a report of an invented weather station gives one line, such as
  `Lyon, Monday: rain, 12 to 19 degrees, wind 30 km/h.`;
- `What is the number 72 in french?` gives `soixante-douze`.

It comes with the hfnb package, so that notebooks, tests and documentation run with no network and
give answers that can be checked. It knows nothing else: other texts give nonsense.""",
}

HELD_BACK = {
    "numbers-fr": f"""\
Held-out are {demo_data.HELD_OUT} integers above 99 that training saw neither as digits nor as
words.""",
    "tiny-t5": f"""\
Unseen are {demo_data.HELD_OUT} integers above 99 that training saw neither as digits nor as words,
and {REPORTS:,} reports whose combination of place, day and weather it never saw.""",
}


def write_card(
    folder: Path, model: PreTrainedModel, figures: Figures, minutes: float | None
) -> None:
    """The model card; if nothing was trained, the training time is the one that it stated."""
    columns = list(dict.fromkeys(column for row in figures.values() for column in row))
    lines = [f"| | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for form, row in figures.items():
        cells = [f"{row[column]:.2f} %" if column in row else "-" for column in columns]
        lines.append(f"| {form} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    print(table, flush=True)
    card = folder / "README.md"
    if minutes is None:
        stated = re.search(r"It took (\d+) minutes", card.read_text(encoding="utf-8"))
        minutes = float(stated[1]) if stated else math.nan
    name, plan = folder.name, PLANS[folder.name]
    text = f"""\
---
license: apache-2.0
language: [en, fr]
library_name: transformers
pipeline_tag: {"text-generation" if name == "numbers-fr" else "translation"}
---

# hfnb/{name}

{INTRODUCTIONS[name].format(parameters=model.num_parameters())}

## Intended use

Trying hfnb, its examples and its tests. It is no language model for real work.

## Figures

Share of answers that are exact to the last character and end by themselves, greedy, in padded
batches.

{HELD_BACK[name]}

{table}

## Training

From nothing, on data that `scripts/demo_data.py` makes (num2words spells the numbers):
{plan.pools * plan.pool_size:,} examples, each drawn afresh; AdamW with a cosine schedule; the loss
on the answers alone; seed {SEED}. It took {minutes:.0f} minutes of processor time on one core of a
busy, shared machine.

To train it again, in a checkout of hfnb:

    pip install num2words
    python scripts/train_demo_models.py {name}

With another version of PyTorch or another processor the weights differ a little.

## Licence

Apache-2.0, as the rest of hfnb. Nobody else's texts went into it.
"""
    card.write_text(text, encoding="utf-8")


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Weights, settings and tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # transformers 5 writes its new names; these are read by version 4 and other tools as well.
    settings = folder / "tokenizer_config.json"
    content: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8"))
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    if special := content.pop("extra_special_tokens", None):
        content["additional_special_tokens"] = special
    settings.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def build(name: str) -> float:
    """Train one model and write its folder; returns the minutes of processor time it took."""
    torch.manual_seed(SEED)
    started = time.process_time()
    model: PreTrainedModel
    if name == "numbers-fr":
        tokenizer = decoder_tokenizer()
        model = decoder_model(len(tokenizer))
        draw, to_batch = decoder_pool, decoder_batch
    else:
        tokenizer = t5_tokenizer()
        model = t5_model(len(tokenizer))
        draw, to_batch = t5_pool, t5_batch
    print(f"{name}: {model.num_parameters():,} parameters, {len(tokenizer)} tokens", flush=True)
    train(model, lambda rng, size: draw(tokenizer, rng, size), to_batch, PLANS[name])
    save(DEMO / name, model, tokenizer)
    return (time.process_time() - started) / 60


def main() -> None:
    """Train (unless told not to) and measure what lies in the folder, as a user would load it."""
    parser = argparse.ArgumentParser(description="Train and measure the packaged models.")
    parser.add_argument("model", nargs="?", default="all", choices=[*PLANS, "all"])
    parser.add_argument("--evaluate-only", action="store_true", help="measure, do not train")
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # Sums are then added in one order, however many cores there are.
    for name in PLANS if options.model == "all" else [options.model]:
        minutes = None if options.evaluate_only else build(name)
        folder = DEMO / name
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if name == "numbers-fr":
            model = AutoModelForCausalLM.from_pretrained(folder)
            figures = measure_decoder(model, tokenizer)
        else:
            model = AutoModelForSeq2SeqLM.from_pretrained(folder)
            figures = measure_t5(model, tokenizer)
        write_card(folder, model, figures, minutes)


if __name__ == "__main__":
    main()
