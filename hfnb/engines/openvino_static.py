"""What OpenVINO GenAI can't run goes through optimum-intel: encoder-decoders, beams, rare options.

An OpenVINO model of optimum-intel has transformers' ``generate``, so that the PyTorch engine's way
through ``generate`` runs it, in batches sorted by length, one request at a time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimum.intel import OVModelForCausalLM, OVModelForSeq2SeqLM
from transformers import AutoTokenizer

from hfnb.engines.torch_engine import TorchEngine
from hfnb.engines.torch_model import wrap
from hfnb.errors import ModelFilesError
from hfnb.spec import Task


def load(
    name: str,
    folder: Path,
    task: Task,
    device: str,
    config: Mapping[str, Any],
    *,
    languages: tuple[str, str] | None = None,
    trust_remote_code: bool = False,
    began: float | None = None,
) -> TorchEngine:
    """Load an exported model with optimum-intel.

    Raises:
        ModelFilesError: optimum-intel can't load it.
    """
    began = time.perf_counter() if began is None else began
    family = OVModelForCausalLM if task == "text-generation" else OVModelForSeq2SeqLM
    try:
        model = family.from_pretrained(
            folder,
            device=device,
            ov_config=dict(config),
            trust_remote_code=trust_remote_code,
            export=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # several libraries read these files
        raise ModelFilesError(
            f"{name!r} could not be loaded: {type(error).__name__}: {error}"
        ) from error
    return TorchEngine(
        wrap(
            model,
            tokenizer,
            name,
            task,
            languages=languages,
            load_s=time.perf_counter() - began,
        )
    )
