"""The OpenVINO engine for decoders: an export in OpenVINO GenAI's continuous batching."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import openvino_genai

from hfnb import hardware
from hfnb.engines.base import Chat, Completion, Delta, Engine, EngineInfo, Prompt, Request, Work
from hfnb.engines.call import Call
from hfnb.engines.chat_template import template_text, template_variables
from hfnb.engines.openvino_model import OpenVINOModel
from hfnb.engines.openvino_paged import PagedBatch
from hfnb.engines.openvino_settings import GenAISettings, not_taken
from hfnb.engines.scheduler import Scheduler
from hfnb.errors import ModelError, ModelFilesError, OptionError
from hfnb.spec import GenerationSpec

_ROWS = 64
"""Rows that are decoded together unless the caller says otherwise."""
_STEP_TOKENS = 512
"""Tokens, of prompts and of answers, in one step."""
_KV_SHARE = 0.4
"""The share of free memory that keys and values may take; it is taken as it is needed."""
_GIGABYTE = 1024**3
_SAMPLED_BYTES = 1 << 20


class OpenVINOEngine:
    """Runs an exported decoder with OpenVINO GenAI; see `hfnb.engines.base.Engine`.

    Args:
        model: The exported folder's tokenizer and options.
        device: An OpenVINO device.
        config: OpenVINO properties.
        shown: What `EngineInfo` says of it: ``dtype`` and ``note``.
        fallback: Loads the engine for what OpenVINO GenAI does not have.
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
        shown: Mapping[str, str],
        fallback: Callable[[], Engine],
        began: float,
    ) -> None:
        self.model = model
        self._fallback = fallback
        self._other: Engine | None = None
        self._lock = threading.Lock()
        self._batch = PagedBatch(
            functools.partial(_pipeline, model.folder, device, dict(config)),
            closed=f"{model.name!r} was unloaded. Load it again with hfnb.load.",
        )
        self._scheduler = Scheduler(self._batch, self._lock)
        template = model.chat_template
        self.info = EngineInfo(
            engine="OpenVINO GenAI",
            backend="openvino",
            model=model.name,
            task="text-generation",
            device=device,
            parameters=0,
            context_length=model.context_length,
            has_chat_template=bool(template),
            load_s=time.perf_counter() - began,
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
        if self._scheduler is None:
            raise ModelError(f"{self.info.model!r} was unloaded. Load it again with hfnb.load.")
        work = Work() if work is None else work
        if beyond := not_taken(options):
            if generation.grammar is not None:
                raise OptionError(
                    f"Output of a given form can't be had together with {', '.join(beyond)}: leave "
                    "one of them out."
                )
            return self._elsewhere().generate(
                requests,
                generation,
                batch_size=batch_size,
                cancel=cancel,
                stream=stream,
                work=work,
            )
        call = Call(
            self.model,
            requests,
            generation,
            options,
            GenAISettings(generation, options),
            most_rows=_ROWS if batch_size == "auto" else min(batch_size, _ROWS),
            cancel=threading.Event() if cancel is None else cancel,
            stream=stream,
            work=work,
        )
        work.path = "continuous batching"
        return self._scheduler.run(call)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells this export's weights from any other's."""
        digest = hashlib.blake2b(digest_size=16)
        for file in sorted(self.model.folder.glob("openvino_model.*")):
            size = file.stat().st_size
            digest.update(f"{file.name} {size}".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(_SAMPLED_BYTES))
                stream.seek(max(0, size - _SAMPLED_BYTES))
                digest.update(stream.read(_SAMPLED_BYTES))
        return digest.hexdigest()

    def token_ids(self, prompt: Prompt) -> list[int]:
        """Return a prompt's tokens, special ones included."""
        return self.model.encode([prompt])[0]

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt, special ones included."""
        return len(self.token_ids(prompt))

    def render(self, chat: Chat) -> str:
        """Return a chat's text, as the model's chat template writes it."""
        return self.model.render(chat)

    def __deepcopy__(self, memo: dict[int, Any]) -> OpenVINOEngine:
        """Return itself: copies of what uses an engine share it."""
        return self

    def close(self) -> None:
        """Give the model's memory back."""
        with self._lock:
            self._scheduler = None
            self._pipeline = None
            other, self._other = self._other, None
        if other is not None:
            other.close()

    def _elsewhere(self) -> Engine:
        """Return the engine for what OpenVINO GenAI does not have; it is loaded once."""
        with self._lock:
            if self._other is None:
                self._other = self._fallback()
            return self._other


def _pipeline(folder: Path, device: str, config: Mapping[str, Any]) -> Any:
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_seqs = _ROWS
    scheduler.max_num_batched_tokens = _STEP_TOKENS
    scheduler.cache_size = max(1, int(hardware.memory_free() * _KV_SHARE) // _GIGABYTE)
    scheduler.enable_prefix_caching = True
    try:
        return openvino_genai.ContinuousBatchingPipeline(
            str(folder), scheduler, device, dict(config)
        )
    except RuntimeError as error:
        raise ModelFilesError(
            f"OpenVINO could not load {folder}: {error}. Export the model again, or use "
            "backend='pytorch'."
        ) from error
