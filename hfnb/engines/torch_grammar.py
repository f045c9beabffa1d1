"""Constrained decoding: which tokens a grammar lets a row choose next, with xgrammar.

xgrammar (Dong et al. 2024, arXiv:2411.15100) turns a JSON schema, a regular expression, an EBNF or
a structural tag into an automaton over the model's tokens, and says as a bitmask which of them may
follow. A tokenizer is read once, a grammar is compiled once for it.

Text is UTF-8 but for one thing: where any character may stand, a model that writes single bytes can
write half a surrogate pair, which decodes to replacement characters.

Special tokens are no text and are never chosen: xgrammar alone would write ``<s>`` into a string.
Only those that a structural tag names may come, and the tokens that end a row come exactly where
the grammar may end.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from hfnb.engines.grammar_schema import (
    need_xgrammar,
    reason_of,
    safe_schema,
    safe_tag,
)
from hfnb.engines.grammar_text import grammar_text
from hfnb.engines.torch_model import TorchModel
from hfnb.errors import EngineError, ModelError, OptionError
from hfnb.spec import Grammar

_NAMES = {
    "json_schema": "JSON schema",
    "regex": "regular expression",
    "ebnf": "EBNF grammar",
    "structural_tag": "structural tag",
}
_CACHED_GRAMMARS = 32
_CACHED_COMPILERS = 4
_SAMPLE = 'The answer is {"a": [1, 2.5], "b": "x y"}; e-mail me.\n'
_SAMPLE_TOKENS = 128
_WIDE = 4096
"""From this width of logits on, rows with few allowed tokens are masked by those tokens."""
Made = TypeVar("Made")


class CompiledGrammar:
    """A grammar over one model's tokens; make one with `compile_grammar`.

    Attributes:
        unenforced: Keywords of the JSON schema that xgrammar does not hold the text to, sorted.
            The text is JSON of the right structure, and may break these: validate it where that
            matters.
        width: The number of tokens that the bitmask covers.
    """

    def __init__(
        self, compiled: Any, *, width: int, eos_ids: Iterable[int], unenforced: tuple[str, ...] = ()
    ) -> None:
        self._compiled = compiled
        self._stop_mask = _bits(eos_ids, width)
        self._threads: Any = None
        self.width = width
        self.unenforced = unenforced

    def matcher(self) -> RowGrammar:
        """Return the state of a new row, at the grammar's beginning."""
        import xgrammar

        if self._threads is None:
            threads = max(1, torch.get_num_threads())
            self._threads = xgrammar.BatchGrammarMatcher(max_threads=threads)
        matcher = xgrammar.GrammarMatcher(self._compiled)
        return RowGrammar(matcher, self._stop_mask, self.width, self._threads)


class RowGrammar:
    """Where one row stands in its grammar.

    Attributes:
        problem: Why the row can't go on: no token of the vocabulary may follow, or a token was
            accepted that may not. ``None`` while all is well. `mask_logits` leaves the logits of
            such a row as they are, so look here before a token is chosen.
        width: The number of tokens that the bitmask covers.
    """

    def __init__(self, matcher: Any, stop_mask: torch.Tensor, width: int, threads: Any) -> None:
        self._matcher = matcher
        self._stop_mask = stop_mask
        self._threads = threads
        self._mask: torch.Tensor | None = None
        self.width = width
        self.problem: EngineError | None = None

    def mask(self) -> torch.Tensor:
        """Return which tokens may follow.

        Returns:
            Bit ``t % 32`` of word ``t // 32`` is 1 where token ``t`` may follow; int32,
            [ceil(width / 32)], on the CPU.
        """
        if self._mask is None:
            fill_masks([self])
        assert self._mask is not None
        return self._mask

    def accept(self, token: int) -> None:
        """Go on after a chosen token; the tokens that end a row count too.

        A token that may not follow sets `problem` and changes nothing else.
        """
        if self.problem is None and not self._matcher.accept_token(token):
            self.problem = EngineError(
                f"Token {token} may not follow here: other options, such as suppress_tokens or "
                "bad_words_ids, have left none of the tokens that the grammar allows."
            )
        self._mask = None

    def reset(self) -> None:
        """Go back to the grammar's beginning."""
        self._matcher.reset()
        self._mask = None
        self.problem = None

    @property
    def complete(self) -> bool:
        """Whether the text so far is all that the grammar asks for; more may be allowed."""
        return bool(self._matcher.is_completed() or self._matcher.is_terminated())

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may follow: the row needs no further forward pass."""
        return self.complete and torch.equal(self.mask(), self._stop_mask)


def compile_grammar(
    loaded: TorchModel, grammar: Grammar, eos_ids: Iterable[int]
) -> CompiledGrammar:
    """Return a grammar over a model's tokens; the same arguments give the same object again.

    JSON is written as by ``json.dumps``, in one line, with one space after a colon and a comma;
    in a structural tag there may be at most one white space between its parts. Otherwise a random
    or undecided model could write spaces for ever.

    Args:
        loaded: The model; its tokenizer and the width of its logits count.
        grammar: What new text must be.
        eos_ids: The tokens that end a row. They are never text, and may be none.

    Raises:
        MissingExtraError: xgrammar is not installed.
        ModelError: xgrammar can't read the model's tokenizer.
        OptionError: The grammar can't be compiled, or this vocabulary can't even begin it.
    """
    need_xgrammar()
    eos = tuple(sorted(set(eos_ids)))
    with _LOCK:
        grammars = _GRAMMARS.setdefault(loaded.tokenizer, _Grammars())
        return grammars.get(loaded, grammar, eos)


def fill_masks(rows: Sequence[RowGrammar | None]) -> None:
    """Compute the masks of rows that have gone on, on all threads.

    `mask_logits` does it too; call it before where `RowGrammar.finished` is asked row by row.
    """
    stale = [row for row in rows if row is not None and row._mask is None]
    going = []
    for row in stale:
        if row._matcher.is_terminated():
            row._mask = row._stop_mask
        else:
            going.append(row)
    if not going:
        return
    masks = torch.zeros((len(going), len(going[0]._stop_mask)), dtype=torch.int32)
    going[0]._threads.batch_fill_next_token_bitmask([row._matcher for row in going], masks)
    some = masks.any(dim=1).tolist()
    for row, mask, any_token in zip(going, masks, some, strict=True):
        row._mask = mask
        if not any_token and row.problem is None and not row.complete:
            row.problem = EngineError(
                "The grammar can't go on: no token of the model's vocabulary may follow. Use "
                "another grammar, or a model whose vocabulary has the characters it asks for."
            )


def mask_logits(logits: torch.Tensor, rows: Sequence[RowGrammar | None]) -> torch.Tensor:
    """Set the logits of the tokens that may not follow to minus infinity, in place.

    It comes after the processors of the other options, which could bring a token back, and before
    the sampling warpers. A row that can't go on keeps its logits and has a `RowGrammar.problem`.

    Args:
        logits: [rows, vocabulary], float32, bfloat16 or float16, on any device. The vocabulary
            may be wider than the tokenizer's: those tokens are no text and may not follow.
        rows: Where each row stands, all of them in grammars of one model; ``None`` for a row
            without a grammar.

    Returns:
        ``logits``.
    """
    fill_masks(rows)
    held = [(i, row) for i, row in enumerate(rows) if row is not None and row.problem is None]
    if not held:
        return logits
    width = min(held[0][1].width, logits.shape[-1])
    indices = [i for i, _ in held]
    masks = torch.full((len(rows), len(held[0][1].mask())), -1, dtype=torch.int32)
    masks[indices] = torch.stack([row.mask() for _, row in held])
    if logits.device.type == "cpu":
        _mask_on_cpu(logits, masks, indices, width)
    else:
        logits[:, :width].masked_fill_(~unpack(masks.to(logits.device), width), -torch.inf)
    if width < logits.shape[-1]:
        logits[indices, width:] = -torch.inf
    return logits


def _mask_on_cpu(logits: torch.Tensor, masks: torch.Tensor, indices: list[int], width: int) -> None:
    """Mask rows in place; xgrammar's kernel is slow where most tokens are out."""
    import xgrammar

    many = indices
    if width >= _WIDE:
        words = masks.count_nonzero(dim=1).tolist()
        many = [i for i in indices if words[i] * 8 > masks.shape[1]]
        for i in sorted(set(indices) - set(many)):
            near = masks[i].nonzero().squeeze(-1)
            tokens = (near.unsqueeze(-1) * 32 + torch.arange(32)).flatten()
            tokens = tokens[unpack(masks[i, near].unsqueeze(0), 32 * len(near))[0]]
            tokens = tokens[tokens < width]
            kept = logits[i, tokens]
            logits[i] = -torch.inf
            logits[i, tokens] = kept
    if many:
        every = len(many) == len(logits)
        xgrammar.apply_token_bitmask_inplace(
            logits, masks, vocab_size=width, indices=None if every else many
        )


def unpack(masks: torch.Tensor, width: int) -> torch.Tensor:
    """Return bitmasks, [rows, words] of int32, as booleans, [rows, width], on the same device."""
    shifts = torch.arange(32, dtype=torch.int32, device=masks.device)
    bits = masks.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and_(1)
    return bits.flatten(-2)[:, :width].bool()


class _Grammars:
    """The grammars compiled for one tokenizer, and their compilers; the latest stay."""

    def __init__(self) -> None:
        self._compilers: OrderedDict[Any, Any] = OrderedDict()
        self._compiled: OrderedDict[Any, CompiledGrammar] = OrderedDict()

    def get(self, loaded: TorchModel, grammar: Grammar, eos: tuple[int, ...]) -> CompiledGrammar:
        width = _logits_width(loaded)
        reading = (width, len(loaded.tokenizer), eos, _named_special(loaded.tokenizer, grammar))

        def compile_it() -> CompiledGrammar:
            compiler = _cached(
                self._compilers,
                reading,
                lambda: _compiler(loaded, width, eos, reading[3]),
                _CACHED_COMPILERS,
            )
            return _compile(compiler, grammar, width, eos)

        return _cached(self._compiled, (reading, grammar), compile_it, _CACHED_GRAMMARS)


_GRAMMARS: weakref.WeakKeyDictionary[Any, _Grammars] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def _cached(cache: OrderedDict[Any, Made], key: Any, make: Callable[[], Made], most: int) -> Made:
    """Return what the cache has for a key, or make it; the least recently used goes."""
    if key not in cache:
        cache[key] = make()
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
    return cache[key]


def _logits_width(loaded: TorchModel) -> int:
    """Return the number of tokens that the model gives logits for."""
    model = loaded.in_memory()
    # A model of optimum has none, and its config says how many there are.
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    weight = getattr(head, "weight", None)
    if weight is not None and weight.dim() == 2:  # a quantised one may be packed in one dimension
        return int(weight.shape[0])
    return int(loaded.model.config.get_text_config().vocab_size)


def _special_ids(tokenizer: Any) -> set[int]:
    """Return the tokens that are no text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(i for i, each in added.items() if each.special)}


def _named_special(tokenizer: Any, grammar: Grammar) -> frozenset[int]:
    """Return the special tokens that a structural tag names, as the ends of a tool call may be."""
    if grammar.kind != "structural_tag":
        return frozenset()
    try:
        named = list(_leaves(json.loads(grammar.text)))
    except ValueError:
        return frozenset()  # compiling says what is wrong
    ids = sorted(_special_ids(tokenizer))
    texts = tokenizer.convert_ids_to_tokens(ids)
    return frozenset(
        i
        for i, text in zip(ids, texts, strict=True)
        if i in named or any(isinstance(each, str) and text in each for each in named)
    )


def _leaves(value: Any) -> Iterator[str | int]:
    """Yield the strings of a structural tag, and its numbers but those that are limits."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            if name != "json_schema" and not name.startswith(("max", "min")):
                yield from _leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each)


def _compiler(loaded: TorchModel, width: int, eos: tuple[int, ...], named: frozenset[int]) -> Any:
    """Read the tokenizer: what bytes each of the model's tokens stands for."""
    import xgrammar

    tokenizer = loaded.tokenizer
    try:
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=width, stop_token_ids=list(eos) or [0]
        )
        tokens = _as_decoded(tokenizer, info.decoded_vocab)
    except Exception as error:  # from its C++ too, which raises whatever it likes
        raise ModelError(
            f"xgrammar can't read the tokenizer of {loaded.name!r} ({type(tokenizer).__name__}), "
            f"so that nothing can hold the model to a grammar: {reason_of(error)}"
        ) from error
    # Tokens of no bytes are special to xgrammar: they are never allowed, unless they end the row.
    for token in (_special_ids(tokenizer) - named) | set(eos):
        if token < width:
            tokens[token] = b""
    return xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo(
            tokens,
            xgrammar.VocabType.RAW,
            vocab_size=width,
            stop_token_ids=[token for token in eos if token < width],
            add_prefix_space=info.add_prefix_space,
        ),
        max_threads=max(1, torch.get_num_threads()),
        cache_enabled=False,  # ours knows of the changes that are made to grammars
    )


def _as_decoded(tokenizer: Any, tokens: list[bytes]) -> list[bytes]:
    """Return the tokens' bytes such that together they are what the tokenizer decodes.

    xgrammar takes sentencepiece's mark for a space as it stands where the vocabulary has no bytes
    to fall back on, as T5's has none.
    """
    special = _special_ids(tokenizer)
    spaced = [token.replace("\u2581".encode(), b" ") for token in tokens]
    text = [i for i, token in enumerate(spaced) if i not in special and _is_text(token)]
    ids = tokenizer.encode(_SAMPLE, add_special_tokens=False) + text[:_SAMPLE_TOKENS]
    ids = [i for i in ids if i not in special and i < len(tokens)]
    wanted = tokenizer.decode(ids, clean_up_tokenization_spaces=False).lstrip(" ")
    for reading in (tokens, spaced):
        if b"".join(reading[i] for i in ids).decode("utf-8", "replace").lstrip(" ") == wanted:
            return reading
    raise ValueError("its tokens are not the pieces of the text that it decodes them to")


def _is_text(token: bytes) -> bool:
    try:
        return token.decode("utf-8").isprintable() and token != b""
    except UnicodeDecodeError:
        return False


def _compile(compiler: Any, grammar: Grammar, width: int, eos: tuple[int, ...]) -> CompiledGrammar:
    """Compile a grammar, and look whether it can begin."""
    name = _NAMES[grammar.kind]
    unenforced: set[str] = set()
    try:
        if grammar.kind == "json_schema":
            schema = safe_schema(json.loads(grammar.text), unenforced)
            rules = _rules_of(grammar)
            if rules is not None:
                compiled = compiler.compile_grammar(rules)
            else:
                compiled = compiler.compile_json_schema(
                    json.dumps(schema), any_whitespace=False, strict_mode=True
                )
        elif grammar.kind == "regex":
            compiled = compiler.compile_regex(grammar.text)
        elif grammar.kind == "ebnf":
            compiled = compiler.compile_grammar(grammar.text)
        else:
            tag = safe_tag(json.loads(grammar.text), unenforced)
            compiled = compiler.compile_structural_tag(json.dumps(tag))
    except (RuntimeError, ValueError, TypeError, RecursionError) as error:
        raise OptionError(
            f"The {name} {_shortened(grammar.text)} can't be compiled: {reason_of(error)}"
        ) from error
    made = CompiledGrammar(compiled, width=width, eos_ids=eos, unenforced=tuple(sorted(unenforced)))
    row = made.matcher()
    row.mask()
    if row.problem is not None:
        raise OptionError(
            f"The {name} {_shortened(grammar.text)} can't be followed: no token of the model's "
            "vocabulary can begin it. The grammar never ends, or the vocabulary lacks a character "
            "that it begins with, as T5's lacks braces."
        )
    return made


def _rules_of(grammar: Grammar) -> str | None:
    """Return a JSON schema as rules; ``None`` where a pattern is not to be had as such."""
    try:
        return grammar_text(grammar)
    except OptionError:
        return None


def _bits(tokens: Iterable[int], width: int) -> torch.Tensor:
    """Return a bitmask in which these tokens are set: int32, [ceil(width / 32)]."""
    words = [0] * -(-width // 32)
    for token in tokens:
        if token < width:
            words[token // 32] |= 1 << token % 32
    return torch.tensor([w - (1 << 32) if w >> 31 else w for w in words], dtype=torch.int32)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
