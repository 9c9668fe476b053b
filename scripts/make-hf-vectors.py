"""Makes train/tests/vectors/hf: tiny random checkpoints of published architectures, with the scores and gradients that the reference
implementation computes for them. Needs the Python packages torch, transformers, peft, safetensors and tokenizers.

    python scripts/make-hf-vectors.py train/tests/vectors/hf
"""

import json
import sys
from pathlib import Path

import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

VOCAB = 60
UNASKED = 2**32 - 1
RECORDS = [[5, 17, 3, 42, 8, 8, 21], [9, 1, 30]]
TAGS = [[0, 2, UNASKED, 1, 1, 3, 0], [2, UNASKED, 1]]
MASKED = [[UNASKED, 11, UNASKED, 40, UNASKED, UNASKED, 2], [UNASKED, 7, UNASKED]]
ANSWERS = [[12, 33, 4, 1], [50, 1]]


def torch_labels(labels):
    return torch.tensor([[-100 if label == UNASKED else label for label in labels]])


def stir(model):
    """Moves every number away from its first value, so that no gradient is zero by chance."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def records(kind):
    for i, tokens in enumerate(RECORDS):
        ids = torch.tensor([tokens])
        if kind == "classify":
            yield dict(input_ids=ids, labels=torch.tensor([i + 1])), tokens, [], i + 1
        elif kind == "tag":
            yield dict(input_ids=ids, labels=torch_labels(TAGS[i])), tokens, TAGS[i], 0
        elif kind == "masked":
            yield dict(input_ids=ids, labels=torch_labels(MASKED[i])), tokens, MASKED[i], 0
        elif kind == "causal":
            yield dict(input_ids=ids, labels=ids), tokens, [], 0
        else:  # the end token is appended by whoever reads the labels
            yield dict(input_ids=ids, labels=torch.tensor([ANSWERS[i]])), tokens, ANSWERS[i][:-1], 0


def expect(model, kind):
    """Scores of each record alone, losses, and gradients of the sum of the losses."""
    out, losses = {}, []
    for i, (inputs, tokens, labels, klass) in enumerate(records(kind)):
        result = model(**inputs)
        losses.append(result.loss)
        out[f"tokens.{i}"] = torch.tensor(tokens)
        out[f"labels.{i}"] = torch.tensor(labels, dtype=torch.int64)
        out[f"class.{i}"] = torch.tensor([klass])
        out[f"logits.{i}"] = result.logits.detach().reshape(-1, result.logits.shape[-1]).contiguous()
    sum(losses).backward()
    out["losses"] = torch.stack(losses).detach()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.grad is not None:
            out[f"gradient.{name}"] = tensor.grad.contiguous()
    return out


def make(root, name, model, kind):
    model.eval()
    stir(model)
    model.save_pretrained(root / name)
    for extra in ("generation_config.json",):
        (root / name / extra).unlink(missing_ok=True)
    save_file(expect(model, kind), root / name / "expected.safetensors", metadata={"format": "pt"})
    model.zero_grad()
    return model


def main():
    root = Path(sys.argv[1])
    torch.manual_seed(1)
    bert = dict(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    bert |= dict(max_position_embeddings=12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    make(root, "bert-classify", hf.BertForSequenceClassification(hf.BertConfig(**bert, num_labels=3)), "classify")
    make(root, "bert-tag", hf.BertForTokenClassification(hf.BertConfig(**bert, num_labels=4)), "tag")
    make(root, "bert-masked", hf.BertForMaskedLM(hf.BertConfig(**bert)), "masked")

    gpt2 = dict(vocab_size=VOCAB, n_positions=12, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1)
    gpt2 |= dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    make(root, "gpt2", hf.GPT2LMHeadModel(hf.GPT2Config(**gpt2)), "causal")

    llama = dict(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    llama |= dict(intermediate_size=24, max_position_embeddings=12, bos_token_id=0, eos_token_id=1)
    base = make(root, "llama", hf.LlamaForCausalLM(hf.LlamaConfig(**llama)), "causal")
    tied = hf.Qwen2Config(**llama, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    make(root, "qwen2", hf.Qwen2ForCausalLM(tied), "causal")
    words = {f"w{i}": i for i in range(VOCAB)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(root / "llama" / "tokenizer.json"))

    t5 = dict(vocab_size=VOCAB, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_decoder_layers=2, num_heads=2, dropout_rate=0.0)
    t5 |= dict(relative_attention_num_buckets=8, relative_attention_max_distance=10, decoder_start_token_id=0, pad_token_id=0)
    make(root, "t5", hf.T5ForConditionalGeneration(hf.T5Config(**t5)), "translate")
    gated = hf.T5ForConditionalGeneration(hf.T5Config(**t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    gated.lm_head.weight = torch.nn.Parameter(gated.lm_head.weight.detach().clone())  # newer versions tie it all the same
    gated.config.tie_word_embeddings = False
    make(root, "t5-gated", gated, "translate")

    targets = ["q_proj", "v_proj", "down_proj"]
    lora = LoraConfig(r=3, lora_alpha=6, target_modules=targets, lora_dropout=0.0, task_type="CAUSAL_LM")
    adapted = get_peft_model(base, lora).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    adapted.base_model.config.name_or_path = ""
    lora.base_model_name_or_path = "llama"
    adapted.save_pretrained(root / "llama-lora")
    (root / "llama-lora" / "README.md").unlink(missing_ok=True)
    expected = {name.replace(".default", ""): value for name, value in expect(adapted, "causal").items()}
    save_file(expected, root / "llama-lora" / "expected.safetensors", metadata={"format": "pt"})
    config = root / "llama-lora" / "adapter_config.json"
    kept = json.loads(config.read_text())
    kept["target_modules"] = sorted(kept["target_modules"])  # a set: its order is chance
    config.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")

    torch.manual_seed(5)
    bart = dict(vocab_size=VOCAB, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2)
    bart |= dict(encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=12, scale_embedding=True, dropout=0.0)
    # The library gives no gradient to rows of the token that fills up: one that no record has.
    bart |= dict(bos_token_id=0, pad_token_id=VOCAB - 1, eos_token_id=1, decoder_start_token_id=2, forced_eos_token_id=1)
    bart = hf.BartForConditionalGeneration(hf.BartConfig(**bart))
    bart.final_logits_bias.copy_(0.1 * torch.randn_like(bart.final_logits_bias)).requires_grad_()
    make(root, "bart", bart, "translate")

    torch.manual_seed(6)
    # Of the four pairs of a head one is fast, one between, two slow.
    slow = {"rope_type": "llama3", "rope_theta": 1000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    slow["original_max_position_embeddings"] = 64
    narrow = llama | dict(num_attention_heads=2, num_key_value_heads=1, rope_parameters=slow)
    make(root, "llama-stretched", hf.LlamaForCausalLM(hf.LlamaConfig(**narrow)), "causal")


main()
