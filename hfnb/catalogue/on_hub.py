"""Models of the Hub that hfnb can run: searched for, and described without fetching weights."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hfnb import hub
from hfnb.catalogue.entry import ModelEntry, backends_of, read_json
from hfnb.errors import HfnbError, ModelFilesError, ModelNotFoundError
from hfnb.hub_errors import refusal
from hfnb.sizes import BYTES, Weights, weights_by
from hfnb.spec import ModelSpec, Task

_LIMIT = 60
"""Models that the Hub is asked for; those that hfnb can't run are left out of them."""
_PATIENCE_S = 1.5
_WANTED: tuple[Any, ...] = ("config", "downloads", "gated", "pipeline_tag", "safetensors", "tags")


class Answer(NamedTuple):
    """What the Hub said to a search."""

    entries: tuple[ModelEntry, ...] = ()
    why_not: str = ""
    """Why it was not asked, or did not answer; empty if it did."""


def search(query: str | None, task: Task | None, token: str | bool | None = None) -> Answer:
    """Search the Hub, and give up after 1.5 s: what is on this machine is shown all the same."""
    # Imported before the clock starts: that may take a good part of the time.
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return Answer(why_not="HF_HUB_OFFLINE is set")
    answers: list[Answer] = []
    thread = threading.Thread(
        target=lambda: answers.append(_asked(HfApi(), query, task, token)),
        name="hfnb-hub",
        daemon=True,
    )
    thread.start()
    thread.join(_PATIENCE_S)
    return answers[0] if answers else Answer(why_not=f"it did not answer in {_PATIENCE_S} s")


def _asked(api: Any, query: str | None, task: Task | None, token: str | bool | None) -> Answer:
    try:
        found = api.list_models(
            search=query,
            pipeline_tag=task,
            sort="downloads",
            limit=_LIMIT,
            expand=list(_WANTED),
            token=token,
        )
        entries = tuple(each for each in map(_entry, found) if each is not None)
    except Exception as error:  # of the network, of the Hub, or of an answer in a new form
        told = refusal(error, "the list of models")
        return Answer(why_not=str(told).rstrip(".") if told else _short(error))
    return Answer(entries)


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"it can't be reached ({lines[0] if lines else type(error).__name__})"


def _entry(info: Any) -> ModelEntry | None:
    """Return a model of the Hub; ``None`` where hfnb can't run it."""
    config, tags = dict(info.config or {}), set(info.tags or ())
    if info.pipeline_tag in hub.SEQ2SEQ_TASKS:  # the Hub's excerpt of a config does not say it
        config["is_encoder_decoder"] = True
    tasks = hub.tasks_of(config) if config.get("architectures") else ()
    has_weights, exported = info.safetensors is not None, "openvino" in tags
    backends = backends_of(config, has_weights=has_weights, exported=exported)
    if not tasks or not backends:
        return None
    counts = dict(info.safetensors.parameters) if has_weights else {}
    weights = weights_by(counts, config, 0) if counts else None
    licenses = [each.removeprefix("license:") for each in tags if each.startswith("license:")]
    return ModelEntry(
        name=info.id,
        source="hub",
        tasks=tasks,
        backends=backends,
        parameters=weights.parameters if weights else None,
        dtype=weights.dtype if weights else "",
        size=_bytes(counts) if counts else None,
        context_length=None,
        has_chat_template=_has_template(config),
        downloads=info.downloads,
        license=", ".join(sorted(licenses)),
        gated=bool(info.gated),
    )


def _has_template(config: Mapping[str, Any]) -> bool:
    """Whether the Hub's excerpt of a config has a chat template, in either of its places."""
    tokenizer = config.get("tokenizer_config") or {}
    return bool(config.get("chat_template_jinja") or tokenizer.get("chat_template"))


def _bytes(counts: Mapping[str, int]) -> int:
    return sum(count * BYTES[weights_by({each: 1}, {}, 0).dtype] for each, count in counts.items())


class Described(NamedTuple):
    """A model's config and the headers of its weights."""

    config: Mapping[str, Any]
    task: Task
    weights: Weights | None
    """What its safetensors hold; ``None`` where it has only an exported model."""
    folder: Path | None
    """Where it is on this machine; ``None`` where it would have to be fetched first."""


def describe(spec: ModelSpec) -> Described:
    """Return a Hub model's config and what its weights are, without fetching the weights.

    Raises:
        ModelNotFoundError: The Hub does not have it, or does not give it.
        ModelFilesError: It has no safetensors.
    """
    import huggingface_hub
    from huggingface_hub import errors

    told: dict[str, Any] = {"revision": spec.revision}
    told["token"] = dict(spec.load_options).get("token")
    try:
        file = Path(huggingface_hub.hf_hub_download(spec.model, "config.json", **told))
        config = read_json(file)
        task = hub.check_task(spec, config)
        try:
            metadata = huggingface_hub.get_safetensors_metadata(spec.model, **told)
        except errors.NotASafetensorsRepoError as error:
            raise ModelFilesError(
                f"{spec.model!r} has no safetensors on the Hub: how large its weights are can't be "
                "told before they are fetched."
            ) from error
    except HfnbError:
        raise
    except Exception as error:
        told_by_hub = refusal(error, spec.model, spec.revision)
        raise told_by_hub or ModelNotFoundError(
            f"{spec.model!r} is not on this machine, and the Hub can't be asked about it: "
            f"{_short(error)}. Give a packaged model, a folder, or one of hfnb.models()."
        ) from error
    counts = {str(each): count for each, count in metadata.parameter_count.items()}
    return Described(config, task, weights_by(counts, config, _bytes(counts)), None)
