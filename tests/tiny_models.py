"""Tiny models of several architectures, on disk as from the Hub: real classes, random weights.

Two layers, 64 wide, float32, about 0.5 MB each. Weights come from a seed, and are large enough that
greedy answers vary: those of a freshly initialised model repeat one token. The tokenizers differ as
the real ones do: gpt2, llama and gpt_neox have no pad token, llama, phi3 and opt put a BOS first,
t5 puts an EOS last, qwen3 and phi3 have a chat template. The encoder-decoders whose tokenizers know
languages are in `tests.tiny_seq2seq`.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

SEED = 7
VOCABULARY = 512  # 256 bytes, some merges, the special tokens
MAX_POSITIONS = 256  # the longest prompt and answer together, in tokens
LAYERS, WIDTH, HEADS = 2, 64, 4

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PHI3_CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

TEXT = """What is the number {i} in french? What is the capital of France? Question: Answer:
one two three four five six seven eight nine ten twenty thirty hundred thousand
un deux trois quatre cinq six sept huit neuf dix vingt trente cent mille soixante-douze
The quick brown fox jumps over the lazy dog, and then it sleeps. Translate English to German:
café été déjà über für schön garçon français — naïve, où, là, vingt-trois, zéro, Größe, Straße
café été déjà über für schön garçon français — naïve, où, là, vingt-trois, zéro, Größe, Straße
Summarize: a notebook runs a small model over the rows of a table and shows what came out of it.
"""


@dataclass(frozen=True)
class Recipe:
    """How one architecture is made: its transformers classes, its configuration, its tokens."""

    model_class: str
    config_class: str
    config: dict[str, Any]
    bos: str | None = None
    eos: str = "</s>"
    pad: str | None = None
    more_tokens: tuple[str, ...] = ()
    adds_bos: bool = False
    adds_eos: bool = False
    chat_template: str | None = None
    tokenizer: dict[str, Any] = field(default_factory=dict)
    # Standard deviations of the weight matrices whose names have this in them; 0.5 of all others.
    stds: dict[str, float] = field(default_factory=dict)


LLAMA_LIKE = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": MAX_POSITIONS,
    "tie_word_embeddings": False,
}

# None ties its embeddings, as some real ones do: a tied random model repeats its last token.
ARCHITECTURES: dict[str, Recipe] = {
    "gpt2": Recipe(
        "GPT2LMHeadModel",
        "GPT2Config",
        {
            "n_embd": WIDTH,
            "n_layer": LAYERS,
            "n_head": HEADS,
            "n_positions": MAX_POSITIONS,
            "tie_word_embeddings": False,
        },
        bos="<|endoftext|>",
        eos="<|endoftext|>",
    ),
    "bloom": Recipe(
        "BloomForCausalLM",
        "BloomConfig",
        {
            "hidden_size": WIDTH,
            "n_layer": LAYERS,
            "n_head": HEADS,
            "seq_length": MAX_POSITIONS,
            "tie_word_embeddings": False,
        },
        bos="<s>",
        pad="<pad>",
        tokenizer={"padding_side": "left"},
        # Its ALiBi says little of where a token stands: with sharper attention it repeats itself.
        stds={"query_key_value": 0.3},
    ),
    "llama": Recipe(
        "LlamaForCausalLM",
        "LlamaConfig",
        {**LLAMA_LIKE, "num_key_value_heads": HEADS},
        bos="<s>",
        adds_bos=True,
    ),
    "qwen3": Recipe(
        "Qwen3ForCausalLM",
        "Qwen3Config",
        {**LLAMA_LIKE, "num_key_value_heads": HEADS // 2, "head_dim": WIDTH // HEADS},
        eos="<|im_end|>",
        pad="<|endoftext|>",
        more_tokens=("<|im_start|>",),
        chat_template=CHATML,
    ),
    "opt": Recipe(
        "OPTForCausalLM",
        "OPTConfig",
        {
            "hidden_size": WIDTH,
            "word_embed_proj_dim": WIDTH,
            "ffn_dim": 2 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": MAX_POSITIONS,
            "tie_word_embeddings": False,
        },
        bos="</s>",
        pad="<pad>",
        adds_bos=True,
    ),
    "gpt_neox": Recipe(
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        LLAMA_LIKE,
        bos="<|endoftext|>",
        eos="<|endoftext|>",
    ),
    "phi3": Recipe(
        "Phi3ForCausalLM",
        "Phi3Config",
        {
            **LLAMA_LIKE,
            "num_key_value_heads": HEADS,
            "original_max_position_embeddings": MAX_POSITIONS,
        },
        bos="<s>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        more_tokens=("<|user|>", "<|system|>", "<|assistant|>", "<|end|>"),
        adds_bos=True,
        chat_template=PHI3_CHAT,
    ),
    "t5": Recipe(
        "T5ForConditionalGeneration",
        "T5Config",
        {
            "d_model": WIDTH,
            "d_kv": WIDTH // HEADS,
            "d_ff": 2 * WIDTH,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "tie_word_embeddings": False,
        },
        pad="<pad>",
        adds_eos=True,
        # T5 adds no positions and scales no attention: with equal weights it repeats itself.
        stds={"q.weight": 0.05, "wo.weight": 0.05, "relative_attention_bias": 4.0},
    ),
}
DECODERS = tuple(name for name in ARCHITECTURES if name != "t5")
SEQ2SEQ = ("t5", "bart", "marian", "marian_many", "mbart", "mbart50", "m2m100", "nllb")
NAMES = (*DECODERS, *SEQ2SEQ)


def build_tiny_model(name: str, folder: Path) -> None:
    """Write the model and the tokenizer of one of `NAMES` into `folder`."""
    import torch
    import transformers

    from tests import tiny_seq2seq

    recipe: Any
    if name in ARCHITECTURES:
        recipe = ARCHITECTURES[name]
        tokenizer = _tokenizer(recipe)
        special: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        if name == "t5":
            special["decoder_start_token_id"] = tokenizer.pad_token_id
        config = getattr(transformers, recipe.config_class)(**recipe.config, **special)
    else:
        recipe = tiny_seq2seq.RECIPES[name]
        tokenizer, config = tiny_seq2seq.tokenizer_and_config(name, folder)

    generator = torch.Generator().manual_seed(SEED)
    with torch.random.fork_rng(devices=[]):
        model = getattr(transformers, recipe.model_class)(config).float().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.dim() > 1:
                std = next((std for part, std in recipe.stds.items() if part in path), 0.5)
                parameter.normal_(0.0, std, generator=generator)
        # A logit of 0 is never the largest of so many: no answer has one of these tokens.
        model.get_output_embeddings().weight[_never_answered(tokenizer)] = 0.0
    if name in tiny_seq2seq.RECIPES:
        model.generation_config.update(**recipe.generation(tokenizer))
    else:
        tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def _never_answered(tokenizer: Any) -> list[int]:
    """Return the tokens that are no text: bytes of broken UTF-8, and special tokens but EOS.

    Without them an answer's decoding does not depend on where it is cut into pieces.
    """

    def is_readable(index: int) -> bool:
        text = tokenizer.decode([index])
        return (text.isprintable() or text == "\n") and "\ufffd" not in text

    special = set(tokenizer.all_special_ids)
    return [
        index
        for index in range(len(tokenizer))
        if index != tokenizer.eos_token_id and (index in special or not is_readable(index))
    ]


def _tokenizer(recipe: Recipe) -> Any:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    # Special tokens come first, in a fixed order, then the bytes and the merges.
    named = (recipe.pad, recipe.bos, recipe.eos, *recipe.more_tokens)
    special = list(dict.fromkeys(token for token in named if token))
    backend = Tokenizer.from_str(train_byte_level(tuple(special)))
    ids = [(token, backend.token_to_id(token)) for token in special]
    byte_level = processors.ByteLevel(trim_offsets=False)
    if recipe.adds_bos or recipe.adds_eos:
        before = f"{recipe.bos} " if recipe.adds_bos else ""
        after = f" {recipe.eos}" if recipe.adds_eos else ""
        template = processors.TemplateProcessing(
            single=f"{before}$A{after}",
            pair=f"{before}$A{after} $B{after}",
            special_tokens=ids,
        )
        backend.post_processor = processors.Sequence([byte_level, template])
    else:
        backend.post_processor = byte_level
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=recipe.bos,
        eos_token=recipe.eos,
        pad_token=recipe.pad,
        extra_special_tokens=list(recipe.more_tokens),
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        **recipe.tokenizer,
    )
    tokenizer.chat_template = recipe.chat_template
    return tokenizer


@cache
def train_byte_level(special: tuple[str, ...]) -> str:
    """Return a byte-level BPE, as JSON; the special tokens come first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    return tokenizer.to_str()
