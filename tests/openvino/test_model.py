"""An exported model's folder without transformers: its tokens, chat template, ends and limits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from hfnb.engines.base import Chat, Message
from hfnb.engines.openvino_model import OpenVINOModel
from hfnb.errors import EngineError, ModelError, ModelFilesError
from hfnb.spec import GenerationSpec
from tests.engines.reference import engine_of
from tests.tiny_models import DECODERS

Folders = Callable[[str], Path]
TEXTS = [
    *("", " ", "a", "  two  spaces\t\n\n", "café — Größe", "👩‍🔬 日本語", "\x00\x1f", "\u202eabc"),
    *("<s>a</s>", "<|im_start|>user<|im_end|>", "x<|endoftext|> y", "<pad>", "\ufffd", "e\u0301"),
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": 'The weather <now>, in "é".',
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
TURNS = [
    Message("system", "Be brief."),
    Message("user", "  What is 2 and 2?\n"),
    Message("assistant", "", {"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}),
    Message("tool", "4 & <5>", {"name": "f", "tool_call_id": "c1"}),
    Message("assistant", " It is 4. "),
]
HERMES = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {{- '<tool_call>' + (call.function | tojson(indent=2)) + '</tool_call>' }}
        {%- endfor %}
    {%- elif message.role == 'tool' %}
        {{- '<tool_response>' + message.content + '</tool_response>' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
TEMPLATES = {
    "hermes": HERMES,
    "blocks": """{{ bos_token }}{% for m in messages %}
    {% if m['role'] == 'user' %}
[INST] {{ m['content'] | trim }} [/INST]
    {% else %}
  {{ m['content'] }}{{ eos_token }}
    {% endif %}
{% endfor %}
""",
    "generation": """{% for m in messages -%}
  {%- if m.role == 'assistant' %}
    {%- generation -%}
      {{ m.content }}
    {%- endgeneration -%}
  {% elif m.role == 'system' %}
    {% generation %}
S {{ m.content }}
    {% endgeneration %}
  {% else %}<{{ m.role }}>{{ m.content }}{% endif %}
{% endfor %}""",
    "loops": """{% set ns = namespace(n=0) %}{% for m in messages %}
{%- if m.role == 'tool' %}{% continue %}{% endif %}
{%- set ns.n = ns.n + 1 %}{{ ns.n }}:{{ m.content }}|
{%- if ns.n > 2 %}{% break %}{% endif %}
{%- endfor %}{{ strftime_now('%Y') }}{{ documents is none }}{{ tools is none }}""",
    "json": "{{ messages | tojson }}{{ messages[0] | tojson(indent=4) }}"
    "{{ messages | tojson(separators=(',', ':'), sort_keys=True) }}"
    "{{ messages[0] | tojson(ensure_ascii=True) }}",
    "special": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token }}{{ sep_token }}"
    "{{ messages[0].content }}{{ add_generation_prompt }}",
}


def with_template(source: Path, target: Path, template: Any, **changes: Any) -> Path:
    shutil.copytree(source, target)
    (target / "chat_template.jinja").unlink(missing_ok=True)
    path = target / "tokenizer_config.json"
    config = {**json.loads(path.read_text()), **changes, "chat_template": template}
    path.write_text(json.dumps(config))
    return target


def theirs(folder: Path, chat: Chat) -> str:
    text: str = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        [{"role": each.role, "content": each.content, **each.fields} for each in chat.messages],
        tools=list(chat.tools) or None,
        add_generation_prompt=not chat.prefill,
        continue_final_message=chat.prefill,
        tokenize=False,
        **chat.options,
    )
    return text


@pytest.mark.parametrize("name", DECODERS)
def test_tokens_are_those_of_transformers(name: str, tiny_model: Folders) -> None:
    model = OpenVINOModel(name, tiny_model(name))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(name))
    for text in TEXTS:
        assert model.encode([text]) == [tokenizer(text).input_ids]
        plain = tokenizer(text, add_special_tokens=False).input_ids
        assert model.tokenise([text]) == [plain]
        assert model.text_decoder()(plain) == tokenizer.decode(plain, skip_special_tokens=True)
    torch = engine_of(tiny_model(name)).loaded
    assert model.begin_id == torch.begin_id
    assert model.eos_ids == torch.eos_ids
    assert model.context_length == torch.context_length
    spec = GenerationSpec.of(max_new_tokens=3, temperature=0.5)
    assert model.options_in_force(spec) == torch.options_in_force(spec)


@pytest.mark.parametrize("tools", [(), (WEATHER,)], ids=["plain", "tools"])
@pytest.mark.parametrize("turns", [2, 4, 5])
@pytest.mark.parametrize("name", TEMPLATES)
def test_chats_are_rendered_as_transformers_renders_them(
    name: str, turns: int, tools: tuple[Any, ...], tiny_model: Folders, tmp_path: Path
) -> None:
    folder = with_template(tiny_model("llama"), tmp_path / "llama", TEMPLATES[name])
    model = OpenVINOModel("llama", folder)
    for options in ({}, {"enable_thinking": False, "bos_token": "[B]"}):
        chat = Chat(tuple(TURNS[:turns]), tools, options)
        assert model.render(chat) == theirs(folder, chat)
    (ids,) = model.encode([chat])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert ids == tokenizer(theirs(folder, chat), add_special_tokens=False).input_ids


@pytest.mark.parametrize("name", ["hermes", "blocks"])
@pytest.mark.parametrize("content", ["The answer", "ends in a space ", " ", "two\n\nlines"])
def test_an_answer_goes_on_as_transformers_lets_it(
    name: str, content: str, tiny_model: Folders, tmp_path: Path
) -> None:
    folder = with_template(tiny_model("llama"), tmp_path / "llama", TEMPLATES[name])
    model = OpenVINOModel("llama", folder)
    chat = Chat((*TURNS[:2], Message("assistant", content)), prefill=True)
    assert model.render(chat) == theirs(folder, chat)
    assert chat.messages[-1].content == content


def test_a_refusal_of_the_template_is_that_rows_error(tiny_model: Folders, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}{{ m.content }}{% endfor %}"
    )
    folder = with_template(tiny_model("llama"), tmp_path / "llama", template)
    model = OpenVINOModel("llama", folder)
    good, bad = Chat((TURNS[1],)), Chat(tuple(TURNS[:2]))
    first, second, third = model.encode_each([good, bad, "text"], GenerationSpec())
    assert isinstance(second, EngineError)
    assert "System role not supported" in str(second)
    assert [type(first), type(third)] == [list, list]
    hidden = Chat((TURNS[1], Message("assistant", "x")), prefill=True)
    template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    model = OpenVINOModel("llama", with_template(tiny_model("llama"), tmp_path / "other", template))
    (problem,) = model.encode_each([hidden], GenerationSpec())
    assert isinstance(problem, EngineError)
    assert "can't be continued" in str(problem)


def test_of_several_templates_the_one_for_tools_is_taken(
    tiny_model: Folders, tmp_path: Path
) -> None:
    several = [
        {"name": "default", "template": "plain {{ messages[0].content }}"},
        {"name": "tool_use", "template": "tools {{ messages[0].content }}"},
    ]
    folder = with_template(tiny_model("llama"), tmp_path / "llama", several)
    files = tmp_path / "files"
    shutil.copytree(tiny_model("llama"), files)
    (files / "additional_chat_templates").mkdir()
    (files / "chat_template.jinja").write_text(several[0]["template"])
    (files / "additional_chat_templates" / "tool_use.jinja").write_text(several[1]["template"])
    for each in (folder, files):
        model = OpenVINOModel("llama", each)
        for tools in ((), (WEATHER,)):
            chat = Chat((TURNS[0],), tools)
            assert model.render(chat) == theirs(each, chat)


def test_a_template_is_compiled_once(
    tiny_model: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfnb.engines import chat_render

    folder = with_template(tiny_model("llama"), tmp_path / "llama", f"{HERMES}once")
    model, made = OpenVINOModel("llama", folder), []
    environment = chat_render._environment
    monkeypatch.setattr(chat_render, "_environment", lambda: made.append(1) or environment())
    model.encode([Chat((TURNS[0],))] * 50)
    assert made == [1]


def test_messages_for_a_model_without_a_template_are_refused_in_words(tiny_model: Folders) -> None:
    model = OpenVINOModel("gpt2", tiny_model("gpt2"))
    with pytest.raises(ModelError, match=r"no chat template.*chat=False"):
        model.encode_each([Chat((TURNS[0],))], GenerationSpec())


def test_special_tokens_are_found_where_older_folders_keep_them(
    tiny_model: Folders, tmp_path: Path
) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(tiny_model("llama"), folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    told = {name: config.pop(name) for name in ("bos_token", "eos_token")}
    told["eos_token"] = {"content": told["eos_token"], "lstrip": False}
    path.write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(told))
    (folder / "generation_config.json").write_text('{"eos_token_id": null}')
    model = OpenVINOModel("llama", folder)
    plain = OpenVINOModel("llama", tiny_model("llama"))
    assert model.special_tokens == plain.special_tokens
    assert (model.eos_ids, model.begin_id) == (plain.eos_ids, plain.begin_id)


def test_special_tokens_can_be_kept(tiny_model: Folders) -> None:
    model = OpenVINOModel("qwen3", tiny_model("qwen3"))
    torch = engine_of(tiny_model("qwen3")).loaded
    (ids,) = model.tokenise(["<|im_start|>a<|im_end|><|endoftext|>"])
    for keep in ((), ("<|im_start|>",), ("<|im_end|>", "<|im_start|>", "no token")):
        assert model.text_decoder(keep)(ids) == torch.text_decoder(keep)(ids)
    assert model.text_decoder(("<|im_start|>",))(ids) == "<|im_start|>a"


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_broken_file_is_named(name: str, tiny_model: Folders, tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(tiny_model("llama"), folder)
    (folder / name).write_text("{")
    with pytest.raises(ModelFilesError, match=rf"{name}.*Export the model again"):
        OpenVINOModel("llama", folder)
    (folder / name).unlink()
    with pytest.raises(ModelFilesError, match=name):
        OpenVINOModel("llama", folder)
