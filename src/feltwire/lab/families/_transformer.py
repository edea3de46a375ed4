"""A transformer with one linear map to the classes, and its fine-tuning."""

from typing import Any

from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel

from feltwire import text
from feltwire.errors import ConfigError
from feltwire.lab.families import _checkpoints
from feltwire.lab.families._export import export
from feltwire.lab.families._options import TransformerOptions
from feltwire.lab.families._training import Rows, Settings, Stage, key, reproducible
from feltwire.lab.families._training import train as train_network
from feltwire.lab.interfaces import Dataset, Fitted, Run
from feltwire.models._bundle import GRAPH, TOKENIZER


class Network(nn.Module):
    """An encoder, pooling, dropout, a linear map."""

    def __init__(self, encoder: Any, classes: int, *, pooling: str, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """float[rows, classes]: logits."""
        said = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        if self.pooling == "pooler":
            pooled = said.pooler_output
        else:
            there = attention_mask[:, :, None].to(said.last_hidden_state.dtype)
            pooled = (said.last_hidden_state * there).sum(1) / there.sum(1)
        return self.head(self.dropout(pooled))


def fit(train: Dataset, validation: Dataset, options: TransformerOptions, run: Run) -> Fitted:
    """See `lab.interfaces.Family`."""
    run.progress("fetching the checkpoint", 0.0, {})
    folder = _checkpoints.find(options.checkpoint)
    tokenizer = _checkpoints.tokenizer(folder)
    with reproducible(run) as device:
        encoder = _checkpoints.load(folder, AutoModel)
        if options.pooling == "pooler" and getattr(encoder, "pooler", None) is None:
            raise ConfigError(f"{options.checkpoint} has no pooler: take pooling = mean")
        max_tokens = min(options.max_tokens, _checkpoints.room(encoder, folder))
        net = Network(encoder, len(train.names), pooling=options.pooling, dropout=options.dropout).to(device)
        curve = train_network(
            net,
            _rows(tokenizer, train, run.profile, max_tokens),
            _rows(tokenizer, validation, run.profile, max_tokens),
            stages=[Stage("all layers", options.learning_rate, options.epochs, options.patience or None)],
            settings=Settings(options.batch, options.weight_decay, options.clip, options.bf16, options.warmup),
            run=run,
            agreed=key("transformer", options, train, validation, run),
        )
        run.progress("exporting", 0.0, {})
        numbers = min(encoder.config.vocab_size, tokenizer.get_vocab_size())
        export(net, run.bundle / GRAPH, output=run.head, max_tokens=max_tokens, tokens=numbers)
    (run.bundle / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    return Fitted(
        "onnx",
        max_tokens,
        curve,
        licence=_checkpoints.licence(folder),
        note=f"Fine-tuned from {options.checkpoint if ':' in options.checkpoint else folder.name}.",
    )


def _rows(tokenizer: Tokenizer, data: Dataset, profile: str, max_tokens: int) -> Rows:
    """Texts as the serving code numbers them."""
    padding = (tokenizer.padding or {})["pad_id"]
    reading = Tokenizer.from_str(tokenizer.to_str())
    reading.no_padding()
    reading.enable_truncation(max_length=max_tokens)
    encodings = reading.encode_batch_fast(text.clean(data.texts, profile))
    return Rows([one.ids for one in encodings], data.labels, padding)
