"""Load a model and its tokenizer with PyTorch, and turn prompts into token ids."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging

from hfnb import hardware, hub, steps
from hfnb.engines import torch_attention
from hfnb.engines.base import Chat, EngineInfo, Prompt
from hfnb.engines.chat_template import template_text, template_variables
from hfnb.engines.fits import check_fits
from hfnb.engines.in_force import options_in_force
from hfnb.engines.shortage import give_back
from hfnb.engines.task_text import TaskText
from hfnb.engines.text import TextDecoder
from hfnb.errors import EngineError, MissingExtraError, ModelError, ModelFilesError, OptionError
from hfnb.show import size
from hfnb.sizes import weights_of
from hfnb.spec import GenerationSpec, ModelSpec, Task

_PLAIN = GenerationSpec()
_SAMPLED = 16
"""Values of each weight that a fingerprint looks at."""
_SMALL = 500_000_000
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
        shown = ", ".join(f"{count} on {place}" for place, count in places.items())
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
            note=f"device_map: parts of the model are {shown}" if len(places) > 1 else "",
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


def load(spec: ModelSpec, files: hub.ModelFiles, began: float) -> TorchModel:
    """Load the model that was found for a specification.

    ``began`` is when the caller began, by ``time.perf_counter``: importing torch counts too.

    Raises:
        ModelFilesError: transformers can't make a model of the files.
        DeviceError: This machine does not have the device.
    """
    place: dict[str, Any] = {}
    if spec.device_map is None:
        device = hardware.find_device(spec.one_device)
        _check_fits(spec, files, device)
    else:
        place["device_map"] = spec.device_map
        device = hardware.find_device("auto")
    common = {"trust_remote_code": spec.trust_remote_code}
    family = AutoModelForCausalLM if files.task == "text-generation" else AutoModelForSeq2SeqLM
    try:
        tokenizer = _tokenizer(files.folder, **common)
        with _told(files.folder):
            loaded: Any = family.from_pretrained(
                files.folder,
                dtype=_dtype(spec, files, device),
                use_safetensors=None if spec.allow_pickle else True,
                output_loading_info=True,
                **common,
                **place,
                **dict(spec.load_options),
            )
    except ImportError as error:  # for quantised weights, for instance
        raise MissingExtraError(f"{spec.model!r} could not be loaded: {error}") from error
    except Exception as error:  # many libraries read these files, each with its own exceptions
        raise ModelFilesError(
            f"{spec.model!r} could not be loaded: {type(error).__name__}: {error}"
        ) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ModelFilesError(
            f"{spec.model!r} lacks {len(missing)} of its weights, such as {missing[0]!r}: "
            "transformers would make them up at random. Get the model again."
        )
    if spec.device_map is None:
        model.to(device)
    elif _input_device(model).type == "meta":
        raise OptionError(
            f"device_map={spec.device_map!r} has put all of {spec.model!r} on disk, and no device "
            "is left to compute it. Give max_memory more, or leave device_map out."
        )
    model.eval()
    if device.type == "cpu" and files.task == "text-generation":
        torch_attention.use(model)
    return wrap(
        model,
        tokenizer,
        files.name,
        files.task,
        languages=spec.languages,
        load_s=time.perf_counter() - began,
    )


def _check_fits(spec: ModelSpec, files: hub.ModelFiles, device: torch.device) -> None:
    weights = weights_of(files.folder, files.config)
    if weights is not None:
        dtype = str(_dtype(spec, files, device)).removeprefix("torch.")
        check_fits(spec.model, weights.bytes_as(dtype), memory_of(device))


def memory_of(device: torch.device) -> hardware.Memory:
    """Return how much of a device's memory is free."""
    if device.type != "cuda":  # what is not the host's own has no common way to ask
        return hardware.tightest_memory()
    free, most = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return hardware.Memory(free + kept, most)


def _tokenizer(folder: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        # Marian's recommends a package for its method "normalize", which transformers never calls.
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        return AutoTokenizer.from_pretrained(folder, **options)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Tell who listens that weights are read; else transformers shows a bar, if it is worth it."""
    count = sum(each.stat().st_size for each in folder.glob("*.safetensors"))
    steps.tell(f"reading the weights ({size(count)})")
    alone = steps.listener() is None
    if (count > _SMALL and alone) or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]


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
        device=_input_device(model),
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


def _input_device(model: Any) -> torch.device:
    """Return the device that a model wants its inputs on.

    Weights that Accelerate left on disk stand on the device "meta", where nothing can be computed.
    """
    hook = getattr(model, "_hf_hook", None)
    told = getattr(hook, "execution_device", None)
    return torch.device(model.device if told is None else told)


def _dtype(spec: ModelSpec, files: hub.ModelFiles, device: torch.device) -> Any:
    """Choose bfloat16 where the device multiplies it, else what the checkpoint has."""
    if spec.dtype != "auto":
        return getattr(torch, spec.dtype)
    if "quantization_config" in files.config:
        return "auto"
    stored = files.config.get("dtype") or files.config.get("torch_dtype")
    if hardware.multiplies_bfloat16(device):
        return torch.bfloat16
    if stored == "float16" and device.type == "cpu":
        return torch.float32  # a CPU that must emulate half precision is slower by far
    return "auto"


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
