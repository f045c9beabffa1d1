"""A PyTorch model in memory with its tokenizer: what it is, and its prompts as token ids."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hfnb import hardware
from hfnb.engines.base import Chat, EngineInfo, Prompt
from hfnb.engines.chat_template import template_text, template_variables
from hfnb.engines.in_force import options_in_force
from hfnb.engines.shortage import give_back
from hfnb.engines.task_text import TaskText
from hfnb.engines.text import TextDecoder
from hfnb.engines.torch_quantised import shown as quantised_shown
from hfnb.errors import EngineError, ModelError
from hfnb.spec import GenerationSpec, Task

_PLAIN = GenerationSpec()
_SAMPLED = 16
"""Values of each weight that a fingerprint looks at."""
_NO_LIMIT = 10**9
"""Tokenizers without a limit say 10**30; no context is as long as this."""


@dataclasses.dataclass
class TorchModel:
    """A model in memory, with what the engines need to know of it."""

    model: Any
    tokenizer: Any
    name: str
    task: Task
    device: torch.device
    eos_ids: frozenset[int]
    pad_id: int
    context_length: int | None
    forward_options: frozenset[str]
    """The arguments that the model's forward takes."""
    load_s: float
    task_text: TaskText
    """What the task does to a text before the model reads it."""

    @property
    def is_decoder(self) -> bool:
        """Whether the answer continues the prompt; in an encoder-decoder it stands apart."""
        return not self.model.config.is_encoder_decoder

    def start_ids(self, options: Mapping[str, Any]) -> list[int]:
        """Return what an encoder-decoder's answer begins with, by the options in force."""
        known = (self.model.generation_config, self.model.config)
        names = ("decoder_start_token_id", "bos_token_id")
        told = [options.get(names[0]), *(getattr(each, n, None) for n in names for each in known)]
        start = next((each for each in told if each is not None), self.pad_id)
        return list(start) if isinstance(start, (list, tuple)) else [int(start)]

    def options_in_force(self, generation: GenerationSpec) -> dict[str, Any]:
        """Return the generation options in force.

        What the config says of the task (``task_specific_params``), and the tokens of the languages
        that are asked for, count as the checkpoint's own.

        Raises:
            OptionError: The model does not know one of the languages.
        """
        pair = generation.get("src_lang"), generation.get("tgt_lang")
        checkpoint = {
            **self.in_memory().generation_config.to_diff_dict(),
            **self.task_text.defaults(*pair),
            **self.task_text.options(*pair),
        }
        return options_in_force(checkpoint, generation, is_decoder=self.is_decoder)

    @property
    def begin_id(self) -> int | None:
        """The token that a text begins with where a prompt has none."""
        known = (self.model.generation_config, self.model.config, self.tokenizer)
        told = (getattr(each, "bos_token_id", None) for each in known)
        return next((int(each) for each in told if each is not None), None)

    def encode(
        self, prompts: Sequence[Prompt], generation: GenerationSpec = _PLAIN
    ) -> list[list[int]]:
        """Return the token ids of prompts; messages go through the chat template.

        Text is read as the task wants it, in the languages of ``generation``.

        Raises:
            ModelError: Messages, and the model has no chat template.
        """
        ids: list[list[int]] = [[] for _ in prompts]
        texts = [prompt for prompt in prompts if isinstance(prompt, str)]
        plain = [i for i, prompt in enumerate(prompts) if isinstance(prompt, str)]
        chats = [i for i, prompt in enumerate(prompts) if not isinstance(prompt, str)]
        if plain:
            pair = generation.get("src_lang"), generation.get("tgt_lang")
            for i, row in zip(plain, self.task_text.encode(texts, *pair), strict=True):
                ids[i] = row
        if chats:
            rendered = [self.render(each) for each in prompts if not isinstance(each, str)]
            # The template writes the special tokens itself; a second BOS would change the answer.
            for i, row in zip(chats, self.tokenise(rendered), strict=True):
                ids[i] = row
        return ids

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
                what = (
                    "tokenised" if isinstance(prompts[0], str) else "rendered by the chat template"
                )
                problem = EngineError(f"The prompt can't be {what}: {error}")
                problem.__cause__ = error
                return [problem]
            return [each for prompt in prompts for each in self.encode_each([prompt], generation)]

    def text_decoder(self, keep: Sequence[str] = ()) -> TextDecoder:
        """Return what turns tokens into text; ``keep`` are special tokens that stay in it."""

        def decode(ids: Sequence[int], skip: bool) -> str:
            text: str = self.tokenizer.decode(
                ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
            )
            return text

        if not keep:
            return TextDecoder(decode)
        tokenizer = self.tokenizer
        special = {i for i, each in tokenizer.added_tokens_decoder.items() if each.special}
        vocabulary = tokenizer.get_added_vocab()
        kept = {vocabulary[each] for each in keep if each in vocabulary}
        return TextDecoder(decode, frozenset({*special, *tokenizer.all_special_ids} - kept))

    def eos_of(self, options: Mapping[str, Any]) -> frozenset[int]:
        """Return the tokens that end a row: the caller's, where there are any, or the model's."""
        told = options.get("eos_token_id")
        if told is None:
            return self.eos_ids
        return frozenset([told] if isinstance(told, int) else told)

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of texts as they stand, with no special tokens added."""
        encoded = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        rows: list[list[int]] = encoded["input_ids"]
        return rows

    def render(self, chat: Chat) -> str:
        """Return a chat's text, as the chat template writes it.

        Raises:
            ModelError: There is no chat template.
        """
        if not self.has_chat_template:
            raise ModelError(
                f"{self.name!r} has no chat template, so it takes text and no messages. Use a "
                "plain prompt (chat=False, PromptTemplate), or an instruct model."
            )
        text: str = self.tokenizer.apply_chat_template(
            [{"role": each.role, "content": each.content, **each.fields} for each in chat.messages],
            tools=list(chat.tools) or None,
            add_generation_prompt=not chat.prefill,
            continue_final_message=chat.prefill,
            tokenize=False,
            **chat.options,
        )
        return text

    def in_memory(self) -> Any:
        """Return the model, or say that it was unloaded."""
        if self.model is None:
            raise ModelError(f"{self.name!r} was unloaded. Load it again with hfnb.load.")
        return self.model

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer brings a chat template."""
        return bool(self.chat_template)

    @property
    def chat_template(self) -> Any:
        """The tokenizer's chat template, or several by name, or ``None``."""
        return getattr(self.tokenizer, "chat_template", None)

    @property
    def parameters(self) -> int:
        """The number of parameters; tied ones count once. 0 where the model does not tell."""
        if getattr(self.model, "is_loaded_in_4bit", False):
            return int(self.model.num_parameters())  # it counts two in each byte
        parameters = getattr(self.model, "parameters", None)
        return sum(each.numel() for each in parameters()) if parameters else 0

    @property
    def weight_bytes(self) -> int:
        """The bytes of weights and buffers in memory; those that lie on disk don't count."""
        model, count = self.model, 0
        for each in ("parameters", "buffers"):
            held = getattr(model, each, None)
            count += sum(t.nbytes for t in held() if t.device.type != "meta") if held else 0
        return count

    def fingerprint(self) -> str:
        """Return a hash of a few values of every weight: cheap, and another for other weights."""
        digest = hashlib.blake2b(digest_size=16)
        model = self.in_memory()
        for name, weight in getattr(model, "named_parameters", list)():
            flat = weight.detach().reshape(-1)
            if flat.device.type != "meta":  # one that was offloaded to disk
                step = max(1, flat.numel() // _SAMPLED)
                digest.update(flat[::step].float().cpu().numpy().tobytes())
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        # A model of optimum's shows no weights: the folder that it was loaded from tells it.
        digest.update(str(getattr(model, "model_save_dir", "")).encode())
        return digest.hexdigest()

    def info(self, engine: str) -> EngineInfo:
        """Describe what runs, for the statistics."""
        places = placement(self.model)
        notes = [quantised_shown(self.model)]
        if len(places) > 1:
            shown = ", ".join(f"{count} on {place}" for place, count in places.items())
            notes.append(f"device_map: parts of the model are {shown}")
        return EngineInfo(
            engine=engine,
            backend="openvino" if "openvino" in type(self.model).__module__ else "pytorch",
            model=self.name,
            task=self.task,
            device=", ".join(places) or str(self.device),
            dtype=str(self.model.dtype).removeprefix("torch."),
            parameters=self.parameters,
            context_length=self.context_length,
            has_chat_template=self.has_chat_template,
            load_s=self.load_s,
            chat_template=template_text(self.chat_template),
            template_variables=template_variables(self.chat_template),
            note="; ".join(filter(None, notes)),
            weight_bytes=self.weight_bytes,
        )

    def close(self) -> None:
        """Drop the model and give its memory back."""
        self.model = None
        give_back()
        self.release_cache()

    def release_cache(self) -> None:
        """Give back what PyTorch keeps of an accelerator's memory for later tensors."""
        if self.device.type != "cpu":
            getattr(torch, self.device.type).empty_cache()


def memory_of(device: torch.device) -> hardware.Memory:
    """Return how much of a device's memory is free."""
    if device.type != "cuda":  # what is not the host's own has no common way to ask
        return hardware.tightest_memory()
    free, most = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return hardware.Memory(free + kept, most)


def wrap(
    model: Any,
    tokenizer: Any,
    name: str,
    task: Task,
    *,
    languages: tuple[str, str] | None = None,
    load_s: float = 0.0,
) -> TorchModel:
    """Describe a transformers model and tokenizer that are in memory already."""
    config, generation = model.config, model.generation_config
    eos: set[int] = set()
    for each in (generation.eos_token_id, config.get_text_config().eos_token_id):
        if each is not None:
            eos.update([each] if isinstance(each, int) else each)
            break
    if tokenizer.eos_token_id is not None:
        eos.add(tokenizer.eos_token_id)
    # Padding is masked, so any token that exists will do; the user's tokenizer stays as it is.
    pads = (tokenizer.pad_token_id, generation.pad_token_id, *sorted(eos), 0)
    pad = next(each for each in pads if each is not None)
    return TorchModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        task=task,
        device=input_device(model),
        eos_ids=frozenset(eos),
        pad_id=pad,
        context_length=_context_length(config, tokenizer),
        forward_options=frozenset(inspect.signature(model.forward).parameters),
        load_s=load_s,
        task_text=TaskText(
            task,
            config.to_dict(),
            tokenizer,
            languages,
            forced_bos_token_id=generation.forced_bos_token_id,
        ),
    )


def placement(model: Any) -> dict[str, int]:
    """Return where Accelerate put the parts of a model: device to number of parts."""
    places: dict[str, int] = {}
    for place in (getattr(model, "hf_device_map", None) or {}).values():
        named = str(torch.device(place)) if isinstance(place, int) else str(place)
        places[named] = places.get(named, 0) + 1
    return places


def input_device(model: Any) -> torch.device:
    """Return the device that a model wants its inputs on.

    Weights that Accelerate left on disk stand on the device "meta", where nothing can be computed.
    """
    hook = getattr(model, "_hf_hook", None)
    told = getattr(hook, "execution_device", None)
    return torch.device(model.device if told is None else told)


def _context_length(config: Any, tokenizer: Any) -> int | None:
    """Return the most positions a decoder has; ``None`` where positions are relative."""
    if config.is_encoder_decoder:
        most = None
    else:
        text = config.get_text_config()
        names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
        most = next((v for n in names if (v := getattr(text, n, None)) is not None), None)
        if text.model_type in ("bloom", "mpt"):
            most = None  # ALiBi: no limit built in
    told = getattr(tokenizer, "model_max_length", _NO_LIMIT)
    if config.is_encoder_decoder and config.model_type not in ("t5", "mt5", "umt5"):
        most = getattr(config, "max_position_embeddings", None)
    if most is None:
        return None if told >= _NO_LIMIT or config.model_type in ("t5", "mt5", "umt5") else told
    return int(most)
