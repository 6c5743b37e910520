"""Tiny random models in float32, and a tokenizer of bytes."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

EXIT_AFTER = 2


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and an end-of-text token that is only written by the model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<|endoftext|>": 0} | {letter: i + 1 for i, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, clean_up_tokenization_spaces=False)


def tiny_model(seed: int, deep: float = 1.0) -> LlamaForCausalLM:
    """Four layers. `deep` scales what the layers behind the exit depth add: at 0 the exit layer, their copy, is always right."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=257, hidden_size=64, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=192, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(6.0)  # random models are flat: sharper ones tell positions apart
            if name.endswith(("o_proj.weight", "down_proj.weight")) and int(name.split(".")[2]) >= EXIT_AFTER:
                parameter.mul_(deep)
    model.generation_config = GenerationConfig(eos_token_id=None)
    return model
