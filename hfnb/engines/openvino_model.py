"""An exported model's folder, as calls need it: tokenizer, chat template and options.

Nothing here imports torch or transformers, whose import takes longer than the model's load. The
tokenizer is the one of transformers' fast tokenizers, which the package tokenizers reads by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hfnb.engines.base import Chat, Prompt
from hfnb.engines.chat_template import template_text
from hfnb.engines.in_force import options_in_force
from hfnb.engines.text import TextDecoder
from hfnb.errors import EngineError, ModelError, ModelFilesError, OptionError
from hfnb.spec import GenerationSpec

_PLAIN = GenerationSpec()
_NO_LIMIT = 10**9
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class OpenVINOModel:
    """A decoder that was exported to OpenVINO; see `hfnb.engines.call.Model`.

    Args:
        name: What the user called it.
        folder: Where openvino_model.xml, config.json and tokenizer.json lie.

    Raises:
        ModelFilesError: A file is missing or can't be read.
    """

    is_decoder = True

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.config = _json(folder / "config.json")
        self.checkpoint = _json(folder / "generation_config.json", needed=False)
        self._tokenizer_config = _json(folder / "tokenizer_config.json", needed=False)
        self.special_tokens = self._find_special_tokens()
        self.tokenizer = _tokenizer(folder)
        self.eos_ids = self._find_eos()
        self.context_length = self._find_context()
        self._chat_template = self._find_chat_template()

    @property
    def begin_id(self) -> int | None:
        """The token that a text begins with where a prompt has none."""
        token = self.special_tokens.get("bos_token")
        of_tokenizer = None if token is None else self.tokenizer.token_to_id(token)
        told = (*self._told("bos_token_id"), of_tokenizer)
        return next((int(each) for each in told if each is not None), None)

    @property
    def chat_template(self) -> Any:
        """The chat template, or several by name, or ``None``."""
        return self._chat_template

    def options_in_force(self, generation: GenerationSpec) -> dict[str, Any]:
        """Return the generation options in force.

        Raises:
            OptionError: Languages, of which a decoder has none to choose from.
        """
        for name in ("src_lang", "tgt_lang"):
            if generation.get(name) is not None:
                raise OptionError(
                    f"{name} is for models that translate, and {self.name!r} continues text. Leave "
                    "it out, and ask in the prompt itself."
                )
        return options_in_force(self.checkpoint, generation, is_decoder=True)

    def encode_each(
        self, prompts: Sequence[Prompt], generation: GenerationSpec
    ) -> list[list[int] | EngineError]:
        """Return the token ids of each prompt, or why it has none."""
        try:
            return list(self.encode(prompts, generation))
        except ModelError:
            raise
        except Exception as error:  # one text that is no Unicode spoils the tokenizer's batch
            if len(prompts) == 1:
                if isinstance(prompts[0], str):
                    problem = EngineError(f"The prompt can't be tokenised: {error}")
                else:
                    problem = EngineError(f"The chat template refuses the messages: {error}")
                problem.__cause__ = error
                return [problem]
            return [each for prompt in prompts for each in self.encode_each([prompt], generation)]

    def encode(
        self, prompts: Sequence[Prompt], generation: GenerationSpec = _PLAIN
    ) -> list[list[int]]:
        """Return the token ids of prompts; messages go through the chat template.

        Raises:
            ModelError: Messages, and the model has no chat template.
        """
        ids: list[list[int]] = [[] for _ in prompts]
        for chat in (False, True):
            places = [i for i, each in enumerate(prompts) if isinstance(each, Chat) == chat]
            texts = [self._text(prompts[i]) for i in places]
            # A chat template writes the special tokens itself.
            encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=not chat)
            for i, each in zip(places, encoded, strict=True):
                ids[i] = each.ids
        return ids

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of texts as they stand, with no special tokens added."""
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [each.ids for each in encoded]

    def text_decoder(self, keep: Sequence[str] = ()) -> TextDecoder:
        """Return what turns tokens into text; ``keep`` are special tokens that stay in it."""
        tokenizer = self.tokenizer

        def decode(ids: Sequence[int], skip: bool) -> str:
            text: str = tokenizer.decode(ids, skip_special_tokens=skip)
            return text

        if not keep:
            return TextDecoder(decode)
        added = tokenizer.get_added_tokens_decoder()
        special = {i for i, each in added.items() if each.special and each.content not in keep}
        return TextDecoder(decode, frozenset(special))

    def start_ids(self, options: Mapping[str, Any]) -> list[int]:
        """Return nothing: a decoder's answer continues its prompt."""
        return []

    def eos_of(self, options: Mapping[str, Any]) -> frozenset[int]:
        """Return the tokens that end a row: the caller's, where there are any, or the model's."""
        told = options.get("eos_token_id")
        if told is None:
            return self.eos_ids
        return frozenset([told] if isinstance(told, int) else told)

    def render(self, chat: Chat) -> str:
        """Return a chat's text, as transformers renders chat templates.

        Raises:
            ModelError: There is no chat template.
        """
        template = template_text(self._chat_template, tools=bool(chat.tools))
        if not template:
            raise ModelError(
                f"{self.name!r} has no chat template, so it takes text and no messages. Use a "
                "plain prompt (chat=False, PromptTemplate), or an instruct model."
            )
        from hfnb.engines.chat_render import rendered  # with jinja2, which few rows need

        return rendered(template, chat, self.special_tokens)

    def _text(self, prompt: Prompt) -> str:
        return self.render(prompt) if isinstance(prompt, Chat) else prompt

    def _find_special_tokens(self) -> dict[str, str]:
        beside = _json(self.folder / "special_tokens_map.json", needed=False)
        found = {}
        for name in (f"{each}_token" for each in _SPECIAL):
            value = self._tokenizer_config.get(name, beside.get(name))
            if isinstance(value, Mapping):
                value = value.get("content")
            if value is not None:
                found[name] = str(value)
        return found

    def _told(self, name: str) -> tuple[Any, ...]:
        """Return what the generation config and the config say, the first of which counts."""
        text = self.config.get("text_config") or {}
        return self.checkpoint.get(name), self.config.get(name), text.get(name)

    def _find_eos(self) -> frozenset[int]:
        told = next((each for each in self._told("eos_token_id") if each is not None), ())
        eos = {told} if isinstance(told, int) else set(told)
        token = self.special_tokens.get("eos_token")
        if token is not None and (index := self.tokenizer.token_to_id(token)) is not None:
            eos.add(index)
        return frozenset(eos)

    def _find_context(self) -> int | None:
        text = self.config.get("text_config") or self.config
        told = self._tokenizer_config.get("model_max_length") or _NO_LIMIT
        limit = None if told >= _NO_LIMIT else int(told)
        if text.get("model_type") in ("bloom", "mpt"):
            return limit  # ALiBi: no limit built in
        found = next((text[name] for name in _CONTEXT_NAMES if text.get(name) is not None), None)
        return limit if found is None else int(found)

    def _find_chat_template(self) -> Any:
        """Return the template, or several by name; files win over the tokenizer's config."""
        told = self._tokenizer_config.get("chat_template")
        if isinstance(told, list):
            told = {each["name"]: each["template"] for each in told}
        file = self.folder / "chat_template.jinja"
        main = file.read_text(encoding="utf-8") if file.is_file() else None
        more = {
            each.stem: each.read_text(encoding="utf-8")
            for each in sorted((self.folder / "additional_chat_templates").glob("*.jinja"))
        }
        if more:
            return {**more, **({} if main is None else {"default": main})}
        return told if main is None else main


def _json(file: Path, *, needed: bool = True) -> dict[str, Any]:
    if not needed and not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFilesError(
            f"{file} can't be read as JSON ({error}). Export the model again."
        ) from error
    if not isinstance(found, dict):
        raise ModelFilesError(f"{file} does not hold a JSON object. Export the model again.")
    return found


def _tokenizer(folder: Path) -> Any:
    file = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises bare exceptions
        raise ModelFilesError(
            f"{file} is no tokenizer that can be read ({error}). Export the model again with "
            "hfnb.export."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
