"""What a task does to a text before an encoder-decoder reads it: prefixes and languages.

This is what the pipelines for text2text-generation, summarization and translation did in
transformers 4; transformers 5 has them no more. Models are told a language in five ways:

- in words before the text, as T5 ("translate English to German: ");
- by a token before the text, as Marian's models with several targets (">>fra<< ") and MADLAD
  ("<2fr> ");
- by a token among the text's special tokens for the source, and by the answer's first token for
  the target, as mBART, M2M100 and NLLB;
- not at all, since they know one pair only, as most of Marian's;
- not at all, since they know nothing of languages, as BART.

No torch here: an engine of any backend with a transformers tokenizer can use it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from hfnb.errors import OptionError, closest, listing
from hfnb.spec import languages_of

_NOTHING: Mapping[str, Any] = MappingProxyType({})
# Raffel et al. 2020 (arXiv:1910.10683), appendix D: the pairs and the words of their prefixes.
_T5_LANGUAGES = {"en": "English", "de": "German", "fr": "French", "ro": "Romanian"}
_T5_PREFIX = re.compile(r"\s*translate \w+ to \w+ ?:", re.IGNORECASE)
_LANGUAGE_TOKEN = re.compile(r"(?P<plain>[a-z]{2,3}_[A-Z][A-Za-z]{1,3})|__(?P<wrapped>\w+?)__")
"""mBART's "en_XX", NLLB's "eng_Latn"; M2M100's "__en__", PLBart's "__en_XX__" and "__java__"."""
_NLLB_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_MADLAD_TOKEN = re.compile(r"<2(\w+)>")


class _Pair(NamedTuple):
    """The languages that are asked for."""

    source: str | None
    target: str | None
    by_caller: bool
    """Whether ``src_lang`` or ``tgt_lang`` was given; else they are the task's, if any."""

    @property
    def task(self) -> str:
        """The name of a translation between both; empty where one is not known."""
        known = self.source and self.target
        return f"translation_{self.source}_to_{self.target}" if known else ""

    @property
    def name(self) -> str:
        return " and ".join(
            f"{name}={value!r}"
            for name, value in (("src_lang", self.source), ("tgt_lang", self.target))
            if value is not None
        )


class _Reading(NamedTuple):
    """How texts are read in one pair of languages."""

    prefix: str = ""
    source: int | None = None
    """The source language's token, where it stands among the special tokens."""
    options: Mapping[str, Any] = _NOTHING
    missing: str = ""
    """What a translation needs besides, as a message."""


class TaskText:
    """What a task does to a text before the model reads it.

    Safe to be used by several threads: the tokenizer is never changed.

    Args:
        task: One of `hfnb.spec.TASKS`.
        config: The model's config.json, or ``model.config.to_dict()``.
        tokenizer: The model's tokenizer, of transformers.
        languages: Source and target from the task's name, as `hfnb.spec.languages_of` gives them.
            A call's ``src_lang`` and ``tgt_lang`` win over them.
        forced_bos_token_id: The generation config's: the target of a model that has one.

    Raises:
        OptionError: The model does not know one of ``languages``.

    Example:
        >>> text = TaskText("translation", {"model_type": "t5"}, None, ("en", "de"))
        >>> text.prefix()
        'translate English to German: '
    """

    def __init__(
        self,
        task: str,
        config: Mapping[str, Any],
        tokenizer: Any,
        languages: tuple[str, str] | None = None,
        *,
        forced_bos_token_id: int | None = None,
    ) -> None:
        self._languages = languages
        self._way = _way_of(task, config, tokenizer, forced_bos_token_id)
        self._params: Mapping[str, Any] = config.get("task_specific_params") or {}
        self._task = task
        if languages:
            self._read(None, None)

    def prefix(self, src_lang: str | None = None, tgt_lang: str | None = None) -> str:
        """Return what is put in front of a text; often an empty string.

        Raises:
            OptionError: See `options`.
        """
        return self._read(src_lang, tgt_lang).prefix

    def options(self, src_lang: str | None = None, tgt_lang: str | None = None) -> dict[str, Any]:
        """Return the generation options that the languages ask for. Call it once a call, first.

        Args:
            src_lang: The texts' language; the task's own, or the tokenizer's, where it is left out.
            tgt_lang: The answers' language; the task's own, or the model's.

        Returns:
            ``forced_bos_token_id`` for mBART-50, M2M100 and NLLB, ``decoder_start_token_id`` for
            the first mBART and PLBart, nothing for others. They win over a checkpoint's own
            values, and give way to those that a caller set.

        Raises:
            OptionError: The model has no languages to choose from, does not know one of these
                (with the closest ones), or needs to be told one.
        """
        reading = self._read(src_lang, tgt_lang)
        if reading.missing:
            raise OptionError(reading.missing)
        return dict(reading.options)

    def defaults(self, src_lang: str | None = None, tgt_lang: str | None = None) -> dict[str, Any]:
        """Return the task's generation options in the model's config: ``task_specific_params``.

        In transformers 4 they won over the generation config, and calls won over them.
        """
        pair = self._pair(src_lang, tgt_lang)
        told = self._params.get(pair.task) or self._params.get(self._task) or {}
        return {name: value for name, value in told.items() if name != "prefix"}

    def encode(
        self, texts: Sequence[str], src_lang: str | None = None, tgt_lang: str | None = None
    ) -> list[list[int]]:
        """Return the token ids of texts, with the prefix and the source language's token.

        A text that begins with one of the model's prefixes already keeps its own.

        Raises:
            OptionError: See `options`.
        """
        reading = self._read(src_lang, tgt_lang)
        ready = [self._way.begin(text, reading.prefix) for text in texts]
        return self._way.encode(ready, reading.source)

    def _pair(self, src_lang: str | None, tgt_lang: str | None) -> _Pair:
        source, target = self._languages or (None, None)
        by_caller = src_lang is not None or tgt_lang is not None
        return _Pair(src_lang or source, tgt_lang or target, by_caller)

    def _read(self, src_lang: str | None, tgt_lang: str | None) -> _Reading:
        return self._way.read(self._pair(src_lang, tgt_lang))


class _Way(ABC):
    """How a model is told what to do; what all the ways have in common."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @abstractmethod
    def read(self, pair: _Pair) -> _Reading:
        """Return how texts in these languages are read, or raise `OptionError`."""

    def begin(self, text: str, prefix: str) -> str:
        """Put the prefix in front of a text that does not have it."""
        return text if text.startswith(prefix) else prefix + text

    def encode(self, texts: list[str], source: int | None) -> list[list[int]]:
        return self._tokenise(texts)

    def _tokenise(self, texts: list[str], *, special: bool = True) -> list[list[int]]:
        encoded = self._tokenizer(
            texts, add_special_tokens=special, return_attention_mask=False, verbose=False
        )
        rows: list[list[int]] = encoded["input_ids"]
        return rows


class _InWords(_Way):
    """T5: the task stands in words before the text. And BART, which is told nothing."""

    def __init__(self, task: str, config: Mapping[str, Any], tokenizer: Any) -> None:
        super().__init__(tokenizer)
        self._task = task
        self._params: Mapping[str, Any] = config.get("task_specific_params") or {}
        self._own = str(config.get("prefix") or "")
        self._is_t5 = config.get("model_type") == "t5"
        told = [str(each.get("prefix") or "") for each in self._params.values()]
        known = (each.strip().casefold() for each in (*told, self._own))
        self._known = tuple({each for each in known if each})

    def read(self, pair: _Pair) -> _Reading:
        if pair.by_caller and self._task == "summarization" and self._is_t5:
            raise OptionError(
                f"{pair.name} can't be followed: the task is 'summarization', and this model "
                "takes languages for translation only. Leave them out, or use task='translation'."
            )
        told = self._params.get(pair.task or self._task) or {}
        if "prefix" in told and (pair.task or not pair.by_caller):
            return _Reading(str(told["prefix"] or ""))
        if self._is_t5 and (pair.source or pair.target):
            return _Reading(self._t5_prefix(pair))
        if pair.by_caller:
            raise OptionError(
                f"This model has no languages to choose from, so {pair.name} can't be followed. "
                "Leave src_lang and tgt_lang out, and ask in the prompt itself; or load a model "
                "with languages, such as facebook/nllb-200-distilled-600M."
            )
        return _Reading(self._own)

    def _t5_prefix(self, pair: _Pair) -> str:
        asked = [str(each or "").lower() for each in (pair.source, pair.target)]
        names = [_T5_LANGUAGES.get(each) for each in asked]
        if all(names):
            return f"translate {names[0]} to {names[1]}: "
        pairs = (languages_of(each) for each in self._params)
        further = [f"{each[0]} to {each[1]}" for each in pairs if each]
        raise OptionError(
            f"This T5 can't be asked for a translation with {pair.name}. Its config names "
            f"{listing(further) if further else 'no pair of languages'}; by T5's convention "
            "src_lang and tgt_lang are both given, each of "
            + listing(f"{code} ({name})" for code, name in _T5_LANGUAGES.items())
            + ". For other languages leave them out, use task='text2text-generation', and write "
            "into the prompt what the model was trained with."
        )

    def begin(self, text: str, prefix: str) -> str:
        if not prefix.strip():
            return super().begin(text, prefix)
        start = text.lstrip().casefold()
        if start.startswith((*self._known, prefix.strip().casefold())) or (
            self._is_t5 and _T5_PREFIX.match(text)
        ):
            return text
        return prefix + text


class _ByToken(_Way):
    """Marian's models with several targets, and MADLAD: the target's token before the text."""

    def __init__(self, tokenizer: Any, tokens: Mapping[str, str]) -> None:
        super().__init__(tokenizer)
        self._tokens = tokens
        """Code to token: "fra" to ">>fra<<"."""
        self._starts = tuple(tokens.values())

    def read(self, pair: _Pair) -> _Reading:
        _check_own("src_lang", pair.source, getattr(self._tokenizer, "source_lang", None))
        if pair.target is None:
            return _Reading()  # the prompts may have the token, as in Marian's own examples
        code = _resolve("tgt_lang", pair.target.strip("<>"), self._tokens)
        return _Reading(f"{self._tokens[code]} ")

    def begin(self, text: str, prefix: str) -> str:
        return text if text.lstrip().startswith(self._starts) else prefix + text


class _OnePair(_Way):
    """Marian's and FSMT's models of one pair: nothing is said, and nothing else can be asked."""

    def read(self, pair: _Pair) -> _Reading:
        names = ("source_lang", "src_lang"), ("target_lang", "tgt_lang")
        for asked, (marian, fsmt) in zip((pair.source, pair.target), names, strict=True):
            own = getattr(self._tokenizer, marian, None) or getattr(self._tokenizer, fsmt, None)
            _check_own(fsmt, asked, own)
        return _Reading()


class _ByFrame(_Way):
    """mBART, M2M100, NLLB: the source among the special tokens, the target as first new token."""

    def __init__(
        self,
        task: str,
        config: Mapping[str, Any],
        tokenizer: Any,
        codes: Mapping[str, int],
        forced: int | None,
    ) -> None:
        super().__init__(tokenizer)
        self._task = task
        self._codes = codes
        self._before, self._after, self._source = self._frame()
        # The first mBART and PLBart have "X </s> en_XX", and answer "fr_XX X </s>": the language
        # is the token that the decoder starts with. The later ones start with </s>.
        starts = config.get("model_type") in ("mbart", "plbart") and None in self._after
        self._names = ["decoder_start_token_id"] if starts else ["forced_bos_token_id"]
        if starts and forced is not None:
            self._names.append("forced_bos_token_id")
        ids = set(codes.values())
        self._has_target = forced is not None or config.get("decoder_start_token_id") in ids

    def _frame(self) -> tuple[list[int | None], list[int | None], int | None]:
        """Return the special tokens before and after a text, and the source's own token.

        ``None`` stands where a source's token belongs. They are looked up by an example, since
        ``AutoTokenizer`` gives some of these models a tokenizer that knows nothing of languages.
        """
        languages = set(self._codes.values())
        special = languages.union(self._tokenizer.all_special_ids) - {self._tokenizer.unk_token_id}
        (example,) = self._tokenise(["a"])
        text = [i for i, each in enumerate(example) if each not in special]
        around = example[: text[0]], example[text[-1] + 1 :]
        own = next((each for side in around for each in side if each in languages), None)
        before, after = ([None if each in languages else each for each in side] for side in around)
        if own is None:  # PLBart for one pair: the language comes last, where there is one
            after.append(None)
        legacy = _setting(self._tokenizer, "legacy_behaviour")
        if all(_NLLB_CODE.fullmatch(each) for each in self._codes) and not legacy:
            # NLLB was trained with the language first; its older tokenizer.json has it last.
            before, after = [None], [each for each in after if each is not None]
        return before, after, own

    def read(self, pair: _Pair) -> _Reading:
        source = self._source
        if pair.source is not None:
            source = self._codes[_resolve("src_lang", pair.source, self._codes)]
        target = pair.target
        if target is None and not self._has_target:
            target = _setting(self._tokenizer, "tgt_lang")
        if target is not None:
            token = self._codes[_resolve("tgt_lang", target, self._codes)]
            return _Reading("", source, dict.fromkeys(self._names, token))
        if self._task != "translation" or self._has_target:
            return _Reading("", source)
        return _Reading(
            "",
            source,
            missing=(
                "This model translates into several languages: say which with tgt_lang, and from "
                f"which with src_lang. It knows {listing(self._codes)}."
            ),
        )

    def encode(self, texts: list[str], source: int | None) -> list[list[int]]:
        before, after = (
            [token for each in side if (token := source if each is None else each) is not None]
            for side in (self._before, self._after)
        )
        return [[*before, *row, *after] for row in self._tokenise(texts, special=False)]


def _way_of(task: str, config: Mapping[str, Any], tokenizer: Any, forced: int | None) -> _Way:
    """Return how a model is told languages."""
    kind = config.get("model_type")
    if kind == "marian":
        tokens = getattr(tokenizer, "supported_language_codes", None) or ()
        if tokens:
            return _ByToken(tokenizer, {each.strip("<>"): each for each in tokens})
        return _OnePair(tokenizer)
    if kind == "fsmt":
        return _OnePair(tokenizer)
    if kind == "t5" and tokenizer is not None and not config.get("task_specific_params"):
        found = (_MADLAD_TOKEN.fullmatch(each) for each in tokenizer.get_vocab())
        tokens = {each[1]: each[0] for each in found if each}
        if tokens:
            return _ByToken(tokenizer, dict(sorted(tokens.items())))
    if config.get("is_encoder_decoder", True):
        codes = _language_tokens(tokenizer)
        if codes:
            return _ByFrame(task, config, tokenizer, codes, forced)
    return _InWords(task, config, tokenizer)


def _language_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the languages among a tokenizer's special tokens: code to token id."""
    codes = {}
    for token in getattr(tokenizer, "all_special_tokens", ()):
        if found := _LANGUAGE_TOKEN.fullmatch(token):
            code = found["plain"] or found["wrapped"]
            codes[code] = tokenizer.convert_tokens_to_ids(token)
    # M2M100's own tokenizer lists them here, and among the special tokens only where its files do.
    for code, index in (getattr(tokenizer, "lang_code_to_id", None) or {}).items():
        codes.setdefault(code.strip("_"), index)
    unknown = None, getattr(tokenizer, "unk_token_id", None)
    return {code: index for code, index in codes.items() if index not in unknown}


def _setting(tokenizer: Any, name: str) -> Any:
    """Return a setting of a tokenizer's class, of its files where it has become another class."""
    own = getattr(tokenizer, name, None)
    return getattr(tokenizer, "init_kwargs", {}).get(name) if own is None else own


def _resolve(option: str, name: str, codes: Iterable[str]) -> str:
    """Return the one code that a name means, in another case or without its region too.

    Raises:
        OptionError: None is meant, or several.
    """
    codes = list(codes)
    if name in codes:
        return name
    key = name.strip("_").replace("-", "_").lower()
    same = [each for each in codes if each.lower() == key]
    meant = same or [each for each in codes if each.lower().startswith(f"{key}_")]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise OptionError(f"{option}={name!r} may mean {listing(meant)}: say which of them it is.")
    alike = [each for each in codes if each.lower().startswith(key[:2])]
    near = closest(name, codes)
    if not near and alike:
        near = f" Codes that begin like it: {listing(alike, 6)}."
    raise OptionError(
        f"This model does not know {option}={name!r}.{near} It knows {listing(codes)}."
    )


def _check_own(option: str, asked: str | None, own: Any) -> None:
    """Raise `OptionError` when a model with one language of its own is asked for another.

    Only codes of two letters are compared: longer ones may name a group of languages, such as
    Marian's "roa", and the same language has several of them.
    """
    if asked is None or not isinstance(own, str):
        return
    wanted = re.split("[_-]", asked.strip("<>_"))[0].lower()
    if len(wanted) == len(own) == 2 and wanted != own.lower():
        side = "from" if option == "src_lang" else "into"
        raise OptionError(
            f"This model translates {side} {own!r} only, so {option}={asked!r} can't be followed. "
            f"Leave {option} out, or load a model for that language."
        )
