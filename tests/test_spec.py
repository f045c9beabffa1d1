"""Specifications: what is refused, with which words, and what is kept."""

from __future__ import annotations

import dataclasses
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfnb.errors import OptionError
from hfnb.options import GENERATION_OPTIONS, INTERNAL_OPTIONS, split_model_kwargs, split_options
from hfnb.spec import (
    TASKS,
    GenerationSpec,
    ModelSpec,
    check_backend,
    check_batch_size,
    check_dtype,
    check_task,
)

# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("max_new_token", "max_new_tokens"),
        ("temprature", "temperature"),
        ("stops", "stop"),
        ("sead", "seed"),
        ("topk", "top_k"),
        ("Repetition_Penalty", "repetition_penalty"),
    ],
)
def test_an_unknown_option_is_refused_with_the_closest_name(typo: str, meant: str) -> None:
    with pytest.raises(OptionError, match=f"{typo!r}.*Did you mean {meant!r}"):
        GenerationSpec.of(**{typo: 1})
    with pytest.raises(OptionError, match=f"{typo!r}.*Did you mean {meant!r}"):
        split_options({typo: 1}, ("batch_size",))


def test_an_unknown_option_near_nothing_is_refused_without_a_guess() -> None:
    with pytest.raises(OptionError, match="Unknown option 'xyzzy'") as caught:
        GenerationSpec.of(xyzzy=1)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(INTERNAL_OPTIONS - {"stop_strings", "use_cache"}))
def test_options_that_the_engine_sets_itself_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is not for callers"):
        GenerationSpec.of(**{name: True})


def test_split_options_parts_the_callers_own_names_from_those_of_generation() -> None:
    own, rest = split_options({"batch_size": 4, "top_p": 0.5, "stop": ["x"]}, ("batch_size",))
    assert own == {"batch_size": 4}
    assert rest == {"top_p": 0.5, "stop": ["x"]}
    with pytest.raises(OptionError, match="Did you mean 'batch_size'"):
        split_options({"batchsize": 4}, ("batch_size",))


def test_model_kwargs_are_parted_by_their_names() -> None:
    options = {"temperature": 0, "torch_dtype": "auto", "stop": ["x"], "return_full_text": True}
    load, generate = split_model_kwargs(options)
    assert load == {"torch_dtype": "auto"}
    assert generate == {"temperature": 0, "stop": ["x"], "return_full_text": True}
    with pytest.raises(OptionError, match="Did you mean 'attn_implementation'"):
        split_model_kwargs({"attn_implementaton": "eager"})


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_itself(task: str) -> None:
    assert check_task(task) == task


def test_names_are_checked_with_the_closest_and_what_there_is() -> None:
    with pytest.raises(OptionError, match=r"Did you mean 'text-generation'.*summarization"):
        check_task("text_generation")
    with pytest.raises(OptionError, match=r"Did you mean 'pytorch'.*This version of hfnb has"):
        check_backend("pytorhc")
    with pytest.raises(OptionError, match=r"Did you mean 'bfloat16'"):
        check_dtype("bfloat")
    with pytest.raises(OptionError, match="Unknown backend"):
        ModelSpec("gpt2", backend="opnvino")


def test_aliases_become_the_one_name() -> None:
    import torch

    assert {check_backend(each) for each in ("default", "pytorch", "torch", "pt")} == {"pytorch"}
    assert check_dtype("bf16") == check_dtype(torch.bfloat16) == check_dtype("bfloat16")
    assert check_dtype("half") == "float16"
    with pytest.raises(OptionError, match="int8"):
        check_dtype(torch.int8)


# --- values -----------------------------------------------------------------------------------

WRONG: list[tuple[str, Any]] = [
    *(("max_new_tokens", value) for value in (0, -1, 2.0, "5", True, float("nan"), [5])),
    *(("max_length", value) for value in (0, True, 1.5)),
    *(("min_new_tokens", value) for value in (-1, False, 0.5)),
    *(("num_beams", value) for value in (0, True)),
    *(("num_return_sequences", value) for value in (0, "2")),
    *(("top_k", value) for value in (-1, 0.5, True)),
    *(("no_repeat_ngram_size", value) for value in (-2, 1.0)),
    *(("seed", value) for value in (-1, 1.5, "7", True)),
    *(("temperature", value) for value in (-0.1, math.nan, math.inf, -math.inf, "1", True, 1j)),
    *(("top_p", value) for value in (0, -0.5, 1.01, math.nan, "0.5", True)),
    *(("typical_p", value) for value in (0, 2, math.nan)),
    *(("top_h", value) for value in (0, 2)),
    *(("min_p", value) for value in (-0.1, 1.1, math.nan, True)),
    *(("repetition_penalty", value) for value in (0, -1, math.inf, math.nan, True, "1")),
    *(("length_penalty", value) for value in (math.nan, math.inf, "1", True)),
    *(("max_time", value) for value in (math.inf, "1")),
    *(("eos_token_id", value) for value in ("</s>", -1, 1.5, True, [1, "2"], [])),
    *(("do_sample", value) for value in (1, 0, "yes")),
    *(("token_healing", value) for value in (1, "no")),
    *(("stop", value) for value in ("", [""], ["a", ""], 5, ["a", 5], [None], b"x", True)),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda each: repr(each))
def test_an_impossible_value_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        GenerationSpec.of(**{name: value})
    assert name in str(caught.value)
    if not isinstance(value, (list, bytes)):
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", sorted(GENERATION_OPTIONS | {"stop", "seed"}))
def test_none_is_as_if_the_option_was_not_given(name: str) -> None:
    assert GenerationSpec.of(**{name: None}) == GenerationSpec.of()


def test_numbers_of_numpy_are_numbers() -> None:
    spec = GenerationSpec.of(
        max_new_tokens=np.int64(5), temperature=np.float32(0.5), seed=np.uint8(3)
    )
    assert spec == GenerationSpec.of(max_new_tokens=5, temperature=0.5, seed=3)
    assert [type(spec.get("max_new_tokens")), type(spec.seed)] == [int, int]
    assert check_batch_size(np.int32(8)) == 8  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        GenerationSpec.of(max_new_tokens=np.bool_(True))


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "8", "Auto", None, [1]])
def test_a_batch_size_is_auto_or_a_number_of_rows(value: Any) -> None:
    with pytest.raises(OptionError, match="batch_size"):
        check_batch_size(value)
    assert check_batch_size("auto") == "auto"
    assert check_batch_size(1) == 1


# --- stop strings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_as", "kept"),
    [
        ("\n", ("\n",)),
        (["\n", "END"], ("\n", "END")),
        (("a",), ("a",)),
        ([], ()),
        ((), ()),
        (iter(["a"]), ("a",)),
    ],
)
def test_stop_is_a_string_or_several(given_as: Any, kept: tuple[str, ...]) -> None:
    assert GenerationSpec.of(stop=given_as).stop == kept


def test_stop_strings_is_transformers_name_for_stop() -> None:
    assert GenerationSpec.of(stop_strings=["x"]).stop == ("x",)
    assert GenerationSpec.of(stop_strings=["x"], stop="y").stop == ("y",)


# --- together ---------------------------------------------------------------------------------


def test_greedy_is_the_default_and_repeats() -> None:
    spec = GenerationSpec.of()
    assert (spec.temperature, spec.sampling, spec.repeats) == (0.0, False, True)
    assert spec == GenerationSpec()


def test_do_sample_alone_samples_as_in_transformers() -> None:
    spec = GenerationSpec.of(do_sample=True)
    assert (spec.temperature, spec.sampling, spec.repeats) == (1.0, True, False)
    assert GenerationSpec.of(do_sample=True, seed=1).repeats


def test_do_sample_false_is_greedy_whatever_the_temperature() -> None:
    spec = GenerationSpec.of(do_sample=False, temperature=0.7)
    assert (spec.sampling, spec.repeats) == (False, True)


def test_temperature_0_is_greedy_even_where_do_sample_was_set() -> None:
    """`bind(temperature=0)` over a model that was set up to sample must not sample at 1."""
    for options in ({"do_sample": True}, {"do_sample": True, "temperature": 0.7}):
        spec = GenerationSpec.of(**options).merge(temperature=0)
        assert (spec.temperature, spec.sampling) == (0.0, False)
    assert not GenerationSpec.of(do_sample=True, temperature=0).sampling
    assert GenerationSpec.of(temperature=0).merge(do_sample=True).sampling


def test_beams_and_sampling_exclude_each_other() -> None:
    with pytest.raises(OptionError, match=r"num_beams=3.*temperature=0\.7"):
        GenerationSpec.of(num_beams=3, temperature=0.7)
    assert GenerationSpec.of(num_beams=3).get("num_beams") == 3
    assert GenerationSpec.of(num_beams=3, temperature=0.7, do_sample=False).sampling is False


def test_several_sequences_need_sampling_or_as_many_beams() -> None:
    with pytest.raises(OptionError, match="num_return_sequences=2 needs sampling"):
        GenerationSpec.of(num_return_sequences=2)
    assert GenerationSpec.of(num_return_sequences=2, temperature=1).sampling
    assert GenerationSpec.of(num_return_sequences=2, num_beams=2).get("num_beams") == 2


def test_the_later_of_max_new_tokens_and_max_length_wins() -> None:
    spec = GenerationSpec.of(max_length=64)
    assert spec.merge(max_new_tokens=8).options == (("max_new_tokens", 8),)
    assert spec.merge(max_new_tokens=8).merge(max_length=9).options == (("max_length", 9),)
    assert GenerationSpec.of(max_length=64, max_new_tokens=8).options == (("max_new_tokens", 8),)
    assert spec.merge(max_new_tokens=None) == spec


def test_merge_wins_over_what_was_set_and_none_unsets() -> None:
    base = GenerationSpec.of(temperature=0.5, stop="x", seed=3, top_k=5, top_p=0.9)
    merged = base.merge(top_k=7, stop=["y"], seed=None, temperature=None, top_p=None)
    assert merged == GenerationSpec.of(top_k=7, stop=["y"])
    assert base.merge(stop=None).stop == ()
    assert base.get("top_k") == 5
    assert base.merge() == base


def test_as_dict_gives_every_option_that_is_set_and_makes_the_same_again() -> None:
    spec = GenerationSpec.of(temperature=0.5, stop=["x"], seed=3, top_k=5, bad_words_ids=[[5]])
    assert spec.as_dict() == {
        "temperature": 0.5,
        "stop": ["x"],
        "seed": 3,
        "top_k": 5,
        "bad_words_ids": ((5,),),
    }
    assert GenerationSpec.of(**spec.as_dict()) == spec


# --- frozen -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"bad_words_ids": [[5], [6, 7]]},
        {"sequence_bias": {(5,): -1.0, (6, 7): 2.0}},
        {"sequence_bias": [[[5], -1.0]]},
        {"suppress_tokens": [1, 2]},
        {"exponential_decay_length_penalty": (5, 1.1)},
        {"eos_token_id": [1, 2]},
        {"watermarking_config": {"greenlist_ratio": 0.25, "context": [1, {"a": [2]}]}},
        {"stop": ["a", "b"]},
    ],
    ids=str,
)
def test_a_specification_is_frozen_and_hashable_with_lists_and_dicts(
    options: dict[str, Any],
) -> None:
    spec, same = GenerationSpec.of(**options), GenerationSpec.of(**options)
    assert hash(spec) == hash(same)
    assert {spec: 1}[same] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.temperature = 1.0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_a_callers_list_that_changes_later_changes_no_specification() -> None:
    words, stop = [[5]], ["a"]
    spec = GenerationSpec.of(bad_words_ids=words, stop=stop)
    words[0].append(6)
    stop.append("b")
    assert spec.get("bad_words_ids") == ((5,),)
    assert spec.stop == ("a",)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0, 5),
            "top_k": st.integers(0, 99),
            "top_p": st.floats(0.01, 1),
            "max_new_tokens": st.integers(1, 99),
            "seed": st.integers(0, 2**63),
            "stop": st.lists(st.text(min_size=1), max_size=3),
            "do_sample": st.booleans(),
        },
    )
)
def test_any_order_of_merging_disjoint_options_gives_the_same_specification(
    options: dict[str, Any],
) -> None:
    options.pop("do_sample" if "temperature" in options else "", None)
    at_once, one_by_one = GenerationSpec.of(**options), GenerationSpec()
    for name in reversed(options):
        one_by_one = one_by_one.merge(**{name: options[name]})
    assert at_once == one_by_one
    assert hash(at_once) == hash(one_by_one)


# --- the model --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["", "  ", None, 5, b"gpt2", ["gpt2"]])
def test_a_model_is_a_name_or_a_folder(model: Any) -> None:
    with pytest.raises(OptionError, match=r"model is a name or a folder"):
        ModelSpec(model)


def test_a_path_is_a_folder() -> None:
    assert ModelSpec(Path("models/tiny")).model == str(Path("models/tiny"))  # type: ignore[arg-type]


def test_device_and_device_map_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="Both device='cpu' and device_map='auto'"):
        ModelSpec("gpt2", device="cpu", device_map="auto")
    assert ModelSpec("gpt2", device_map="auto").device is None


@pytest.mark.parametrize("name", ["trust_remote_code", "allow_pickle"])
@pytest.mark.parametrize("value", ["False", "no", 0, 1, None])
def test_what_lets_code_run_is_true_or_false_and_nothing_like_it(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} is True or False"):
        ModelSpec("gpt2", **{name: value})


def test_a_model_specification_is_hashable_with_maps_of_devices() -> None:
    def make() -> ModelSpec:
        return ModelSpec(
            "gpt2",
            device_map={"": "cpu"},
            load_options=(("max_memory", {0: "1GB"}), ("key_mapping", {"a": ["b"]})),
        )

    assert make() == make()
    assert hash(make()) == hash(make())
    assert make().device_map == {"": "cpu"}
    assert isinstance(make().device_map, dict)  # Accelerate takes nothing else


# --- transformers -----------------------------------------------------------------------------


def test_every_option_of_the_installed_transformers_is_known_and_no_other() -> None:
    from transformers import GenerationConfig

    theirs = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    known = GENERATION_OPTIONS | INTERNAL_OPTIONS
    assert theirs - known == set(), "new in transformers: sort them into hfnb/spec.py"
    assert known - theirs == set(), "gone from transformers"
    assert not GENERATION_OPTIONS & INTERNAL_OPTIONS


def test_names_of_other_libraries_lead_to_ours() -> None:
    for name, ours in [("max_tokens", "max_new_tokens"), ("stop_sequences", "stop")]:
        with pytest.raises(OptionError, match=f"Did you mean '{ours}'"):
            GenerationSpec.of(**{name: 1})
    with pytest.raises(OptionError, match="or from_model_id"):
        split_model_kwargs({"batch_size": 4})
    assert GenerationSpec.of(use_cache=True) == GenerationSpec()
    with pytest.raises(OptionError, match="use_cache is not for callers"):
        GenerationSpec.of(use_cache=False)
