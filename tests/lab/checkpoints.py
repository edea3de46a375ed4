"""Checkpoints of a few kilobytes, made as their makers save them: a BERT (WordPiece), a RoBERTa (byte-level BPE)."""

import json
from pathlib import Path
from typing import Any

import torch
from tests.lab.neural import SAYINGS
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
)

WORDS = [one for row in SAYINGS for saying in row for one in saying.split()]
SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 34,
}


def bert_tokenizer() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(WORDS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=34, **names)


def roberta_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(
        [" ".join(WORDS)],
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def checkpoint(folder: Path, kind: str, labels: tuple[str, ...], *, task: str = "sequence", **config: Any) -> Path:
    """A checkpoint with random weights, the same every time; `kind` is bert or roberta, `task` sequence or token."""
    tokenizer = bert_tokenizer() if kind == "bert" else roberta_tokenizer()
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    torch.manual_seed(11)
    settings = {**SMALL, "vocab_size": len(tokenizer), **names, **config}
    if kind == "bert":
        made = {"sequence": BertForSequenceClassification, "token": BertForTokenClassification}[task](
            BertConfig(**settings)
        )
    else:
        made = {"sequence": RobertaForSequenceClassification, "token": RobertaForTokenClassification}[task](
            RobertaConfig(**settings, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)
        )
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)  # so that texts differ
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def without(folder: Path, key: str) -> None:
    """Take a key out of `config.json`."""
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    settings.pop(key, None)
    path.write_text(json.dumps(settings))
