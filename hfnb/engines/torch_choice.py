"""Labels' probabilities: how likely the model finds each label as the answer, without generating.

The probability of a label is that of its tokens, one after the other, as the model's own
distribution has them; those of all labels are then made to add up to 1. A label counts with and
without a space before it. Where each label is one token, one forward pass over the prompts tells
all; otherwise the labels' first tokens are read in a second one.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutput

from hfnb.engines.base import Completion, Delta
from hfnb.engines.call import Call
from hfnb.engines.memory import MemoryBudget
from hfnb.engines.row import Row
from hfnb.engines.torch_generate import begin_batch, count_batch, in_batches
from hfnb.engines.torch_model import TorchModel
from hfnb.errors import OptionError, PromptTooLongError
from hfnb.spec import GenerationSpec

Tokens = tuple[int, ...]
_MOST_LOGITS = 2**26
"""Logits that are in memory at a time, a quarter of a gigabyte in float32."""
_HARMLESS = frozenset(
    "max_new_tokens max_length truncation src_lang tgt_lang pad_token_id bos_token_id eos_token_id "
    "decoder_start_token_id".split()
)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels, and the tokens that each can be written with."""

    names: tuple[str, ...]
    tokens: tuple[tuple[Tokens, ...], ...]
    """Of each label, its ways to be written."""

    @classmethod
    def of(cls, loaded: TorchModel, generation: GenerationSpec) -> Labels:
        """Read the labels of a call.

        Raises:
            OptionError: The model can't write one of them, or an option asks for another way to
                choose tokens than by the model's own probabilities.
        """
        for name, value in generation.options:
            if name not in _HARMLESS and value not in (None, False, 1, 1.0):
                raise OptionError(
                    f"{name}={value!r} changes how tokens are chosen, and the labels' "
                    "probabilities are the model's own: leave one of them out."
                )
        assert generation.grammar is not None
        names = tuple(json.loads(generation.grammar.text))
        unknown = getattr(loaded.tokenizer, "unk_token_id", None)
        tokens = []
        for name in names:
            written = {tuple(ids) for ids in loaded.tokenise([name, f" {name}"])}
            # Where a tokenizer puts a space before each text, " a" is "a" with a second one.
            plain = {ids for ids in written if not any(_ends(ids, each) for each in written)}
            known = sorted(ids for ids in plain if ids and unknown not in ids)
            if not known:
                raise OptionError(
                    f"The vocabulary of {loaded.name!r} lacks characters of the label {name!r}."
                )
            tokens.append(tuple(known))
        return cls(names, tuple(tokens))

    @functools.cached_property
    def beginnings(self) -> tuple[Tokens, ...]:
        """What is to be read so that the probability of each token of each label is known."""
        before = {ids[:-1] for ways in self.tokens for ids in ways}
        return tuple(
            sorted(
                each
                for each in before
                if not any(other != each and other[: len(each)] == each for other in before)
            )
        )

    @property
    def longest(self) -> int:
        """The most tokens of a label."""
        return 1 + max(map(len, self.beginnings))

    @property
    def passes(self) -> str:
        """How many forward passes it takes, in words."""
        return "one forward pass" if self.longest == 1 else "two forward passes"

    def sums(self, of: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the labels' log probabilities.

        Args:
            of: For each of the beginnings the log probabilities of the tokens after its first 0,
                1, ... tokens: [rows, 1 + its length, vocabulary].

        Returns:
            [rows, labels], float32.
        """
        found = []
        for ways in self.tokens:
            each_way = []
            for ids in ways:
                at = next(i for i, b in enumerate(self.beginnings) if b[: len(ids) - 1] == ids[:-1])
                steps = [of[at][:, step, token] for step, token in enumerate(ids)]
                each_way.append(torch.stack(steps).sum(dim=0))
            found.append(torch.stack(each_way).logsumexp(dim=0))
        return torch.stack(found, dim=-1)


def _ends(ids: Tokens, with_: Tokens) -> bool:
    """Whether tokens are others with something before them."""
    return len(ids) > len(with_) and ids[len(ids) - len(with_) :] == with_


def choose_in_batches(
    labels: Labels,
    loaded: TorchModel,
    call: Call,
    lock: threading.Lock,
    budget: MemoryBudget,
    cached: bool,
) -> Iterator[Completion | Delta]:
    """Yield a completion a row whose text has the labels' probabilities, as JSON.

    Args:
        labels: What is chosen from.
        loaded: The model.
        call: What is asked.
        lock: Held while a batch is computed.
        budget: How much memory rows may take.
        cached: Whether the model's keys and values of the prompts can be used for each label.
    """
    way = _way(loaded, cached)
    several = len(labels.beginnings)
    return in_batches(
        functools.partial(_choose, labels, way),
        loaded,
        call,
        lock,
        budget,
        key=lambda row: None,
        copies=1 if labels.longest == 1 else 1 + several,
    )


def _choose(
    labels: Labels, way: Any, loaded: TorchModel, call: Call, batch: list[Row], budget: MemoryBudget
) -> None:
    """Compute a batch, and hand out its rows."""
    fitting = [row for row in batch if row.most_new >= labels.longest]
    for row in batch:
        if row not in fitting:
            call.finish(row, row.failure(_no_room(row, labels, loaded)))
    if not fitting:
        return
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    longest = max(len(row.prompt_ids) for row in fitting)
    columns = labels.longest if way is not _read_at_once else labels.longest + longest
    most = max(1, _MOST_LOGITS // (len(labels.beginnings) * columns * vocabulary))
    for begin in range(0, len(fitting), most):
        rows = fitting[begin : begin + most]
        ids, mask = begin_batch(loaded, rows, left=loaded.is_decoder)
        with torch.inference_mode(), budget.measured(ids.numel() * len(labels.beginnings)):
            shares = labels.sums(way(labels, loaded, call, rows, ids, mask)).softmax(dim=-1)
        count_batch(call, rows)
        for row, share in zip(rows, shares.tolist(), strict=True):
            call.finish(row, _completion(row, dict(zip(labels.names, share, strict=True))))
        budget.finished(rows, rows)


def _no_room(row: Row, labels: Labels, loaded: TorchModel) -> PromptTooLongError:
    return PromptTooLongError(
        f"The prompt has {len(row.prompt_ids):,} tokens and the longest label {labels.longest}, "
        f"and the model's context holds {loaded.context_length:,}. Shorten the text, or use "
        "shorter labels."
    )


def _completion(row: Row, shares: dict[str, float]) -> Completion:
    return Completion(
        row=row.index,
        text=json.dumps({"probabilities": shares}, ensure_ascii=False),
        finish_reason="eos",
        prompt_tokens=len(row.prompt_ids),
        new_tokens=0,
        queue_s=row.started - row.arrived,
        latency_s=time.perf_counter() - row.started,
        batch_rows=row.batch_rows,
        copy=row.copy,
        truncated_tokens=row.truncated,
    )


# --- ways to read ------------------------------------------------------------------------------


def _way(loaded: TorchModel, cached: bool) -> Any:
    if not loaded.is_decoder:
        return _read_encoder_decoder
    return _read_with_cache if cached else _read_at_once


def _read_with_cache(
    labels: Labels,
    loaded: TorchModel,
    call: Call,
    rows: list[Row],
    ids: torch.Tensor,
    mask: torch.Tensor,
) -> list[torch.Tensor]:
    """Read the prompts once, and the labels' beginnings behind copies of what was read."""
    cache = DynamicCache()
    positions = (mask.cumsum(dim=-1) - 1).clamp_(min=0)
    first = _forward(loaded, call, ids, mask, positions, cache=cache, keep=1)
    several, width = len(labels.beginnings), labels.longest - 1
    if not width:
        return [_log_softmax(first)]
    cache.batch_repeat_interleave(several)
    behind = _beginnings(labels, loaded, len(rows))
    positions = mask.sum(dim=-1, keepdim=True) + torch.arange(width, device=mask.device)
    rest = _forward(
        loaded,
        call,
        behind,
        torch.cat([mask.repeat_interleave(several, dim=0), torch.ones_like(behind)], dim=-1),
        positions.repeat_interleave(several, dim=0),
        cache=cache,
        keep=width,
    )
    both = torch.cat([first.repeat_interleave(several, dim=0), rest], dim=1)
    return _by_beginning(_log_softmax(both), several)


def _read_at_once(
    labels: Labels,
    loaded: TorchModel,
    call: Call,
    rows: list[Row],
    ids: torch.Tensor,
    mask: torch.Tensor,
) -> list[torch.Tensor]:
    """Read each prompt with each of the labels' beginnings behind it."""
    several, width = len(labels.beginnings), labels.longest - 1
    behind = _beginnings(labels, loaded, len(rows))
    whole = torch.cat([ids.repeat_interleave(several, dim=0), behind], dim=-1)
    held_at = torch.cat([mask.repeat_interleave(several, dim=0), torch.ones_like(behind)], dim=-1)
    positions = (held_at.cumsum(dim=-1) - 1).clamp_(min=0)
    logits = _forward(loaded, call, whole, held_at, positions, cache=None, keep=width + 1)
    return _by_beginning(_log_softmax(logits), several)


def _read_encoder_decoder(
    labels: Labels,
    loaded: TorchModel,
    call: Call,
    rows: list[Row],
    ids: torch.Tensor,
    mask: torch.Tensor,
) -> list[torch.Tensor]:
    """Read the texts once, and the labels' beginnings in the decoder."""
    several, model = len(labels.beginnings), loaded.in_memory()
    start = [*rows[0].context_ids]
    forced = call.options.get("forced_bos_token_id")
    start += [] if forced is None else [int(forced)]
    begin = torch.tensor([start], device=ids.device).expand(len(rows) * several, -1)
    behind = torch.cat([begin, _beginnings(labels, loaded, len(rows))], dim=-1)
    repeated = mask.repeat_interleave(several, dim=0)
    source: dict[str, Any]
    if hasattr(model, "parameters"):
        states = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        states = states.repeat_interleave(several, dim=0)
        source = {"encoder_outputs": BaseModelOutput(last_hidden_state=states)}
    else:
        source = {"input_ids": ids.repeat_interleave(several, dim=0)}
    call.work.forwards += 1
    out = model(**source, attention_mask=repeated, decoder_input_ids=behind)
    return _by_beginning(_log_softmax(out.logits[:, len(start) - 1 :]), several)


def _forward(
    loaded: TorchModel,
    call: Call,
    ids: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    *,
    cache: Any,
    keep: int,
) -> torch.Tensor:
    """Return the logits after the last ``keep`` columns, [rows, keep, vocabulary]."""
    options: dict[str, Any] = {}
    if cache is not None:
        options |= {"past_key_values": cache, "use_cache": True}
    if "position_ids" in loaded.forward_options:
        options["position_ids"] = positions
    if "logits_to_keep" in loaded.forward_options:
        options["logits_to_keep"] = keep
    call.work.forwards += 1
    out = loaded.in_memory()(input_ids=ids, attention_mask=mask, **options)
    logits: torch.Tensor = out.logits[:, -keep:]
    return logits


def _beginnings(labels: Labels, loaded: TorchModel, rows: int) -> torch.Tensor:
    """Return the labels' beginnings for each row, padded behind, [rows * beginnings, longest]."""
    width = labels.longest - 1
    made = [[*each, *[loaded.pad_id] * (width - len(each))] for each in labels.beginnings]
    ids = torch.tensor(made, dtype=torch.long, device=loaded.device).reshape(len(made), width)
    return ids.repeat(rows, 1)


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.float().log_softmax(dim=-1)


def _by_beginning(of_all: torch.Tensor, several: int) -> list[torch.Tensor]:
    """Return what belongs to each of the beginnings, by row."""
    return [of_all[at::several] for at in range(several)]
