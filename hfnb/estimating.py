"""`hfnb.estimate`: the memory that a model will take, before anything of it is loaded."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

from hfnb import hardware, hub
from hfnb.catalogue import on_hub
from hfnb.catalogue.on_hub import Described
from hfnb.engines.fits import TIGHT
from hfnb.engines.openvino_folder import is_exported
from hfnb.engines.openvino_formats import check_weight_format
from hfnb.engines.quantised import check_checkpoint, on_a_cpu
from hfnb.errors import DeviceError, MissingExtraError, ModelError, OptionError, listing
from hfnb.machine import Device, devices
from hfnb.needs import Needs, with_openvino, with_torch
from hfnb.options import is_whole
from hfnb.show import html_figures, size, text_figures
from hfnb.sizes import weights_of
from hfnb.spec import DEFAULT_MAX_NEW_TOKENS, ModelSpec, check_backend, check_batch_size

_MOST_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The memory that a model will take. All sizes are bytes."""

    model: str
    backend: str
    device: str
    dtype: str
    """What it computes in; for OpenVINO also what its weights are kept in."""
    parameters: int
    rows: int
    """Rows computed together: ``batch_size``, or what ``"auto"`` takes of what fits."""
    prompt_tokens: int
    max_new_tokens: int
    weights_bytes: int
    """The weights in memory; with OpenVINO the mapped file, and what it makes of it."""
    kv_bytes: int
    """Keys and values of all rows at their longest."""
    compute_bytes: int
    """What a forward pass takes besides."""
    libraries_bytes: int
    """What the libraries take, where they are not imported yet."""
    loading_bytes: int
    """The most that is taken while it loads."""
    total_bytes: int
    """The most that is taken while it loads and runs."""
    export_bytes: int
    """What the process that exports to OpenVINO takes; 0 where no export has to be made."""
    disk_bytes: int
    """What is written to disk: files of the Hub, and the export."""
    free_bytes: int
    """What is free there now."""
    memory_limit: str
    """What limits it, where that is not the machine: ``MEM_LIMIT``, a container, ..."""
    largest_batch: int
    """The most rows of these lengths that fit together; 0 if not even one does."""
    setup_bytes: int = 0
    """A tokenizer, threads, and what else a first call sets up."""

    @property
    def verdict(self) -> Literal["fits", "tight", "does not fit"]:
        """Whether it fits into what is free, its export included."""
        needed = max(self.total_bytes, self.export_bytes)
        if needed > self.free_bytes:
            return "does not fit"
        return "tight" if needed > TIGHT * self.free_bytes else "fits"

    def lines(self) -> list[tuple[str, str]]:
        """Return the figures as a person reads them: a label and its text each."""
        limit = f" (by {self.memory_limit})" if self.memory_limit else ""
        parts = [f"weights {size(self.weights_bytes)}", f"keys and values {size(self.kv_bytes)}"]
        parts.append(f"computing {size(self.compute_bytes)}")
        if self.setup_bytes:
            parts.append(f"set-up {size(self.setup_bytes)}")
        if self.libraries_bytes:
            parts.append(f"libraries {size(self.libraries_bytes)}")
        shown = [
            (
                self.verdict,
                f"{size(self.total_bytes)} of {size(self.free_bytes)} free{limit}",
            ),
            ("memory", " · ".join(parts)),
            (
                "rows",
                f"{self.rows:,} together, of {self.prompt_tokens:,} prompt tokens and "
                f"{self.max_new_tokens:,} new ones · at most {self.largest_batch:,} fit",
            ),
        ]
        if self.export_bytes:
            shown.append(("export", f"{size(self.export_bytes)} while it is exported, once"))
        if self.disk_bytes:
            shown.append(("disk", f"{size(self.disk_bytes)} to be written"))
        shown.append(("model", " · ".join((self.model, self.backend, self.dtype, self.device))))
        return shown

    def __repr__(self) -> str:
        return text_figures(self.lines())

    def _repr_html_(self) -> str:
        return html_figures(self.lines(), name="hfnb-estimate")


def estimate(
    model: str | os.PathLike[str],
    task: str | None = None,
    *,
    backend: str = "pytorch",
    device: str | int | None = None,
    weight_format: str | None = None,
    dtype: Any = "auto",
    batch_size: int | Literal["auto"] = "auto",
    prompt_tokens: int = 256,
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Estimate:
    """Estimate the memory that a model will take, and say whether it fits. Nothing is loaded.

    Of a model on the Hub only the config and the headers of the weights are read.

    Args:
        model: A packaged model, a local folder, or a Hub id.
        task: As for `hfnb.load`.
        backend: ``"pytorch"`` or ``"openvino"``.
        device: As for `hfnb.load`; ``None`` is what that takes.
        weight_format: As for `hfnb.load`.
        dtype: As for `hfnb.load`.
        batch_size: Rows computed together; ``"auto"`` is what `hfnb.load` takes, where it fits.
        prompt_tokens: Tokens of each prompt.
        max_new_tokens: New tokens of each row.
        revision: Branch, tag or commit on the Hub.
        token: For the Hub; by default the one that ``hf auth login`` has kept.

    Returns:
        An `Estimate`, in bytes: ``weights_bytes``, ``kv_bytes``, ``compute_bytes``,
        ``export_bytes``, ``total_bytes``, ``free_bytes``; ``verdict`` is ``"fits"``, ``"tight"`` or
        ``"does not fit"``, and ``largest_batch`` the most rows that fit together.

    Raises:
        ModelNotFoundError: There is no such model, or the Hub does not give it.
        ModelFilesError: Its files are broken, or not what they should be.
        OptionError: An unknown or impossible argument.

    Example:
        >>> import hfnb
        >>> hfnb.estimate("hfnb/numbers-fr", device="cpu", batch_size=8).verdict
        'fits'
    """
    check_batch_size(batch_size)
    for name, tokens in (("prompt_tokens", prompt_tokens), ("max_new_tokens", max_new_tokens)):
        if not is_whole(tokens) or tokens < 1:
            raise OptionError(f"{name} is a number of tokens, 1 or more; not {tokens!r}.")
    kept_by_openvino = check_backend(backend) == "openvino"
    spec = ModelSpec(
        model=model,  # type: ignore[arg-type]
        task=task,  # type: ignore[arg-type]
        backend=backend,
        device=device,
        dtype=dtype,
        revision=revision,
        weight_format=check_weight_format(weight_format) if kept_by_openvino else weight_format,
        load_options=(("token", token),) if token is not None else (),
    )
    found = _described(spec)
    place = _device(spec)
    needs = _needs(spec, found, place)
    lengths = prompt_tokens, max_new_tokens
    free = place.memory_free or 0
    most = _largest(needs, free, *lengths)
    usual = needs.rows.for_prompts_of(prompt_tokens)
    rows = max(1, min(usual, most)) if batch_size == "auto" else int(batch_size)
    return Estimate(
        model=spec.model,
        backend=spec.backend,
        device=place.name,
        dtype=needs.dtype,
        parameters=needs.parameters,
        rows=rows,
        prompt_tokens=prompt_tokens,
        max_new_tokens=max_new_tokens,
        weights_bytes=needs.weights,
        setup_bytes=needs.setup,
        kv_bytes=needs.kv(rows, *lengths),
        compute_bytes=needs.computing(rows, prompt_tokens),
        libraries_bytes=needs.libraries,
        loading_bytes=needs.loading,
        total_bytes=needs.total(rows, *lengths),
        export_bytes=needs.export,
        disk_bytes=needs.disk,
        free_bytes=free,
        memory_limit=place.memory_limit,
        largest_batch=most,
    )


def _described(spec: ModelSpec) -> Described:
    """Return a model's config and weights: from this machine, where it is here, or the Hub."""
    from huggingface_hub import constants

    local = {**dict(spec.load_options), "local_files_only": True}
    try:
        files = hub.find(dataclasses.replace(spec, load_options=tuple(local.items())))
    except ModelError:
        elsewhere = hub.is_hub_id(spec.model) and not Path(spec.model).is_dir()
        if constants.HF_HUB_OFFLINE or not elsewhere or spec.model.startswith("hfnb/"):
            raise
        return on_hub.describe(spec)
    return Described(files.config, files.task, weights_of(files.folder, files.config), files.folder)


def _needs(spec: ModelSpec, found: Described, place: Device) -> Needs:
    config, task, weights, folder = found
    if spec.backend == "openvino":
        if weights is None and (folder is None or not is_exported(folder)):
            raise OptionError(f"{spec.model!r} holds neither weights nor an exported model.")
        return with_openvino(spec, config, weights, task, place, folder)
    assert weights is not None  # hub.find has checked
    check_checkpoint(spec, config)
    if spec.weight_format is not None and place.name == "cpu":
        raise on_a_cpu(spec)
    return with_torch(spec, config, weights, place, here=folder is not None)


def _device(spec: ModelSpec) -> Device:
    """Return the device that a model would be loaded on."""
    device, every = spec.one_device, devices()
    own = [each for each in every if each.backend == spec.backend]
    if not own:
        missing = next(each for each in every.missing if each.what == spec.backend)
        raise MissingExtraError(f"backend={spec.backend!r}: {missing.why}. {missing.mend}")
    if spec.backend == "openvino":
        name = "CPU" if device is None else str(device).upper().replace("AUTO", "CPU")
    else:
        name = hardware.check_device(device)
    if name.isdecimal():
        accelerators = [each for each in own if each.name != "cpu"]
        own, name = accelerators[int(name) : int(name) + 1], "auto"
    if name == "auto" and own:
        return max(own, key=lambda each: each.name != "cpu")
    found = next((each for each in own if name in (each.name, each.name.rpartition(":")[0])), None)
    if found is None:
        here = listing(each.name for each in every if each.backend == spec.backend)
        raise DeviceError(
            f"device={spec.device!r} is not there: this machine has {here}. hfnb.devices() says "
            "what it lacks, and why."
        )
    return found


def _largest(needs: Needs, free: int, prompt: int, new: int) -> int:
    """Return the most rows that fit together, by halving."""
    low, high = 0, _MOST_ROWS
    while low < high:
        rows = (low + high + 1) // 2
        low, high = (rows, high) if needs.total(rows, prompt, new) <= free else (low, rows - 1)
    return low
