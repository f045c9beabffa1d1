"""The PyTorch engine: chooses, for each call, the way that can do what is asked."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from hfnb.engines.base import Completion, Delta, EngineInfo, Prompt, Request, Work
from hfnb.engines.torch_decoder import DecoderLoop
from hfnb.engines.torch_generate import generate_in_batches
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_sampling import checkpoint_options
from hfnb.spec import GenerationSpec

_LOOP_OPTIONS = frozenset(
    "max_new_tokens max_length min_new_tokens temperature do_sample top_k top_p min_p typical_p "
    "repetition_penalty pad_token_id bos_token_id eos_token_id decoder_start_token_id".split()
)
_NEUTRAL: dict[str, Any] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "no_repeat_ngram_size": 0,
    "length_penalty": 1.0,
    "min_length": 0,
    "early_stopping": False,
    "encoder_repetition_penalty": 1.0,
    "renormalize_logits": False,
}
"""Values with which an option does nothing."""


class TorchEngine:
    """Runs a transformers model with PyTorch; see `hfnb.engines.base.Engine`."""

    def __init__(self, loaded: TorchModel) -> None:
        self.loaded = loaded
        self._lock = threading.Lock()
        self._why_not_loop = _why_not_loop(loaded)
        engine = "torch generate" if self._why_not_loop else "torch decoder"
        self.info: EngineInfo = dataclasses.replace(loaded.info(engine), note=self._why_not_loop)

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
        options = checkpoint_options(self.loaded.in_memory(), generation)
        beyond = sorted(
            name
            for name, value in options.items()
            if name not in _LOOP_OPTIONS and _NEUTRAL.get(name) != value
        )
        work = Work() if work is None else work
        cancel = threading.Event() if cancel is None else cancel
        if self._why_not_loop or beyond:
            why = self._why_not_loop or f"{', '.join(beyond)} needs it"
            work.path = f"transformers generate ({why})"
            return generate_in_batches(
                self.loaded,
                requests,
                generation,
                options,
                batch_size=batch_size,
                cancel=cancel,
                stream=stream,
                work=work,
                lock=self._lock,
            )
        work.path = "continuous decoding"
        loop = DecoderLoop(
            self.loaded,
            generation,
            options,
            batch_size=batch_size,
            cancel=cancel,
            stream=stream,
            work=work,
            lock=self._lock,
        )
        return loop.run(requests)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt, special ones included."""
        return len(self.loaded.encode([prompt])[0])

    def close(self) -> None:
        """Give the model's memory back."""
        self.loaded.close()


def _why_not_loop(loaded: TorchModel) -> str:
    """Say why a model can't use our own loop; empty when it can."""
    model = loaded.model
    config = model.config
    if config.is_encoder_decoder:
        return "an encoder-decoder"
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if not model._supports_default_dynamic_cache() or getattr(model, "_is_stateful", False):
        return "its cache is of its own kind"
    if other := kinds - {"full_attention", "sliding_attention"}:
        return f"it has layers of type {', '.join(sorted(other))}"
    if getattr(text, "num_kv_shared_layers", 0):
        return "its layers share keys and values"
    return ""
