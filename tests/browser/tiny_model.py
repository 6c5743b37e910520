"""A random Llama of 8 layers that writes printable ASCII, with an exit layer, in a folder that `load_engine` reads."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.model.load import load_target

END, NEWLINE, SPACE = "<|endoftext|>", "Ċ", "Ġ"  # the last two as byte-level tokenizers spell them


def save(folder: Path) -> None:
    symbols = [END, NEWLINE, SPACE, *map(chr, range(33, 127))]
    tokenizer = Tokenizer(models.BPE({symbol: id for id, symbol in enumerate(symbols)}, [], unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(symbols), hidden_size=64, intermediate_size=128, num_hidden_layers=8, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=4096, bos_token_id=None, eos_token_id=0, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=0)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # likelier and less likely tokens, as in a text
        model.lm_head.weight[0] = 0
    model.save_pretrained(folder)
    target = load_target(folder, "cpu", "float32")
    ExitLayer(target, 1).save(folder, target, {})
