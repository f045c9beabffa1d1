"""The PyTorch engine: chooses, for each call, the way that can do what is asked."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from hfnb.engines import loaded as in_memory
from hfnb.engines.base import Chat, Completion, Delta, EngineInfo, Prompt, Request, Work
from hfnb.engines.batches import Rows
from hfnb.engines.call import Call
from hfnb.engines.folder_identity import identity_of
from hfnb.engines.loaded import reload
from hfnb.engines.scheduler import Batch, Scheduler
from hfnb.engines.torch_choice import Labels, choose_in_batches
from hfnb.engines.torch_decoder import DecoderBatch
from hfnb.engines.torch_generate import generate_in_batches
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_plan import auto_rows, budget_of
from hfnb.engines.torch_processors import ROW_PROCESSOR_OPTIONS
from hfnb.engines.torch_sampling import TorchSettings
from hfnb.engines.torch_seq2seq import Seq2SeqBatch
from hfnb.errors import OptionError
from hfnb.spec import GenerationSpec, ModelSpec

_LOOP_OPTIONS = ROW_PROCESSOR_OPTIONS | frozenset(
    "max_new_tokens max_length temperature do_sample top_k top_p min_p typical_p pad_token_id "
    "bos_token_id eos_token_id decoder_start_token_id".split()
)
_NEUTRAL: dict[str, Any] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "length_penalty": 1.0,
    "early_stopping": False,
}
"""Values with which an option does nothing."""
_SEQ2SEQ = frozenset(
    "t5 mt5 umt5 longt5 bart mbart plbart mvp marian m2m_100 pegasus pegasus_x blenderbot "
    "blenderbot-small prophetnet".split()
)
"""Encoder-decoders that our own loop was compared with ``generate`` on."""


class TorchEngine:
    """Runs a transformers model with PyTorch; see `hfnb.engines.base.Engine`."""

    def __init__(self, loaded: TorchModel) -> None:
        self.loaded = loaded
        self.spec: ModelSpec | None = None
        """What it was loaded by; ``None`` for a model that was in memory already."""
        self.folder: Path | None = None
        """Where its files are, likewise."""
        self._lock = threading.Lock()
        self._budget = budget_of(loaded)
        self._why_not_loop = _why_not_loop(loaded)
        self._scheduler: Scheduler | None = None
        engine = "torch generate" if hasattr(loaded.model, "parameters") else "optimum-intel"
        if not self._why_not_loop:
            engine = "torch decoder" if loaded.is_decoder else "torch encoder-decoder"
            make = DecoderBatch if loaded.is_decoder else Seq2SeqBatch
            batch: Batch = make(loaded, self._budget)
            self._scheduler = Scheduler(batch, self._lock)
        self.info: EngineInfo = loaded.info(engine)
        if self._why_not_loop:
            note = f"{self.info.note}; {self._why_not_loop}".removeprefix("; ")
            self.info = dataclasses.replace(self.info, note=note)

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
        options = self.loaded.options_in_force(generation)
        work = Work() if work is None else work
        labels: Labels | None = None
        if generation.grammar is not None and generation.grammar.kind == "choice":
            labels = Labels.of(self.loaded, generation)
            generation = dataclasses.replace(generation, grammar=None)
            options = {**options, "max_new_tokens": labels.longest}
        call = Call(
            self.loaded,
            requests,
            generation,
            options,
            TorchSettings(self.loaded, generation, options),
            rows=auto_rows(self.loaded) if batch_size == "auto" else Rows(batch_size),
            cancel=threading.Event() if cancel is None else cancel,
            stream=stream,
            work=work,
        )
        if labels is not None:
            work.path = f"label probabilities, {labels.passes}"
            cached = not self._why_not_loop
            return choose_in_batches(labels, self.loaded, call, self._lock, self._budget, cached)
        beyond = sorted(
            name
            for name, value in options.items()
            if name not in _LOOP_OPTIONS and _NEUTRAL.get(name) != value
        )
        if self._scheduler is not None and not beyond:
            work.path = (
                "continuous decoding" if self.loaded.is_decoder else "encoder-decoder in groups"
            )
            return self._scheduler.run(call)
        why = self._why_not_loop or f"{', '.join(beyond)} needs it"
        several = [name for name in ("num_beams", "num_return_sequences") if name in beyond]
        if generation.grammar is not None and several:
            raise OptionError(
                f"Output of a given form can't be had together with {' and '.join(several)}: leave "
                "one of them out."
            )
        work.path = f"transformers generate ({why})"
        return generate_in_batches(self.loaded, call, self._lock, self._budget)

    @property
    def fingerprint(self) -> str:
        """What tells this model from any other: its files, and its weights as they are now."""
        return self._of_files + self.loaded.fingerprint()

    @functools.cached_property
    def _of_files(self) -> str:
        """The identity of the folder that it was loaded from; a wrapped model has none."""
        return "" if self.folder is None else f"{identity_of(self.folder)}:"

    def options_in_force(self, generation: GenerationSpec) -> dict[str, Any]:
        """Return the options of a call, the checkpoint's own among them."""
        return self.loaded.options_in_force(generation)

    def token_ids(self, prompt: Prompt) -> list[int]:
        """Return a prompt's tokens, special ones included."""
        return self.loaded.encode([prompt])[0]

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt, special ones included."""
        return len(self.token_ids(prompt))

    def render(self, chat: Chat) -> str:
        """Return a chat's text, as the model's chat template writes it."""
        return self.loaded.render(chat)

    def __reduce__(self) -> Any:
        """Pickle how it was loaded, not the weights: the copy is loaded from the same files."""
        return reload(self.info.model, self.spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> TorchEngine:
        """Return itself: copies of what uses an engine share it, as they share a device."""
        return self

    def close(self) -> None:
        """Give the model's memory back."""
        self.loaded.close()
        in_memory.forget(self)


def _why_not_loop(loaded: TorchModel) -> str:
    """Say why a model can't use our own loops; empty when it can."""
    model = loaded.model
    if not hasattr(model, "parameters"):
        return "a model of optimum"
    config = model.config
    if not loaded.is_decoder:
        kind = config.model_type
        return "" if kind in _SEQ2SEQ else f"an encoder-decoder of type {kind}"
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if not model._supports_default_dynamic_cache() or getattr(model, "_is_stateful", False):
        return "its cache is of its own kind"
    if other := kinds - {"full_attention", "sliding_attention"}:
        return f"it has layers of type {', '.join(sorted(other))}"
    if getattr(text, "num_kv_shared_layers", 0):
        return "its layers share keys and values"
    return ""
