"""A small tokenizer of every kind that models use, and chat templates of every kind."""

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

TEXT = "once upon a time there was a king who had a daughter and she lived in the wood by the river"
WORDS = ["once", "upon", "a", "time", "there", "was", "king", "who", "had", "daughter", "and", "the", "in", "wood"]


def byte_level(size: int = 320, normalizer=None) -> PreTrainedTokenizerFast:
    """GPT-2's, Llama 3's and SmolLM's kind, without a BOS token in front."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    t.train_from_iterator([TEXT] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>", extra_special_tokens=special[2:])


def normalized() -> PreTrainedTokenizerFast:
    """Qwen's kind, and added tokens that are looked for in the normalised text: also a full-width spelling names them."""
    tokenizer = byte_level(normalizer=normalizers.NFKC())
    tokenizer.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("daughterly", normalized=True), "  "])
    return tokenizer


def llama() -> PreTrainedTokenizerFast:
    """Llama 2's, Mistral's and Phi-3's kind: the space in front of a word belongs to its token; bytes stand in for unknown characters."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocab, merges = {name: i for i, name in enumerate(names)}, []
    for word in WORDS:
        whole = "▁"
        for letter in word:
            merges += [(whole, letter)] if (whole, letter) not in merges else []
            whole += letter
            vocab.setdefault(whole, len(vocab))
    return LlamaTokenizer(vocab=vocab, merges=merges, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def unigram() -> PreTrainedTokenizerFast:
    """Its model knows the names of special tokens as pieces of text, and likes them best."""
    pieces = [(piece, -3.0) for piece in ("▁", *"abcdefghijklmnopqrstuvwxyz<>/|_[]")] + [("▁" + word, -1.0) for word in WORDS]
    t = Tokenizer(models.Unigram([("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *pieces], unk_id=0))
    t.pre_tokenizer, t.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


KINDS = {"byte-level": byte_level, "normalized": normalized, "llama": llama, "unigram": unigram}

TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
    "llama 2": "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] | trim }} [/INST]{% endfor %}",
    "phi 3": "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}</s>\n{% endfor %}<|assistant|>\n",
    "bare": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    "brackets": "{% for m in messages %}<{{ m['content'] }}>{% endfor %}</s>",
    "twice": "{% for m in messages %}{{ m['content'] }}\n(once more: {{ m['content'] }}){% endfor %}</s>",
    "json": "{% for m in messages %}{{ m | tojson }}{% endfor %}</s>",
    "switch": "{% for m in messages %}{{ m['content'] }}</s>{% if '/no_think' in m['content'] %}<s></s>{% endif %}{% endfor %}",
    "thoughts": "{% for m in messages %}{{ m['content'].split('</s>')[-1].lstrip('\\n') }}<s>{% endfor %}",
}
