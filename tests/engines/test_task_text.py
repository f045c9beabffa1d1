"""What is done to a text before an encoder-decoder reads it, compared with transformers' own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    M2M100Tokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
    PLBartTokenizer,
)

from hfnb.engines.task_text import TaskText
from hfnb.errors import OptionError
from hfnb.spec import languages_of

# Marian's tokenizer asks for a package that cleans punctuation, and does not use it.
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

TEXTS = ["What is the number 72 in french?", "a", "  Où? 42 €  ", "en_XX one __en__ two", ""]
Folder = Callable[[str], Path]

T5_PARAMS = {
    "summarization": {
        "early_stopping": True,
        "length_penalty": 2.0,
        "max_length": 200,
        "min_length": 30,
        "no_repeat_ngram_size": 3,
        "num_beams": 4,
        "prefix": "summarize: ",
    },
    "translation_en_to_de": {
        "early_stopping": True,
        "max_length": 300,
        "num_beams": 4,
        "prefix": "translate English to German: ",
    },
}
T5: dict[str, Any] = {"model_type": "t5", "is_encoder_decoder": True}
SMALL_T5: dict[str, Any] = {**T5, "task_specific_params": T5_PARAMS}
BART: dict[str, Any] = {"model_type": "bart", "is_encoder_decoder": True}


def written(text: TaskText, prompt: str, *languages: str | None) -> str:
    """Return what the model reads, by a tokenizer whose tokens are characters."""
    (ids,) = text.encode([prompt], *languages)
    return "".join(map(chr, ids))


class Characters:
    """A tokenizer whose tokens are characters, with the vocabulary that it is given."""

    def __init__(self, *vocabulary: str, **attributes: Any) -> None:
        self.all_special_tokens: list[str] = []
        self.vocabulary = vocabulary
        vars(self).update(attributes)

    def get_vocab(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary)}

    def __call__(self, texts: list[str], **options: Any) -> dict[str, Any]:
        return {"input_ids": [[ord(each) for each in text] for text in texts]}


def load(folder: Path, task: str = "translation", **options: Any) -> TaskText:
    config = json.loads((folder / "config.json").read_text())
    return TaskText(task, config, AutoTokenizer.from_pretrained(folder), **options)


# --- the task's name --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "languages"),
    [
        ("translation_en_to_fr", ("en", "fr")),
        ("translation_en_XX_to_fr_XX", ("en_XX", "fr_XX")),
        ("translation_eng_Latn_to_zho_Hans", ("eng_Latn", "zho_Hans")),
        ("translation_en_to_to", ("en", "to")),  # Tongan
        ("translation_to_to_en", ("to", "en")),
        ("translation_zh-CN_to_pt-BR", ("zh-CN", "pt-BR")),
        ("translation", None),
        ("translation_en_fr", None),
        ("translation__to_fr", None),
        ("summarization", None),
        ("", None),
    ],
)
def test_a_tasks_name_may_tell_two_languages(task: str, languages: Any) -> None:
    assert languages_of(task) == languages


@given(st.text(st.sampled_from("abcdefgh"), min_size=1), st.text(st.sampled_from("abcdefgh")))
def test_what_a_tasks_name_is_made_of_comes_out_again(source: str, target: str) -> None:
    expected = (source, target) if target else None
    assert languages_of(f"translation_{source}_to_{target}") == expected


# --- in words: T5, and models that know no language -------------------------------------------


@pytest.mark.parametrize(
    ("config", "task", "languages", "call", "prefix"),
    [
        (SMALL_T5, "summarization", None, (), "summarize: "),
        (SMALL_T5, "translation", ("en", "de"), (), "translate English to German: "),
        (SMALL_T5, "translation", None, ("en", "de"), "translate English to German: "),
        (SMALL_T5, "translation", ("en", "de"), ("de", "en"), "translate German to English: "),
        (SMALL_T5, "translation", ("en", "de"), (None, "ro"), "translate English to Romanian: "),
        (SMALL_T5, "text2text-generation", None, ("en", "fr"), "translate English to French: "),
        (SMALL_T5, "text2text-generation", None, (), ""),
        (SMALL_T5, "translation", None, (), ""),
        (T5, "summarization", None, (), ""),
        (T5, "translation", ("EN", "de"), (), "translate English to German: "),
        (BART, "summarization", None, (), ""),
        (BART, "translation", ("en", "de"), (), ""),
        ({**BART, "prefix": " "}, "summarization", None, (), " "),
        ({"model_type": "mt5"}, "translation", ("en", "ja"), (), ""),
    ],
)
def test_the_prefix_is_that_of_the_task_and_of_the_languages(
    config: Any, task: str, languages: Any, call: Any, prefix: str
) -> None:
    text = TaskText(task, config, Characters(), languages)
    assert text.prefix(*call) == prefix
    assert text.options(*call) == {}
    assert written(text, "Hello", *call) == f"{prefix}Hello"


@pytest.mark.parametrize(
    "prompt",
    [
        "translate English to German: Hello",
        "translate English to German:Hello",
        "\n Translate English to German: Hello",
        "translate English to Klingon: Hello",
        "summarize: Hello",
    ],
)
def test_a_prefix_that_a_prompt_has_already_is_not_put_twice(prompt: str) -> None:
    text = TaskText("translation", SMALL_T5, Characters(), ("en", "de"))
    assert written(text, prompt) == prompt
    assert (
        written(text, "Hello summarize: it") == "translate English to German: Hello summarize: it"
    )


@given(st.text())
def test_a_prefix_is_put_once_however_often_a_text_goes_through(prompt: str) -> None:
    text = TaskText("summarization", SMALL_T5, Characters())
    once = written(text, prompt)
    assert once.endswith(prompt)
    assert written(text, once) == once


def test_the_generation_options_of_a_task_are_those_of_its_config() -> None:
    text = TaskText("summarization", SMALL_T5, Characters())
    assert text.defaults() == {k: v for k, v in T5_PARAMS["summarization"].items() if k != "prefix"}
    text = TaskText("translation", SMALL_T5, Characters())
    assert text.defaults() == {}
    german = {"early_stopping": True, "max_length": 300, "num_beams": 4}
    assert text.defaults("en", "de") == german
    assert TaskText("translation", SMALL_T5, Characters(), ("en", "de")).defaults() == german
    assert TaskText("summarization", BART, Characters()).defaults() == {}


@pytest.mark.parametrize(
    ("config", "call", "message"),
    [
        (BART, ("en", "fr"), "no languages to choose from, so src_lang='en' and tgt_lang='fr'"),
        (BART, (None, "fr"), "so tgt_lang='fr' can't"),
        ({"model_type": "gpt2"}, (None, "fr"), "no languages to choose from"),
        (T5, ("en", "ja"), "src_lang='en' and tgt_lang='ja'. Its config names no pair"),
        (SMALL_T5, ("en", "ja"), r"names en to de; .* en \(English\), de \(German\)"),
        (SMALL_T5, (None, "de"), "are both given"),
    ],
)
def test_languages_that_a_model_can_not_be_told_are_refused(
    config: Any, call: Any, message: str
) -> None:
    text = TaskText("text2text-generation", config, Characters())
    for each in (text.prefix, text.options):
        with pytest.raises(OptionError, match=message):
            each(*call)
    with pytest.raises(OptionError, match=message):
        text.encode(["Hello"], *call)


def test_a_summary_takes_no_languages_where_they_are_words() -> None:
    text = TaskText("summarization", SMALL_T5, Characters())
    with pytest.raises(OptionError, match=r"task is 'summarization'.* task='translation'"):
        text.options("en", "de")
    with pytest.raises(OptionError, match="no languages to choose from"):
        TaskText("summarization", BART, Characters()).options("en", "de")


def test_a_task_whose_languages_a_t5_was_not_trained_on_is_refused_at_once() -> None:
    with pytest.raises(OptionError, match="tgt_lang='ja'"):
        TaskText("translation", T5, Characters(), ("en", "ja"))


# --- by a token before the text: Marian's several targets, MADLAD ------------------------------


def test_a_marian_with_several_targets_reads_the_targets_token_first(tiny_model: Folder) -> None:
    text = load(tiny_model("marian_many"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("marian_many"))
    prompt = "What is the number 72 in french?"
    for target in ("fra", ">>fra<<", "FRA"):
        assert text.prefix(None, target) == ">>fra<< "
        assert text.encode([prompt], None, target) == tokenizer([f">>fra<< {prompt}"]).input_ids
    assert tokenizer.convert_tokens_to_ids(">>fra<<") == text.encode([prompt], "eng", "fra")[0][0]
    assert text.options(None, "fra") == {}
    # As in Marian's own examples, prompts may have the token themselves, each its own.
    assert text.encode([prompt]) == tokenizer([prompt]).input_ids
    own = f">>deu<< {prompt}"
    assert (
        text.encode([own, prompt], None, "fra") == tokenizer([own, f">>fra<< {prompt}"]).input_ids
    )


def test_an_unknown_target_is_refused_with_the_closest_ones(tiny_model: Folder) -> None:
    text = load(tiny_model("marian_many"))
    with pytest.raises(OptionError, match=r"'frx'\. Did you mean 'fr[ay]'\? It knows deu, fra"):
        text.options(None, "frx")
    with pytest.raises(OptionError, match=r"not know tgt_lang='ja'\. It knows deu, fra, fry"):
        load(tiny_model("marian_many"), languages=("en", "ja"))


def test_madlad_reads_the_targets_token_first() -> None:
    text = TaskText("translation", T5, Characters("a", "<2fr>", "<2pt>"))
    assert written(text, "I love pizza!", None, "pt") == "<2pt> I love pizza!"
    assert written(text, "<2fr> I love pizza!", None, "pt") == "<2fr> I love pizza!"
    with pytest.raises(OptionError, match="It knows fr, pt"):
        text.options("en", "ja")


# --- one pair ---------------------------------------------------------------------------------


def test_a_model_of_one_pair_takes_its_own_languages_and_no_others(tiny_model: Folder) -> None:
    folder = tiny_model("marian")  # from "en" into "fr"
    text = load(folder)
    plain = AutoTokenizer.from_pretrained(folder)(TEXTS).input_ids
    for languages in ((), ("en", "fr"), ("EN", None), (None, "fr_CA"), ("eng", "fra")):
        assert text.encode(TEXTS, *languages) == plain
        assert text.options(*languages) == {}
    with pytest.raises(OptionError, match="translates into 'fr' only, so tgt_lang='de'"):
        text.options(None, "de")
    with pytest.raises(OptionError, match="translates from 'en' only, so src_lang='fr'"):
        text.encode(["Bonjour"], "fr", "en")
    with pytest.raises(OptionError, match="tgt_lang='de'"):
        load(folder, languages=("en", "de"))


def test_fsmt_names_its_pair_otherwise() -> None:
    text = TaskText("translation", {"model_type": "fsmt"}, Characters(src_lang="en", tgt_lang="ru"))
    assert text.options("en", "ru") == {}
    with pytest.raises(OptionError, match="'ru' only"):
        text.options("en", "de")


# --- by special tokens: mBART, M2M100, NLLB ----------------------------------------------------

PAIRS = [
    ("mbart", MBartTokenizer, "fr_XX", "ro_RO"),
    ("mbart50", MBart50Tokenizer, "fr_XX", "ro_RO"),
    ("m2m100", M2M100Tokenizer, "fr", "ro"),
    ("nllb", NllbTokenizer, "fra_Latn", "ron_Latn"),
]


@pytest.mark.parametrize(("name", "kind", "source", "target"), PAIRS)
def test_the_languages_are_those_of_transformers_own_translation_inputs(
    name: str, kind: Any, source: str, target: str, tiny_model: Folder
) -> None:
    text, theirs = load(tiny_model(name)), kind.from_pretrained(tiny_model(name))
    for each in (source, "eng_Latn" if name == "nllb" else "en_XX" if "mbart" in name else "en"):
        tensors = {} if name == "m2m100" else {"return_tensors": None}
        inputs = theirs._build_translation_inputs(TEXTS, src_lang=each, tgt_lang=target, **tensors)
        assert text.encode(TEXTS, each, target) == inputs["input_ids"]
        # The first mBART starts with the language; forced behind it, it would stand there twice.
        option = "decoder_start_token_id" if name == "mbart" else "forced_bos_token_id"
        assert text.options(each, target) == {option: inputs["forced_bos_token_id"]}
        assert text.prefix(each, target) == ""


@pytest.mark.parametrize(("name", "kind", "source", "target"), PAIRS)
def test_the_users_tokenizer_stays_as_it_was(
    name: str, kind: Any, source: str, target: str, tiny_model: Folder
) -> None:
    folder = tiny_model(name)
    tokenizer = kind.from_pretrained(folder)
    before = tokenizer(TEXTS).input_ids
    config = json.loads((folder / "config.json").read_text())
    text = TaskText("translation", config, tokenizer)
    assert text.encode(TEXTS) == before
    assert text.encode(TEXTS, source) != before
    assert tokenizer(TEXTS).input_ids == before
    assert text.encode(TEXTS) == before


def test_several_threads_read_in_several_languages_at_once(tiny_model: Folder) -> None:
    text = load(tiny_model("nllb"))
    sources = ["eng_Latn", "fra_Latn", "deu_Latn", "zho_Hans"]
    alone = {each: text.encode(TEXTS, each) for each in sources}
    wrong: list[str] = []

    def read(source: str) -> None:
        wrong.extend(source for _ in range(50) if text.encode(TEXTS, source) != alone[source])

    threads = [threading.Thread(target=read, args=(each,)) for each in sources]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []
    assert len({str(rows) for rows in alone.values()}) == len(sources)


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("mbart50", "fr", "fr_XX"),
        ("mbart50", "fr_xx", "fr_XX"),
        ("mbart50", "zh-CN", "zh_CN"),
        ("m2m100", "FR", "fr"),
        ("m2m100", "__fr__", "fr"),
        ("nllb", "fra", "fra_Latn"),
        ("nllb", "zho-Hant", "zho_Hant"),
    ],
)
def test_a_language_may_be_written_without_its_region(
    name: str, given: str, meant: str, tiny_model: Folder
) -> None:
    text = load(tiny_model(name))
    assert text.options(given, given) == text.options(meant, meant)
    assert text.encode(["one"], given) == text.encode(["one"], meant)
    by_name = load(tiny_model(name), languages=(given, given))
    assert by_name.options() == text.options(meant, meant)
    assert by_name.encode(["one"]) == text.encode(["one"], meant)


@pytest.mark.parametrize(
    ("name", "call", "message"),
    [
        ("nllb", ("zho", "fra"), "src_lang='zho' may mean zho_Hans, zho_Hant: say which"),
        ("nllb", (None, "en"), "tgt_lang='en'. Codes that begin like it: eng_Latn. It knows ace_A"),
        ("nllb", (None, "eng_Latin"), "Did you mean 'eng_Latn'"),
        ("mbart50", ("en", "xx"), r"does not know tgt_lang='xx'. It knows .* \(52 in all\)"),
        ("m2m100", ("english", "fr"), "Codes that begin like it: en"),
        ("nllb", (None, None), "say which with tgt_lang, .* It knows ace_Arab"),
    ],
)
def test_a_language_that_is_not_known_or_not_clear_is_refused(
    name: str, call: Any, message: str, tiny_model: Folder
) -> None:
    with pytest.raises(OptionError, match=message):
        load(tiny_model(name)).options(*call)


def test_a_task_with_an_unknown_language_is_refused_at_once(tiny_model: Folder) -> None:
    with pytest.raises(OptionError, match="src_lang='xx'"):
        load(tiny_model("mbart50"), languages=("xx", "fr"))


@pytest.mark.parametrize("task", ["text2text-generation", "summarization"])
def test_only_a_translation_must_be_told_its_target(task: str, tiny_model: Folder) -> None:
    text = load(tiny_model("mbart50"), task)
    assert text.options() == {}
    assert set(text.options("en_XX", "fr_XX")) == {"forced_bos_token_id"}


def test_a_model_with_a_target_of_its_own_need_not_be_told_one(tiny_model: Folder) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("mbart50"))
    romanian = tokenizer.convert_tokens_to_ids("ro_RO")
    assert load(tiny_model("mbart50"), forced_bos_token_id=romanian).options() == {}

    config = json.loads((tiny_model("mbart") / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("mbart"))
    romanian, french = tokenizer.convert_tokens_to_ids(["ro_RO", "fr_XX"])
    own = TaskText("translation", {**config, "decoder_start_token_id": romanian}, tokenizer)
    assert own.options() == {}
    assert own.options(tgt_lang="fr") == {"decoder_start_token_id": french}
    # What a checkpoint forces at its answers' beginning must not contradict.
    forces = TaskText("translation", config, tokenizer, forced_bos_token_id=romanian)
    assert forces.options(tgt_lang="fr") == {
        "decoder_start_token_id": french,
        "forced_bos_token_id": french,
    }


def test_a_tokenizer_may_know_the_target(tiny_model: Folder) -> None:
    tokenizer = MBart50Tokenizer.from_pretrained(
        tiny_model("mbart50"), src_lang="fr_XX", tgt_lang="ro_RO"
    )
    config = json.loads((tiny_model("mbart50") / "config.json").read_text())
    text = TaskText("translation", config, tokenizer)
    assert text.options() == {"forced_bos_token_id": tokenizer.convert_tokens_to_ids("ro_RO")}
    assert text.encode(["one"]) == [tokenizer("one").input_ids]
    # Where the model has a target of its own, that one is meant.
    assert TaskText("translation", config, tokenizer, forced_bos_token_id=7).options() == {}


def test_an_older_nllb_tokenizer_reads_the_language_first_too(
    tiny_model: Folder, tmp_path: Path
) -> None:
    """Its tokenizer.json has the language last, as before transformers 4.30, unlike its training.

    `NllbTokenizer` puts that right when it is made; `AutoTokenizer` does not make one.
    """
    tokenizer = NllbTokenizer.from_pretrained(tiny_model("nllb"))
    first = tokenizer("one").input_ids
    tokenizer.legacy_behaviour = True
    tokenizer.src_lang = "eng_Latn"
    last = tokenizer("one").input_ids
    assert last == [*first[1:], first[0]]

    tokenizer.save_pretrained(tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    (tmp_path / "config.json").write_text((tiny_model("nllb") / "config.json").read_text())
    for legacy, expected in ((None, first), (False, first), (True, last)):
        settings.write_text(json.dumps({**content, "legacy_behaviour": legacy}))
        assert load(tmp_path).encode(["one"]) == [expected]


def test_an_m2m100_whose_files_name_no_special_tokens_knows_its_languages(
    tiny_model: Folder,
) -> None:
    folder = tiny_model("m2m100")
    files = str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model")
    tokenizer = M2M100Tokenizer(*files)
    assert "__fr__" not in tokenizer.all_special_tokens
    text = TaskText("translation", {"model_type": "m2m_100"}, tokenizer)
    texts = TEXTS[:3]
    assert text.encode(texts, "fr", "ro") == load(folder).encode(texts, "fr", "ro")
    assert text.options("fr", "ro") == {"forced_bos_token_id": tokenizer.get_lang_id("ro")}


def test_plbart_has_a_language_only_where_one_is_told(tmp_path: Path, tiny_model: Folder) -> None:
    model = tiny_model("mbart50") / "sentencepiece.bpe.model"
    tokenizer = PLBartTokenizer(str(model), language_codes="base")
    text = TaskText("text2text-generation", {"model_type": "plbart"}, tokenizer)
    before = tokenizer(["a b"]).input_ids
    assert text.encode(["a b"]) == before
    inputs = tokenizer._build_translation_inputs(
        ["a b"], return_tensors=None, src_lang="java", tgt_lang="en_XX"
    )
    assert text.encode(["a b"], "java", "en_XX") == inputs["input_ids"]
    assert text.options("java", "en_XX") == {
        "decoder_start_token_id": inputs["forced_bos_token_id"]
    }


# --- the packaged T5 --------------------------------------------------------------------------


def test_the_packaged_t5_has_the_prefixes_that_it_was_trained_with() -> None:
    import hfnb

    folder = Path(hfnb.__file__).parent / "demo" / "tiny-t5"
    assert load(folder, "summarization").prefix() == "summarize: "
    french = load(folder, languages=("en", "fr"))
    assert french.prefix() == "translate English to French: "
    assert french.defaults() == {}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = tokenizer(["translate English to French: seventy-two"]).input_ids
    assert french.encode(["seventy-two"]) == expected
    assert load(folder, "text2text-generation").prefix() == ""
