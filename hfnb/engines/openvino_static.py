"""What OpenVINO GenAI can't run goes through optimum-intel: encoder-decoders, beams, rare options.

An OpenVINO model of optimum-intel has transformers' ``generate``, so that the PyTorch engine's way
through ``generate`` runs it, in batches sorted by length, one request at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from optimum.intel import OVModelForCausalLM, OVModelForSeq2SeqLM
from transformers import AutoTokenizer

from hfnb.engines.base import Completion, Delta, Request, Work
from hfnb.engines.folder_identity import identity_of
from hfnb.engines.openvino_load import parameters_of, weight_bytes_of
from hfnb.engines.torch_engine import TorchEngine
from hfnb.engines.torch_model import TorchModel, wrap
from hfnb.errors import ModelFilesError
from hfnb.spec import GenerationSpec, Task


class StaticEngine(TorchEngine):
    """Runs an exported model with optimum-intel; see `hfnb.engines.base.Engine`.

    Args:
        loaded: The model.
        folder: Where its IR lies.
        device: The OpenVINO device.
        shown: What `EngineInfo` says of it: ``dtype`` and ``note``.
        why: Why OpenVINO GenAI does not run it.
    """

    def __init__(
        self, loaded: TorchModel, folder: Path, device: str, shown: Mapping[str, str], why: str
    ) -> None:
        super().__init__(loaded)
        self.folder = self._ir = folder
        self._why = why
        self.info = dataclasses.replace(
            self.info,
            engine="optimum-intel",
            device=device,
            dtype=shown["dtype"],
            parameters=parameters_of(folder),
            weight_bytes=weight_bytes_of(folder),
            note=f"{shown['note']}; optimum-intel, since {why}",
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
        """Yield completions batch by batch; see `hfnb.engines.base.Engine`."""
        work = Work() if work is None else work
        answers = super().generate(
            requests, generation, batch_size=batch_size, cancel=cancel, stream=stream, work=work
        )
        scored = generation.grammar is not None and generation.grammar.kind == "choice"
        how = work.path if scored else "generate"
        work.path = f"optimum-intel {how} ({self._why})"
        return answers

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells this export from any other."""
        return identity_of(self._ir)


def load(
    name: str,
    folder: Path,
    task: Task,
    device: str,
    config: Mapping[str, Any],
    *,
    shown: Mapping[str, str],
    why: str,
    languages: tuple[str, str] | None = None,
    trust_remote_code: bool = False,
    began: float | None = None,
) -> StaticEngine:
    """Load an exported model with optimum-intel.

    Raises:
        ModelFilesError: optimum-intel can't load it.
    """
    began = time.perf_counter() if began is None else began
    family = OVModelForCausalLM if task == "text-generation" else OVModelForSeq2SeqLM
    try:
        with _without_a_guess():
            model = family.from_pretrained(
                str(folder),
                device=device,
                ov_config=dict(config),
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                export=False,
            )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # several libraries read these files
        raise ModelFilesError(
            f"{name!r} could not be loaded: {type(error).__name__}: {error}"
        ) from error
    wrapped = wrap(
        model, tokenizer, name, task, languages=languages, load_s=time.perf_counter() - began
    )
    return StaticEngine(wrapped, folder, device, shown, why)


@contextlib.contextmanager
def _without_a_guess() -> Iterator[None]:
    """Hide that optimum-intel can't guess whether a folder is exported: it is told so."""

    def other(record: logging.LogRecord) -> bool:
        return "Could not infer whether the model" not in record.getMessage()

    logger = logging.getLogger("optimum.intel.openvino.modeling_base")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)
