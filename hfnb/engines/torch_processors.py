"""transformers' own logits processors for one row: the rarer generation options.

A row is processed alone, so that its prompt's length and its tokens are its own and no padding
counts. Conditions and order are those of ``GenerationMixin._get_logits_processor`` in transformers
5.5 (src/transformers/generation/utils.py), and a test compares the tokens with ``generate``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers import (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    ExponentialDecayLengthPenalty,
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    InfNanRemoveLogitsProcessor,
    LogitNormalization,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from hfnb.errors import OptionError

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "sequence_bias": ([], {}),
    "encoder_repetition_penalty": (1.0,),
    "repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "remove_invalid_values": (False,),
    "exponential_decay_length_penalty": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "renormalize_logits": (False,),
}
"""The options that are covered, and the values, beside ``None``, with which each does nothing."""
_ABOUT_EOS = ("min_length", "min_new_tokens", "exponential_decay_length_penalty")
"""Options that say when a row ends; they do nothing where no token ends one."""

ROW_PROCESSOR_OPTIONS = frozenset(_NEUTRAL)
"""The options that `processors_for` and `renormalizer` cover."""


def thaw(value: Any) -> Any:
    """Undo `hfnb.options.freeze`: tuples become lists again, but those that are keys."""
    if isinstance(value, (list, tuple)):
        return [thaw(each) for each in value]
    if isinstance(value, dict):
        return {name: thaw(each) for name, each in value.items()}
    return value


def has_effect(name: str, value: Any) -> bool:
    """Whether an option of `ROW_PROCESSOR_OPTIONS` does anything with this value."""
    return value is not None and thaw(value) not in _NEUTRAL[name]


def processors_for(
    options: dict[str, Any],
    *,
    eos_ids: Iterable[int],
    encoder_ids: Sequence[int],
    prompt_length: int,
    most_new: int,
    device: torch.device | str,
) -> LogitsProcessorList:
    """Return the processors of one row, in transformers' order.

    Call them with ``input_ids`` shaped [1, length], the row's own tokens as int64, and ``scores``
    shaped [1, vocabulary], float32 as ``generate`` has them. They return new scores and leave the
    given ones as they are. Their place is before the sampling warpers.

    A decoder's ``input_ids`` are its prompt and its new tokens; an encoder-decoder's are
    ``decoder_start_token_id`` and its new tokens, so that its ``prompt_length`` is 1.

    Args:
        options: The generation options in force; those not in `ROW_PROCESSOR_OPTIONS` are ignored.
        eos_ids: The tokens that end a row.
        encoder_ids: What ``generate`` gets as ``input_ids``: a decoder's prompt, or the text that
            an encoder-decoder's encoder reads. The two ``encoder_...`` options look at it.
        prompt_length: The tokens that ``input_ids`` begins with before the first new one.
        most_new: The most new tokens that this row may have.
        device: Where ``scores`` will be.

    Returns:
        The processors; empty where all options are neutral.

    Raises:
        OptionError: An option has a value of a shape that transformers can't use.
    """
    eos = sorted(eos_ids)
    told = {
        name: thaw(options[name])
        for name in ROW_PROCESSOR_OPTIONS
        if name in options and has_effect(name, options[name])
    }
    if options.get("min_new_tokens") is not None:
        told.pop("min_length", None)  # ``generate`` puts the one in the other's place
    if not eos:
        told = {name: value for name, value in told.items() if name not in _ABOUT_EOS}
    # transformers' annotations are narrower than what it takes: str for a device, for instance.
    place: Any = device
    source: Any = torch.tensor([list(encoder_ids)], dtype=torch.long, device=device)
    begin = prompt_length
    if prompt_length == 1 and told.get("forced_bos_token_id") is not None:
        begin += 1  # the first new token is forced: the second is the first that is chosen

    makers: dict[str, Callable[[Any], Any]] = {
        "sequence_bias": lambda value: SequenceBiasLogitsProcessor(_biases(value)),
        "encoder_repetition_penalty": lambda value: EncoderRepetitionPenaltyLogitsProcessor(
            float(value), source
        ),
        "repetition_penalty": lambda value: RepetitionPenaltyLogitsProcessor(float(value)),
        "no_repeat_ngram_size": NoRepeatNGramLogitsProcessor,
        "encoder_no_repeat_ngram_size": lambda value: EncoderNoRepeatNGramLogitsProcessor(
            value, source
        ),
        "bad_words_ids": lambda value: NoBadWordsLogitsProcessor(value, eos),
        "min_length": lambda value: MinLengthLogitsProcessor(value, eos, device=place),
        "min_new_tokens": lambda value: MinNewTokensLengthLogitsProcessor(
            prompt_length, value, eos, device=place
        ),
        "forced_bos_token_id": ForcedBOSTokenLogitsProcessor,
        "forced_eos_token_id": lambda value: ForcedEOSTokenLogitsProcessor(
            prompt_length + most_new, value, device=place
        ),
        "remove_invalid_values": lambda value: InfNanRemoveLogitsProcessor(),
        "exponential_decay_length_penalty": lambda value: _decay(value, eos, prompt_length),
        "suppress_tokens": lambda value: SuppressTokensLogitsProcessor(value, device=place),
        "begin_suppress_tokens": lambda value: SuppressTokensAtBeginLogitsProcessor(
            value, begin, device=place
        ),
    }
    chosen = LogitsProcessorList()
    for name, make in makers.items():
        if name in told:
            try:
                chosen.append(make(told[name]))
            except (ValueError, TypeError, IndexError) as error:
                raise OptionError(f"{name}={told[name]!r} can't be used: {error}") from error
    return chosen


def renormalizer(options: dict[str, Any]) -> LogitNormalization | None:
    """Return the processor of ``renormalize_logits``, or ``None`` where it is off.

    It comes after everything else, the sampling warpers too, and turns scores shaped
    [rows, vocabulary] into logarithms of probabilities. No choice of a token depends on it.
    """
    return LogitNormalization() if options.get("renormalize_logits") is True else None


def _biases(value: Any) -> Any:
    """Return a dictionary of biases by tokens, from one or from pairs of tokens and bias."""
    pairs = value.items() if isinstance(value, dict) else value
    return {tuple(tokens): float(bias) for tokens, bias in pairs}


def _decay(value: Any, eos: list[int], prompt_length: int) -> ExponentialDecayLengthPenalty:
    start, factor = value
    return ExponentialDecayLengthPenalty((int(start), float(factor)), eos, prompt_length)
