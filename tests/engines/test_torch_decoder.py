"""The decode loop: the same tokens as transformers' generate, whatever rows stand beside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from hfnb.engines import call, torch_engine
from hfnb.engines.base import Chat, Completion, Engine, Message, Request, Work
from hfnb.engines.batches import Rows
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import EngineError, ModelError, PromptTooLongError
from hfnb.spec import GenerationSpec
from tests.engines.reference import (
    PROMPTS,
    answers,
    engine_of,
    reference,
    reference_ids,
    streamed,
    texts,
    with_settings,
)
from tests.tiny_models import DECODERS, MAX_POSITIONS

TOKENS = 12
SHORT = [prompt for prompt in PROMPTS if len(prompt) < 50]
Engines = Callable[[str], TorchEngine]


@pytest.fixture(scope="module")
def expected(engine: Engines) -> Callable[[str], list[str]]:
    """What transformers answers to each of `PROMPTS` alone, in `TOKENS` tokens."""
    return cache(lambda name: [reference(engine(name), p, max_new_tokens=TOKENS) for p in PROMPTS])


@pytest.fixture(scope="module")
def early_eos(
    engine: Engines, tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TorchEngine, int]:
    """A llama for which a token that occurs in many answers, at different times, is an EOS."""
    plain = engine("llama")
    places: dict[int, set[int]] = {}
    for prompt in PROMPTS:
        ids = reference_ids(plain, prompt, max_new_tokens=TOKENS)
        for token in set(ids):
            places.setdefault(token, set()).add(ids.index(token))
    end = max(places, key=lambda token: len(places[token]))
    assert len(places[end]) > 3
    folder = with_settings(
        tiny_model("llama"),
        tmp_path_factory.mktemp("eos") / "llama",
        "generation_config.json",
        eos_token_id=[plain.loaded.tokenizer.eos_token_id, end],
    )
    return engine_of(folder), end


# --- equal to generate ------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 16, "auto"])
@pytest.mark.parametrize("name", DECODERS)
def test_greedy_answers_are_those_of_generate_row_by_row(
    name: str, batch_size: int | str, engine: Engines, expected: Callable[[str], list[str]]
) -> None:
    work = Work()
    found = texts(engine(name), PROMPTS, batch_size=batch_size, max_new_tokens=TOKENS, work=work)
    assert found == expected(name)
    assert work.path == "continuous decoding"


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_rows_that_end_at_different_times_are_those_of_generate(
    batch_size: int, early_eos: tuple[TorchEngine, int]
) -> None:
    engine, _ = early_eos
    done = answers(engine, PROMPTS, batch_size=batch_size, max_new_tokens=TOKENS)
    assert [each.text for each in done] == [
        reference(engine, prompt, max_new_tokens=TOKENS) for prompt in PROMPTS
    ]
    assert {each.finish_reason for each in done} == {"eos", "length"}
    assert [each.new_tokens for each in done] == [
        len(reference_ids(engine, prompt, max_new_tokens=TOKENS)) for prompt in PROMPTS
    ]


def test_max_length_counts_each_row_alone_whatever_stands_beside_it(engine: Engines) -> None:
    llama = engine("llama")
    assert max(map(llama.count_tokens, SHORT)) < 48
    done = answers(llama, SHORT, batch_size=16, max_length=50)
    assert [each.text for each in done] == [
        reference(llama, prompt, max_length=50) for prompt in SHORT
    ]
    for each in done:
        assert each.prompt_tokens is not None
        assert each.new_tokens is not None
        assert each.finish_reason == "eos" or each.new_tokens == 50 - each.prompt_tokens
    assert len({each.new_tokens for each in done if each.finish_reason == "length"}) > 3


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.7},
        {"repetition_penalty": 0.6},
        {"min_new_tokens": 12},
        {"repetition_penalty": 1.3, "min_new_tokens": 6},
    ],
)
def test_penalties_and_least_lengths_are_those_of_generate(
    options: dict[str, float], early_eos: tuple[TorchEngine, int]
) -> None:
    engine, _ = early_eos
    work = Work()
    found = texts(engine, PROMPTS, batch_size=7, max_new_tokens=16, work=work, **options)
    expected = [reference(engine, prompt, max_new_tokens=16, **options) for prompt in PROMPTS]
    assert found == expected
    assert found != texts(engine, PROMPTS, max_new_tokens=16)
    assert work.path == "continuous decoding"


def test_an_eos_token_of_the_caller_ends_rows_as_in_generate(
    engine: Engines, early_eos: tuple[TorchEngine, int]
) -> None:
    llama, end = engine("llama"), early_eos[1]
    done = answers(llama, PROMPTS, max_new_tokens=TOKENS, eos_token_id=end)
    assert [each.text for each in done] == [
        reference(llama, prompt, max_new_tokens=TOKENS, eos_token_id=end) for prompt in PROMPTS
    ]
    assert "eos" in {each.finish_reason for each in done}


def test_the_checkpoints_own_options_count_until_the_caller_gives_others(
    tiny_model: Callable[[str], Path], tmp_path: Path, engine: Engines
) -> None:
    folder = with_settings(
        tiny_model("llama"),
        tmp_path / "llama",
        "generation_config.json",
        max_new_tokens=5,
        repetition_penalty=1.7,
        do_sample=True,
        temperature=0.9,
    )
    stored, plain = engine_of(folder), engine("llama")
    penalised = texts(plain, PROMPTS, max_new_tokens=5, repetition_penalty=1.7)
    assert texts(stored, PROMPTS) == penalised
    assert texts(stored, PROMPTS, max_new_tokens=9, repetition_penalty=1.0) == texts(
        plain, PROMPTS, max_new_tokens=9
    )


def test_messages_go_through_the_chat_template_with_no_second_bos(engine: Engines) -> None:
    phi3 = engine("phi3")
    chat = Chat((Message("system", "Be brief."), Message("user", "What is 2 and 2?")))
    rendered = "<|system|>\nBe brief.<|end|>\n<|user|>\nWhat is 2 and 2?<|end|>\n<|assistant|>\n"
    tokenizer = phi3.loaded.tokenizer
    assert phi3.loaded.encode([chat]) == [tokenizer(rendered, add_special_tokens=False).input_ids]
    done = answers(phi3, [chat, "plain"], max_new_tokens=6)
    assert done[0].prompt_tokens == len(tokenizer(rendered, add_special_tokens=False).input_ids)
    assert done[1].text == reference(phi3, "plain", max_new_tokens=6)


def test_messages_for_a_model_without_a_chat_template_are_refused_in_words(
    engine: Engines,
) -> None:
    with pytest.raises(ModelError, match=r"no chat template.*chat=False"):
        answers(engine("gpt2"), [Chat((Message("user", "hello"),))], max_new_tokens=2)


def test_the_users_tokenizer_is_left_as_it_was(
    engine: Engines, tiny_model: Callable[[str], Path]
) -> None:
    gpt2 = engine("gpt2")
    texts(gpt2, PROMPTS, batch_size=8, max_new_tokens=2)
    fresh = AutoTokenizer.from_pretrained(tiny_model("gpt2"))
    for name in ("pad_token", "eos_token", "padding_side", "truncation_side", "model_max_length"):
        assert getattr(gpt2.loaded.tokenizer, name) == getattr(fresh, name)
    assert len(gpt2.loaded.tokenizer) == len(fresh)


# --- rows that can't be answered --------------------------------------------------------------


def test_too_long_a_prompt_is_that_rows_error_with_both_numbers(engine: Engines) -> None:
    llama = engine("llama")
    long = "word " * 400
    done = answers(llama, ["a", long, "b"], max_new_tokens=4)
    tokens = llama.count_tokens(long)
    assert tokens > MAX_POSITIONS
    assert isinstance(done[1].error, PromptTooLongError)
    assert f"{tokens:,}" in str(done[1].error)
    assert f"{MAX_POSITIONS}" in str(done[1].error)
    assert done[1].text is None
    assert done[1].prompt_tokens == tokens
    assert [done[0].text, done[2].text] == [
        reference(llama, prompt, max_new_tokens=4) for prompt in ("a", "b")
    ]


def test_max_length_below_the_prompt_is_that_rows_error(engine: Engines) -> None:
    done = answers(engine("llama"), ["a", PROMPTS[5]], max_length=6)
    assert done[0].error is None
    assert isinstance(done[1].error, PromptTooLongError)
    assert "max_length=6" in str(done[1].error)


def test_an_empty_prompt_is_that_rows_error_unless_the_model_begins_with_a_bos(
    engine: Engines,
) -> None:
    gpt2 = engine("gpt2")  # its tokenizer adds no BOS, but it has one to begin with
    assert texts(gpt2, [""], max_new_tokens=4) == [
        reference(gpt2, "<|endoftext|>", max_new_tokens=4)
    ]
    done = answers(engine("qwen3"), ["a", "", "b"], max_new_tokens=4)
    assert isinstance(done[1].error, EngineError)
    assert "empty" in str(done[1].error)
    assert [done[0].error, done[2].error] == [None, None]
    llama = engine("llama")  # its tokenizer puts a BOS first
    assert texts(llama, [""], max_new_tokens=4) == [reference(llama, "", max_new_tokens=4)]


def test_text_that_is_no_unicode_is_that_rows_error(engine: Engines) -> None:
    """A lone surrogate, as broken decoding leaves it in a cell, must not end the whole run."""
    llama = engine("llama")
    done = answers(llama, ["a", "broken \ud800 text", "b"], max_new_tokens=4)
    assert isinstance(done[1].error, EngineError)
    assert [done[0].text, done[2].text] == [
        reference(llama, prompt, max_new_tokens=4) for prompt in ("a", "b")
    ]


def test_generation_stops_at_the_end_of_the_context(engine: Engines) -> None:
    llama = engine("llama")
    prompt = "one two " * 45
    room = MAX_POSITIONS - llama.count_tokens(prompt)
    (done,) = answers(llama, [prompt], max_new_tokens=1000, min_new_tokens=1000)
    assert done.finish_reason == "length"
    assert done.new_tokens == room
    assert done.text == reference(llama, prompt, max_new_tokens=room, min_new_tokens=room)


def test_no_requests_are_no_answers(engine: Engines) -> None:
    work = Work()
    assert answers(engine("llama"), [], work=work) == []
    assert work.forwards == 0


def test_rows_keep_the_callers_numbers_and_equal_prompts_get_equal_answers(
    engine: Engines,
) -> None:
    requests = [Request(number, "a") for number in (70, 3, 51)]
    done = list(engine("llama").generate(requests, GenerationSpec.of(max_new_tokens=3)))
    assert {each.row for each in done} == {70, 3, 51}
    assert len({each.text for each in done if isinstance(each, Completion)}) == 1


# --- the work ---------------------------------------------------------------------------------


def test_rows_together_take_as_many_forwards_as_the_longest_alone(engine: Engines) -> None:
    llama = engine("llama")
    prompts = ["one two three"] * 8
    work = Work()
    texts(llama, prompts, batch_size=8, max_new_tokens=10, work=work)
    assert work.forwards == 10  # the prompt's gives the first token
    assert work.batches == 1
    assert work.batch_rows == 8
    assert work.padding_tokens == 0
    assert work.prompt_tokens == 8 * llama.count_tokens(prompts[0])
    assert work.new_tokens == 80
    assert work.recomputed_rows == 0


def test_long_prompts_wait_while_more_short_ones_decode_together(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama = engine("llama")
    monkeypatch.setattr(torch_engine, "auto_rows", lambda _: Rows(200, prompts=2000))
    for prompt, most in (("a b c", 200), ("a b c d " * 40, 64)):
        work = Work()
        texts(llama, [f"{i} {prompt}" for i in range(210)], max_new_tokens=2, work=work)
        assert 0.75 * most < work.batch_rows <= most


def test_padding_stays_small_since_prompts_of_one_length_go_together(engine: Engines) -> None:
    llama = engine("llama")
    prompts = ["a", "one two " * 20] * 8
    work = Work()
    texts(llama, prompts, batch_size=8, max_new_tokens=4, work=work)
    assert work.padding_tokens == 0
    assert work.prompt_tokens + work.shared_tokens == sum(map(llama.count_tokens, prompts))


def test_rows_that_finish_leave_and_are_not_computed_any_more(
    early_eos: tuple[TorchEngine, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = early_eos
    shapes: list[tuple[int, ...]] = []
    forward = engine.loaded.model.forward

    def counted(*args: object, **kwargs: object) -> object:
        shapes.append(tuple(kwargs["input_ids"].shape))  # type: ignore[attr-defined]
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.loaded.model, "forward", counted)
    work = Work()
    done = answers(engine, PROMPTS, batch_size=len(PROMPTS), max_new_tokens=TOKENS, work=work)
    assert work.forwards == len(shapes)
    decoded = sum(rows for rows, columns in shapes if columns == 1)
    # One token comes from each prompt's own forward, and an EOS is a token too.
    ends = [each.finish_reason == "eos" for each in done]
    tokens = sum((each.new_tokens or 0) + end for each, end in zip(done, ends, strict=True))
    one_token_prompts = sum(each.prompt_tokens == 1 for each in done)
    assert one_token_prompts == 0
    assert decoded == tokens - len(PROMPTS)
    assert work.new_tokens == tokens - sum(ends)


def test_waiting_rows_take_the_places_of_those_that_finished(
    early_eos: tuple[TorchEngine, int],
) -> None:
    engine, _ = early_eos
    together, one_by_one = Work(), Work()
    answers(engine, PROMPTS, batch_size=4, max_new_tokens=TOKENS, work=together)
    answers(engine, PROMPTS, batch_size=1, max_new_tokens=TOKENS, work=one_by_one)
    assert together.batch_rows == 4
    # Were rows to wait for a whole batch to end, four of them would save less than half.
    assert together.forwards < one_by_one.forwards / 2


def test_a_large_source_is_drawn_only_as_needed(engine: Engines) -> None:
    drawn = 0

    def source() -> object:
        nonlocal drawn
        while True:
            yield Request(drawn, "a")
            drawn += 1

    stream = engine("llama").generate(source(), GenerationSpec.of(max_new_tokens=1), batch_size=4)  # type: ignore[arg-type]
    next(stream)
    assert drawn < 10_000
    stream.close()  # type: ignore[attr-defined]


def test_a_longer_prompt_of_a_later_window_joins_rows_that_decode(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama = engine("llama")
    monkeypatch.setattr(call, "LOOKAHEAD", 2)
    prompts = ["a", "Où?", "one two " * 40, "x y z", "one two " * 20, "b"]
    assert texts(llama, prompts, batch_size=3, max_new_tokens=30) == [
        reference(llama, prompt, max_new_tokens=30) for prompt in prompts
    ]


def test_times_and_batch_rows_are_told(engine: Engines) -> None:
    for each in answers(engine("llama"), PROMPTS[:4], batch_size=4, max_new_tokens=3):
        assert each.batch_rows == 4
        assert each.latency_s is not None
        assert each.latency_s > 0
        assert each.queue_s is not None
        assert each.queue_s >= 0


# --- stop strings -----------------------------------------------------------------------------


def cut(text: str, stops: list[str]) -> str:
    places = [text.find(stop) for stop in stops if stop in text]
    return text[: min(places)] if places else text


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_stop_strings_of_every_length_cut_where_the_first_one_begins(
    name: str, engine: Engines, expected: Callable[[str], list[str]]
) -> None:
    """Every stop is a piece of a real answer, so most of them lie across token borders."""
    prompts, full = PROMPTS[:5], expected(name)[:5]
    answer = full[2]
    assert len(answer) > 15
    for start, size in ((1, 1), (2, 3), (0, 2), (3, 11), (4, 2), (len(answer) - 2, 2)):
        stop = answer[start : start + size]
        done = answers(engine(name), prompts, stop=stop, max_new_tokens=TOKENS)
        assert [each.text for each in done] == [cut(text, [stop]) for text in full]
        assert [each.finish_reason == "stop" for each in done] == [stop in text for text in full]


def test_of_several_stop_strings_the_one_that_begins_first_cuts(
    engine: Engines, expected: Callable[[str], list[str]]
) -> None:
    full = expected("llama")
    answer = full[0]
    stops = [answer[6:9], answer[3:5], answer[4:8], "never in an answer of this model"]
    assert texts(engine("llama"), PROMPTS, stop=stops, max_new_tokens=TOKENS) == [
        cut(text, stops) for text in full
    ]


def test_a_row_that_meets_its_stop_string_is_not_computed_further(engine: Engines) -> None:
    llama = engine("llama")
    answer = reference(llama, PROMPTS[0], max_new_tokens=TOKENS)
    work = Work()
    (done,) = answers(llama, PROMPTS[:1], stop=answer[:1], max_new_tokens=TOKENS, work=work)
    assert done.text == ""
    assert done.finish_reason == "stop"
    assert work.forwards == 1


def test_a_stop_string_in_the_prompt_changes_nothing(engine: Engines) -> None:
    llama = engine("llama")
    prompt = "Question: one\nAnswer:"
    full = reference(llama, prompt, max_new_tokens=TOKENS)
    stops = [stop for stop in ("Question", "Answer:", "\nAns", "r:") if stop not in full]
    assert stops
    assert texts(llama, [prompt], stop=stops, max_new_tokens=TOKENS) == [full]


def test_a_stop_string_that_begins_in_the_prompt_does_not_stop(engine: Engines) -> None:
    llama = engine("llama")
    full = reference(llama, PROMPTS[0], max_new_tokens=TOKENS)
    across = PROMPTS[0][-2:] + full[:2]
    if across not in full:
        assert texts(llama, PROMPTS[:1], stop=across, max_new_tokens=TOKENS) == [full]


# --- streaming --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DECODERS)
def test_deltas_put_together_are_the_text_of_the_completion(
    name: str, engine: Engines, expected: Callable[[str], list[str]]
) -> None:
    deltas, done = streamed(engine(name), PROMPTS, batch_size=6, max_new_tokens=TOKENS)
    assert ["".join(each) for each in deltas] == [each.text for each in done] == expected(name)
    assert sum(map(len, deltas)) > 5 * len(PROMPTS)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_deltas_never_show_a_part_of_a_stop_string(
    size: int, engine: Engines, expected: Callable[[str], list[str]]
) -> None:
    llama = engine("llama")
    full = expected("llama")[:6]
    for answer in full[::2]:
        stops = [answer[5 : 5 + size], answer[9 : 11 + size]]
        deltas, done = streamed(llama, PROMPTS[:6], stop=stops, max_new_tokens=TOKENS)
        assert ["".join(each) for each in deltas] == [cut(text, stops) for text in full]
        assert [each.text for each in done] == [cut(text, stops) for text in full]


def test_the_beginning_of_a_stop_string_that_does_not_come_is_shown_in_the_end(
    engine: Engines,
) -> None:
    llama = engine("llama")
    full = reference(llama, PROMPTS[0], max_new_tokens=TOKENS)
    deltas, (done,) = streamed(llama, PROMPTS[:1], stop=full[-3:] + "!?", max_new_tokens=TOKENS)
    assert "".join(deltas[0]) == done.text == full


def test_characters_of_several_tokens_are_shown_whole(
    fresh_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emoji are four byte tokens here: no delta may hold a replacement character."""
    import torch

    llama = fresh_engine("llama")
    wanted = "é👩‍🔬 日本語 ü"
    ids = llama.loaded.tokenizer(wanted, add_special_tokens=False).input_ids
    ids = [*ids, llama.loaded.tokenizer.eos_token_id]
    step = iter(range(len(ids)))
    forward = llama.loaded.model.forward

    def speak(*args: object, **kwargs: object) -> object:
        out = forward(*args, **kwargs)
        out.logits = torch.full_like(out.logits, -9.0)
        out.logits[:, -1, ids[next(step)]] = 9.0
        return out

    monkeypatch.setattr(llama.loaded.model, "forward", speak)
    deltas, (done,) = streamed(llama, ["a"], max_new_tokens=99)
    assert done.text == "".join(deltas[0]) == wanted
    assert not any("\ufffd" in delta for delta in deltas[0])
    assert done.finish_reason == "eos"


# --- ending early -----------------------------------------------------------------------------


def test_cancelling_ends_within_one_step_and_yields_nothing_more(engine: Engines) -> None:
    work, cancel = Work(), threading.Event()
    requests = [Request(row, prompt) for row, prompt in enumerate(PROMPTS)]
    spec = GenerationSpec.of(max_new_tokens=200)
    stream = engine("llama").generate(requests, spec, cancel=cancel, stream=True, work=work)
    next(stream)
    at = work.forwards
    cancel.set()
    # What the step that was already computed gave may still come; nothing more is computed.
    assert not [each for each in stream if isinstance(each, Completion)]
    assert work.forwards <= at + 1


def test_cancelled_before_it_begins_is_nothing_computed(engine: Engines) -> None:
    work, cancel = Work(), threading.Event()
    cancel.set()
    spec = GenerationSpec.of(max_new_tokens=5)
    assert list(engine("llama").generate([Request(0, "a")], spec, cancel=cancel, work=work)) == []
    assert work.forwards == 0


def test_closing_the_generator_ends_the_computation_and_frees_the_engine(engine: Engines) -> None:
    llama, work = engine("llama"), Work()
    requests = [Request(row, prompt) for row, prompt in enumerate(PROMPTS)]
    spec = GenerationSpec.of(max_new_tokens=200)
    stream = llama.generate(requests, spec, stream=True, work=work)
    next(stream)
    at = work.forwards
    stream.close()  # type: ignore[attr-defined]
    assert work.forwards == at
    assert texts(llama, ["a"], max_new_tokens=3) == [reference(llama, "a", max_new_tokens=3)]


# --- several threads, and the end -------------------------------------------------------------


def test_two_threads_at_once_get_their_own_answers(
    engine: Engines, expected: Callable[[str], list[str]]
) -> None:
    llama = engine("llama")
    halves = [PROMPTS[:10], PROMPTS[10:]]
    found: dict[int, list[str | None]] = {}

    def ask(half: int) -> None:
        found[half] = texts(llama, halves[half], batch_size=4, max_new_tokens=TOKENS)

    threads = [threading.Thread(target=ask, args=(half,)) for half in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found[0] + found[1] == expected("llama")


def test_a_closed_engine_says_how_to_get_it_back(fresh_engine: Engines) -> None:
    llama = fresh_engine("llama")
    llama.close()
    with pytest.raises(ModelError, match=r"unloaded.*hfnb.load"):
        answers(llama, ["a"], max_new_tokens=2)


def test_the_engine_keeps_the_protocol_and_describes_itself(engine: Engines) -> None:
    llama = engine("llama")
    assert isinstance(llama, Engine)
    info = llama.info
    assert (info.engine, info.backend, info.task) == ("torch decoder", "pytorch", "text-generation")
    assert (info.device, info.dtype) == ("cpu", "float32")
    assert info.context_length == MAX_POSITIONS
    assert info.parameters == sum(each.numel() for each in llama.loaded.model.parameters())
    assert info.has_chat_template is False
    assert engine("qwen3").info.has_chat_template is True
    assert engine("bloom").info.context_length in (None, MAX_POSITIONS)
