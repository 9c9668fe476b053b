"""Lets the reference implementation load what Concordat exports, and compares scores with those of the test vectors.

    cargo test -p concordat-train --test exports
    python scripts/check-hf-exports.py train/tests/vectors/hf target/tmp/hf
"""

import sys
from pathlib import Path

import torch
import transformers as hf
from peft import PeftModel
from safetensors.torch import load_file

KINDS = {
    "bert-classify": hf.BertForSequenceClassification,
    "bert-tag": hf.BertForTokenClassification,
    "bert-masked": hf.BertForMaskedLM,
    "gpt2": hf.GPT2LMHeadModel,
    "llama": hf.LlamaForCausalLM,
    "llama-stretched": hf.LlamaForCausalLM,
    "qwen2": hf.Qwen2ForCausalLM,
    "t5": hf.T5ForConditionalGeneration,
    "t5-gated": hf.T5ForConditionalGeneration,
    "bart": hf.BartForConditionalGeneration,
}


def farthest(model, expected):
    off = 0.0
    for i in range(2):
        inputs = dict(input_ids=expected[f"tokens.{i}"][None])
        if model.config.is_encoder_decoder:
            labels = torch.cat([expected[f"labels.{i}"], torch.tensor([model.config.eos_token_id])])
            inputs["labels"] = labels[None]
        scores = model(**inputs).logits.reshape(expected[f"logits.{i}"].shape)
        off = max(off, (scores - expected[f"logits.{i}"]).abs().max().item())
    return off


def main():
    vectors, exports = map(Path, sys.argv[1:3])
    worst = 0.0
    for name in [*KINDS, "llama-lora"]:
        if name == "llama-lora":
            model = PeftModel.from_pretrained(hf.LlamaForCausalLM.from_pretrained(exports / "llama"), exports / name)
        else:
            model = KINDS[name].from_pretrained(exports / name)
        off = farthest(model.eval(), load_file(vectors / name / "expected.safetensors"))
        print(f"{name}: scores off by {off:.2e}")
        worst = max(worst, off)
    sys.exit(worst > 1e-4)


main()
