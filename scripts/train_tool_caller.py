"""Train the tiny model with which LangChain's standard tests for chat models are run.

    python scripts/train_tool_caller.py

A random model can't call tools, and one that can is too large for a repository. This one has
learned the conversations of langchain-tests by heart: they are recorded by running the suite with
an engine that looks the answers up in `reply`, and rendered with a chat template in the style of
Hermes and Qwen. The seed is fixed and one thread does the work, so that the same versions give
the same weights. Run it again when langchain-tests changes its prompts.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from langchain_core.utils.function_calling import convert_to_openai_tool  # noqa: E402

from hfnb import EchoEngine, HuggingFacePipeline  # noqa: E402
from hfnb.engines.base import Chat, Completion, Delta, Message, Request  # noqa: E402
from hfnb.spec import GenerationSpec  # noqa: E402
from tests.langchain import chat_tool_caller  # noqa: E402

SEED = 3
VOCABULARY = 1024
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TAGS = ["<tool_call>", "</tool_call>"]  # text, and not special, as Qwen has them
STEPS, LEARNING_RATE, WARMUP = 200, 5e-3, 0.05

TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- '# Tools\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool.function | tojson }}{%- endfor %}
{{- '\\n</tools>\\nCall: <tool_call>\\n{"name": <name>, "arguments": <object>}\\n</tool_call>' }}
{{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content }}
{{- '\\n</tool_response><|im_end|>\\n' }}
{%- elif message.role == 'assistant' and message.tool_calls %}
{{- '<|im_start|>assistant\\n' + message.content }}
{%- for call in message.tool_calls %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif not (loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


CATS = {
    "setup": "Why did the cat sit on the computer?",
    "punchline": "To keep an eye on the mouse.",
}


def call(name: str, **arguments: Any) -> str:
    """A call as the template writes it."""
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"


# What a good model says, by the last message and the roles that it may have.
REPLIES = [
    ("user", r"^Hello$", "Hello! How can I help you today?"),
    ("user", r"^hello$", "Hello! It is good to see you."),
    ("user", r"^Hello!$", call("magic_function", input=1)),
    ("user", r"^Hey$", "Hey! What can I do for you?"),
    ("user", r"^hi$", "Hi! How are you today?"),
    ("user", r"^how are you$", "I am well, thank you for asking."),
    (
        "user",
        r"haikus",
        "A pond lies still.\nA frog jumps in.\n\nSnow on the roof.\nA bell rings.",
    ),
    ("user", r"setup to a joke about cats", json.dumps({"setup": CATS["setup"]})),
    ("user", r"joke about cats", json.dumps(CATS)),
    ("user", r"value of magic_function\(3\)", call("magic_function", input=3)),
    ("user", r"value of magic_function_no_args", call("magic_function_no_args")),
    ("user", r"Pirate greeting", call("greeting_generator", answer_style="Pirate")),
    ("user", r"What is 3 \+ 4$", call("my_adder_tool", a=3, b=4)),
    (
        "user",
        r"1 \+ 2 and 3 \+ 4",
        "I add them.\n" + "\n".join(call("my_adder_tool", a=n, b=n + 1) for n in (1, 3)),
    ),
    ("user", r"weather in San Francisco", call("get_weather", location="San Francisco, CA")),
    (
        "user",
        r"你好啊集团",
        call("unicode_customer", customer_name="你好啊集团", description="A technology company"),
    ),
    (
        "user",
        r"こんにちは株式会社",
        call("unicode_customer", customer_name="こんにちは株式会社", description="A company"),
    ),
    ("tool", r"sunny", "It is sunny in San Francisco."),
    ("tool", r"Missing required argument", call("my_adder_tool", a=1, b=2)),
    ("tool", r"result.: 3", "1 + 2 is 3."),
]


def reply(chat: Chat) -> str:
    """What a good model says to a chat."""
    last = chat.messages[-1]
    for role, pattern, text in REPLIES:
        if role == last.role and re.search(pattern, last.content):
            return text
    raise SystemExit(f"No reply is written down to: {chat}")


class Recorder(EchoEngine):
    """Answers what `reply` says, and keeps the chats."""

    chat_template = TEMPLATE

    def __init__(self) -> None:
        super().__init__()
        self.chats: list[Chat] = []

    def generate(
        self, requests: Iterable[Request], generation: GenerationSpec, **options: Any
    ) -> Iterator[Completion | Delta]:
        for request in requests:
            assert isinstance(request.prompt, Chat)
            self.chats.append(request.prompt)
            self._answer = lambda _, chat=request.prompt: reply(chat)
            yield from super().generate([request], generation, **options)


def record() -> list[Chat]:
    """The chats of LangChain's standard tests, which must all pass with the replies above."""
    engine = Recorder()
    llm = HuggingFacePipeline(engine=engine)
    loaded, chat_tool_caller.pipeline = chat_tool_caller.pipeline, lambda: llm
    suite = str(ROOT / "tests" / "langchain" / "test_chat_standard.py")
    failed = pytest.main([suite, "-q", "--assert=plain", "-p", "no:cacheprovider"])
    chat_tool_caller.pipeline = loaded
    if failed:
        raise SystemExit("The standard tests fail even with the replies that are written here.")

    def my_adder_tool(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    tools = (convert_to_openai_tool(my_adder_tool),)
    engine.chats.append(Chat((Message("user", "What is 1 + 2 and 3 + 4?"),), tools))
    return engine.chats


def render(chat: Chat, tokenizer: PreTrainedTokenizerFast) -> str:
    """A chat as the engine renders it."""
    text: str = tokenizer.apply_chat_template(
        [{"role": each.role, "content": each.content, **each.fields} for each in chat.messages],
        tools=list(chat.tools) or None,
        add_generation_prompt=True,
        tokenize=False,
    )
    return text


def make_tokenizer(corpus: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE; its merges never cross from a prompt into its answer."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=[END, START, STOP],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=STOP,
        pad_token=END,
        extra_special_tokens=[START],
        chat_template=TEMPLATE,
        padding_side="left",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A Qwen3 of 0.4 million parameters."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=24,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def train(model: Qwen3ForCausalLM, examples: list[tuple[list[int], list[int]]], pad: int) -> float:
    """Learn every answer by heart; return the last loss."""
    longest = max(len(prompt) + len(answer) for prompt, answer in examples)
    ids = torch.full((len(examples), longest), pad)
    labels = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(examples):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    warmup = int(WARMUP * STEPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / STEPS)),
    )
    began, last = time.perf_counter(), math.inf
    for step in range(STEPS):
        # Padding stands on the right, behind every answer: no mask is needed.
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        last = loss.item()
        if step % 20 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {last:.5f}, {time.perf_counter() - began:.0f} s", flush=True)
    return last


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    chats = record()
    texts = [
        *(message.content for chat in chats for message in chat.messages),
        *(json.dumps(tool["function"]) for chat in chats for tool in chat.tools),
        *(text for _, _, text in REPLIES),
        TEMPLATE,
    ]
    tokenizer = make_tokenizer(texts)
    prompts = {render(chat, tokenizer): reply(chat) for chat in chats}
    examples = [
        (tokenizer(prompt).input_ids, [*tokenizer(answer).input_ids, tokenizer.eos_token_id])
        for prompt, answer in prompts.items()
    ]
    model = make_model(tokenizer)
    print(f"{len(examples)} chats, {model.num_parameters():,} parameters")
    if train(model, examples, tokenizer.pad_token_id) > 0.01:
        raise SystemExit("The model has not learned its answers: train it for longer.")
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(chat_tool_caller.FOLDER)
    tokenizer.save_pretrained(chat_tool_caller.FOLDER)


if __name__ == "__main__":
    main()
