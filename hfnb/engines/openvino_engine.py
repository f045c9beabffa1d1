"""The OpenVINO engine for decoders: an export in OpenVINO GenAI's continuous batching."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import openvino_genai

from hfnb import hardware, meanwhile
from hfnb.engines import batches, loaded
from hfnb.engines.base import Chat, Completion, Delta, Engine, EngineInfo, Prompt, Request, Work
from hfnb.engines.call import Call
from hfnb.engines.chat_template import template_text, template_variables
from hfnb.engines.folder_identity import identity_of
from hfnb.engines.loaded import reload
from hfnb.engines.memory import MemoryBudget
from hfnb.engines.openvino_device import reason_of
from hfnb.engines.openvino_load import parameters_of, weight_bytes_of
from hfnb.engines.openvino_model import OpenVINOModel
from hfnb.engines.openvino_paged import STORE_BLOCK, PagedBatch, Pipeline
from hfnb.engines.openvino_settings import GenAISettings, not_taken
from hfnb.engines.openvino_signals import own_signal_stack
from hfnb.engines.scheduler import Scheduler
from hfnb.engines.shortage import give_back
from hfnb.errors import ModelError, ModelFilesError, OptionError
from hfnb.sizes import kv_bytes_per_token
from hfnb.spec import GenerationSpec, ModelSpec

_MOST_ROWS = 256
"""The most rows that are decoded together; in larger batches a step only takes longer."""
_KV_SHARE = 0.4
"""The share of free memory that keys and values may take; it is taken as it is needed."""
_GIGABYTE = 1024**3
_FINE = 4
"""Gigabytes below which the store of keys and values is measured out in blocks."""
_LEAST_BLOCKS = 16


class OpenVINOEngine:
    """Runs an exported decoder with OpenVINO GenAI; see `hfnb.engines.base.Engine`.

    Args:
        model: The exported folder's tokenizer and options.
        device: An OpenVINO device.
        config: OpenVINO properties.
        tokenizer: The folder of the converted tokenizer, which grammars need; ``None`` if there
            is none.
        shown: What `EngineInfo` says of it: ``dtype`` and ``note``.
        fallback: Loads the engine for what OpenVINO GenAI does not have; it is told why.
        began: When loading began, by ``time.perf_counter``.

    Raises:
        ModelFilesError: OpenVINO can't load the model.
    """

    def __init__(
        self,
        model: OpenVINOModel,
        device: str,
        config: Mapping[str, Any],
        *,
        tokenizer: Path | None,
        shown: Mapping[str, str],
        fallback: Callable[[str], Engine],
        began: float,
    ) -> None:
        self.model = model
        self.folder = model.folder
        self.spec: ModelSpec | None = None
        """What it was loaded by."""
        self._fallback = fallback
        self._other: Engine | None = None
        self._other_lock = threading.Lock()
        self._has_vocabulary = tokenizer is not None
        self._closed = False
        parameters = parameters_of(model.folder)
        step_tokens = batches.openvino_step_tokens(parameters)
        token_bytes = kv_bytes_per_token(model.config, str(config.get("KV_CACHE_PRECISION", "f32")))
        on_host = not device.startswith("GPU")
        make = functools.partial(
            _pipeline, model.folder, tokenizer, device, dict(config), step_tokens, token_bytes
        )
        budget = MemoryBudget(
            ("openvino", str(model.folder), device),
            token_bytes if on_host else 0,
            rectangular=False,
        )
        with meanwhile.beside():
            self._batch = PagedBatch(make, closed=self._unloaded(), budget=budget)
        self._scheduler = Scheduler(self._batch, threading.Lock())
        template = model.chat_template
        self.info = EngineInfo(
            engine="OpenVINO GenAI",
            backend="openvino",
            model=model.name,
            task="text-generation",
            device=device,
            parameters=parameters,
            context_length=model.context_length,
            has_chat_template=bool(template),
            load_s=time.perf_counter() - began,
            weight_bytes=weight_bytes_of(model.folder),
            chat_template=template_text(template),
            template_variables=template_variables(template),
            dtype=shown["dtype"],
            note=shown["note"],
        )

    def generate(
        self,
        requests: Iterable[Request],
        generation: GenerationSpec,
        *,
        batch_size: int | Literal["auto"] = "auto",
        cancel: threading.Event | None = None,
        stream: bool = False,
        work: Work | None = None,
    ) -> Iterator[Completion | Delta]:
        """Yield completions as rows finish; see `hfnb.engines.base.Engine`."""
        options = self.model.options_in_force(generation)
        if self._closed:
            raise ModelError(self._unloaded())
        work = Work() if work is None else work
        if generation.grammar is not None and generation.grammar.kind == "choice":
            why = "OpenVINO GenAI gives no probabilities"
            answers = self._elsewhere(why).generate(
                requests, generation, batch_size=batch_size, cancel=cancel, work=work
            )
            work.path = f"{work.path.partition(' (')[0]} ({why})"
            return answers
        if beyond := not_taken(options):
            why = f"{', '.join(beyond)}: OpenVINO GenAI does not have it"
            if generation.grammar is not None:
                raise OptionError(
                    f"Output of a given form can't be had together with {', '.join(beyond)}: leave "
                    "one of them out."
                )
            answers = self._elsewhere(why).generate(
                requests,
                generation,
                batch_size=batch_size,
                cancel=cancel,
                stream=stream,
                work=work,
            )
            work.path = f"optimum-intel generate ({why})"
            return answers
        if generation.grammar is not None and not self._has_vocabulary:
            raise OptionError(
                f"Output of a given form needs the tokenizer of {self.info.model!r} in OpenVINO's "
                "own form, to which it can't be converted. Use backend='pytorch' for it."
            )
        call = Call(
            self.model,
            requests,
            generation,
            options,
            GenAISettings(generation, options),
            rows=batches.openvino_rows(self.info.parameters)
            if batch_size == "auto"
            else batches.Rows(min(batch_size, _MOST_ROWS)),
            cancel=threading.Event() if cancel is None else cancel,
            stream=stream,
            work=work,
        )
        work.path = "continuous batching"
        return self._scheduler.run(call)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells this export from any other."""
        return identity_of(self.model.folder)

    def options_in_force(self, generation: GenerationSpec) -> dict[str, Any]:
        """Return the options of a call, the checkpoint's own among them."""
        return self.model.options_in_force(generation)

    def token_ids(self, prompt: Prompt) -> list[int]:
        """Return a prompt's tokens, special ones included."""
        return self.model.encode([prompt])[0]

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt, special ones included."""
        return len(self.token_ids(prompt))

    def render(self, chat: Chat) -> str:
        """Return a chat's text, as the model's chat template writes it."""
        return self.model.render(chat)

    def __reduce__(self) -> Any:
        """Pickle how it was loaded, not the weights: the copy is loaded from the same files."""
        return reload(self.info.model, self.spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> OpenVINOEngine:
        """Return itself: copies of what uses an engine share it."""
        return self

    def close(self) -> None:
        """Give the model's memory back; calls that are going on end with an error."""
        self._closed = True
        self._batch.close()
        with self._other_lock:
            other, self._other = self._other, None
        if other is not None:
            other.close()
        loaded.forget(self)
        give_back()

    def _elsewhere(self, why: str) -> Engine:
        """Return the engine for what OpenVINO GenAI does not have; it is loaded once."""
        with self._other_lock:
            if self._closed:
                raise ModelError(self._unloaded())
            if self._other is None:
                self._other = self._fallback(why)
            return self._other

    def _unloaded(self) -> str:
        return f"{self.model.name!r} was unloaded. Load it again with hfnb.load."


def _pipeline(
    folder: Path,
    tokenizer: Path | None,
    device: str,
    config: Mapping[str, Any],
    step_tokens: int,
    token_bytes: int,
) -> Pipeline:
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_seqs = _MOST_ROWS
    scheduler.max_num_batched_tokens = step_tokens
    scheduler.enable_prefix_caching = True
    blocks = None
    if not device.startswith("GPU"):  # there OpenVINO takes what it needs of the GPU's own memory
        blocks = _size_store(scheduler, token_bytes)
    make = openvino_genai.ContinuousBatchingPipeline
    try:
        with own_signal_stack():
            if tokenizer is None or tokenizer == folder:
                return Pipeline(make(str(folder), scheduler, device, dict(config)), blocks)
            vocabulary = openvino_genai.Tokenizer(str(tokenizer))
            return Pipeline(make(str(folder), vocabulary, scheduler, device, **config), blocks)
    except RuntimeError as error:
        raise ModelFilesError(
            f"OpenVINO could not load {folder}: {reason_of(error)}. Export the model again, or "
            "use backend='pytorch'."
        ) from error


def _size_store(scheduler: Any, token_bytes: int) -> int | None:
    """Set how large the store of keys and values may become; return in how many blocks."""
    store, block = int(hardware.memory_free() * _KV_SHARE), STORE_BLOCK * token_bytes
    if block and store < _FINE * _GIGABYTE:  # whole gigabytes would be too coarse
        blocks = max(_LEAST_BLOCKS, store // block)
        scheduler.cache_size, scheduler.num_kv_blocks = 0, blocks
        return blocks
    gigabytes = max(1, store // _GIGABYTE)
    scheduler.cache_size = gigabytes
    return gigabytes * _GIGABYTE // block if block else None
