"""Tiny encoder-decoders with the tokenizers of the real ones: BART, Marian, mBART-50, M2M100, NLLB.

Each folder holds the files that the real model's does on the Hub, and so becomes the same class of
tokenizer: Marian's two sentencepiece models, mBART-50's one, M2M100's one beside a vocab.json, the
others' a tokenizer.json. The weights are made by `tests.tiny_models.build_tiny_model`.
"""

from __future__ import annotations

import io
import json
import string
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.tiny_models import HEADS, LAYERS, MAX_POSITIONS, TEXT, WIDTH, train_byte_level

# All that the tests write, so that no character is unknown.
CHARACTERS = " ".join(f"0123456789€?!.,:;()-'{string.ascii_letters}")
NLLB_CODES = (
    *("ace_Arab", "ace_Latn", "deu_Latn", "eng_Latn", "fra_Latn", "ron_Latn", "spa_Latn"),
    *("zho_Hans", "zho_Hant"),
)
TARGETS = (">>deu<<", ">>fra<<", ">>fry<<")
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
FRAME = {**SPECIAL, "sep_token": "</s>", "cls_token": "<s>", "mask_token": "<mask>"}


@dataclass(frozen=True)
class Seq2SeqRecipe:
    """How one encoder-decoder is made: its classes, its tokenizer's files, its settings."""

    model_class: str
    config_class: str
    write_tokenizer: Callable[[Path], None]
    start: str = "</s>"
    """The token that the decoder starts with."""
    generation: Callable[[Any], dict[str, Any]] = lambda tokenizer: {}
    """Further settings of the generation config."""
    stds: dict[str, float] = field(default_factory=dict)


def _write(folder: Path, **files: Any) -> None:
    for name, content in files.items():
        text = json.dumps(content, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


@cache
def _train(text: str, kind: str) -> bytes:
    """Return a sentencepiece model of a text."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*text.splitlines(), CHARACTERS] * 3),
        model_writer=model,
        model_type=kind,
        vocab_size=400,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _pieces(model: bytes) -> list[str]:
    """Return a sentencepiece model's pieces after <unk>, <s> and </s>."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(i) for i in range(3, processor.get_piece_size())]


def _bart(folder: Path) -> None:
    from transformers import BartTokenizer

    trained = json.loads(train_byte_level(("<s>", "<pad>", "</s>", "<unk>", "<mask>")))["model"]
    tokenizer = BartTokenizer(
        vocab=trained["vocab"],
        merges=[tuple(each) for each in trained["merges"]],
        model_max_length=MAX_POSITIONS,
    )
    tokenizer.save_pretrained(folder)


def _marian(source: str, target: str, codes: tuple[str, ...]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        models = _train(TEXT, "unigram"), _train(TEXT.swapcase() + TEXT, "unigram")
        for name, model in zip(("source.spm", "target.spm"), models, strict=True):
            (folder / name).write_bytes(model)
        pieces = dict.fromkeys((*_pieces(models[0]), *_pieces(models[1])))
        tokens = ["</s>", "<unk>", *pieces, *codes, "<pad>"]
        _write(
            folder,
            vocab={token: i for i, token in enumerate(tokens)},
            tokenizer_config={
                "tokenizer_class": "MarianTokenizer",
                "source_lang": source,
                "target_lang": target,
                "model_max_length": MAX_POSITIONS,
            },
        )

    return write


def _mbart50(folder: Path) -> None:
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES

    (folder / "sentencepiece.bpe.model").write_bytes(_train(TEXT, "unigram"))
    _write(
        folder,
        tokenizer_config={
            **FRAME,
            "tokenizer_class": "MBart50Tokenizer",
            "additional_special_tokens": list(FAIRSEQ_LANGUAGE_CODES),
            "model_max_length": MAX_POSITIONS,
        },
    )


def _mbart(folder: Path) -> None:
    from transformers import MBartTokenizer
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

    tokens = ["<s>", "<pad>", "</s>", "<unk>", *_pieces(_train(TEXT, "unigram"))]
    vocabulary = [(token, -float(i > 3) * (1 + i / 100)) for i, token in enumerate(tokens)]
    special = [(token, 0.0) for token in (*FAIRSEQ_LANGUAGE_CODES, "<mask>")]
    tokenizer = MBartTokenizer(vocab=vocabulary + special, model_max_length=MAX_POSITIONS)
    tokenizer.save_pretrained(folder)


def _m2m100(folder: Path) -> None:
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    model = _train(TEXT, "bpe")
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *_pieces(model)]
    _write(
        folder,
        vocab={token: i for i, token in enumerate(tokens)},
        tokenizer_config={
            **SPECIAL,
            "tokenizer_class": "M2M100Tokenizer",
            "additional_special_tokens": [f"__{e}__" for e in FAIRSEQ_LANGUAGE_CODES["m2m100"]],
            "model_max_length": MAX_POSITIONS,
        },
    )


def _nllb(folder: Path) -> None:
    from transformers import NllbTokenizer
    from transformers.tokenization_utils_base import generate_merges

    tokens = ["<s>", "<pad>", "</s>", "<unk>", *_pieces(_train(TEXT, "bpe"))]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = NllbTokenizer(
        vocab=vocabulary,
        merges=generate_merges(vocabulary),
        extra_special_tokens=list(NLLB_CODES),
        model_max_length=MAX_POSITIONS,
    )
    tokenizer.save_pretrained(folder)


def _marian_settings(tokenizer: Any) -> dict[str, Any]:
    return {"bad_words_ids": [[tokenizer.pad_token_id]], "forced_eos_token_id": 0}


def _bart_settings(tokenizer: Any) -> dict[str, Any]:
    ids = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
    return {f"forced_{name}_token_id": index for name, index in ids.items()}


# With equal weights they repeat one token. Attention still says enough for answers to differ.
NORM_LAST = {"_attn": 0.1, "fc": 0.1, "positions": 2.0, "embed_tokens": 1.0, "shared": 1.0}
NORM_FIRST = {"encoder_attn": 0.2, "self_attn": 0.3, "fc": 0.1, "embed_tokens": 1.5, "shared": 1.5}
RECIPES = {
    "bart": Seq2SeqRecipe(
        "BartForConditionalGeneration",
        "BartConfig",
        _bart,
        generation=_bart_settings,
        stds=NORM_LAST,
    ),
    "marian": Seq2SeqRecipe(
        "MarianMTModel",
        "MarianConfig",
        _marian("en", "fr", ()),
        start="<pad>",
        generation=_marian_settings,
        stds=NORM_LAST,
    ),
    "marian_many": Seq2SeqRecipe(
        "MarianMTModel",
        "MarianConfig",
        _marian("eng", "gmw", TARGETS),
        start="<pad>",
        generation=_marian_settings,
        stds=NORM_LAST,
    ),
    "mbart": Seq2SeqRecipe("MBartForConditionalGeneration", "MBartConfig", _mbart),
    "mbart50": Seq2SeqRecipe("MBartForConditionalGeneration", "MBartConfig", _mbart50),
    "m2m100": Seq2SeqRecipe(
        "M2M100ForConditionalGeneration", "M2M100Config", _m2m100, stds=NORM_FIRST
    ),
    "nllb": Seq2SeqRecipe("M2M100ForConditionalGeneration", "M2M100Config", _nllb, stds=NORM_FIRST),
}


def tokenizer_and_config(name: str, folder: Path) -> tuple[Any, Any]:
    """Write a tokenizer's files; return what `AutoTokenizer` makes of them, and a config."""
    import transformers
    from transformers import AutoTokenizer

    recipe = RECIPES[name]
    make = getattr(transformers, recipe.config_class)
    folder.mkdir(parents=True)
    make().save_pretrained(folder)  # AutoTokenizer looks at the model's type
    recipe.write_tokenizer(folder)
    with warnings.catch_warnings():
        # Marian's recommends sacremoses, for a method that nobody calls.
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    config = make(
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=2 * WIDTH,
        decoder_ffn_dim=2 * WIDTH,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=False,
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids(recipe.start),
    )
    return tokenizer, config
