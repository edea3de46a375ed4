"""From a network of torch to the graph of a bundle, and proof that the two say the same."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch

from feltwire.errors import ModelError
from feltwire.lab.families._checkpoints import quiet
from feltwire.lab.notes import without_notes
from feltwire.models._session import line

OPSET: Final = 18
TOLERANCE: Final = 1e-4
_MOST_BYTES: Final = 2_000_000_000  # a graph is one file, and such a file cannot be larger


class Logits(torch.nn.Module):
    """A classifier of transformers that gives its logits alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """float[rows, labels], or of a classifier of tokens float[rows, tokens, labels]."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def export(net: Any, path: Path, *, output: str, max_tokens: int, tokens: int) -> None:
    """Store `net(input_ids, attention_mask)` as a graph whose one output has that name.

    Rows and tokens may be as many as they like, up to `max_tokens`; `tokens` are the numbers that ids may have.
    Raises ModelError where the network cannot be exported, or the graph says something else than the network.
    """
    net = net.eval().cpu()
    size = sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())
    if size > _MOST_BYTES:
        raise ModelError(f"the network has {size / 1e9:.1f} GB of weights; a bundle's graph holds at most 2")
    ids, mask = _texts(rows=2, length=min(7, max_tokens), tokens=tokens)
    shape = {0: torch.export.Dim("rows", min=1, max=65_536), 1: torch.export.Dim("tokens", min=1, max=max_tokens)}
    try:
        with quiet(), torch.no_grad():
            torch.onnx.export(
                net,
                kwargs={"input_ids": ids, "attention_mask": mask},
                f=str(path),
                input_names=["input_ids", "attention_mask"],
                output_names=[output],
                dynamic_shapes={"input_ids": shape, "attention_mask": shape},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        raise ModelError(f"the network cannot be exported as ONNX: {line(error)}") from error
    path.write_bytes(without_notes(onnx.load(str(path))))
    _compare(net, path, max_tokens, tokens)


def _compare(net: Any, path: Path, max_tokens: int, tokens: int) -> None:
    """Raise ModelError where graph and network differ, on batches of several shapes."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for rows, length in ((1, 1), (3, min(11, max_tokens)), (2, max_tokens)):
        ids, mask = _texts(rows=rows, length=length, tokens=tokens)
        with torch.no_grad():
            expected = net(input_ids=ids, attention_mask=mask).numpy()
        (given,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        real = mask.numpy().astype(bool) if given.ndim == 3 else np.ones(rows, bool)
        worst = float(np.abs(given - expected)[real].max())
        if not worst <= TOLERANCE * max(1.0, float(np.abs(expected[real]).max())):
            raise ModelError(f"the exported graph differs from the network by {worst:.2g}: it is not usable")


def _texts(*, rows: int, length: int, tokens: int) -> tuple[Any, Any]:
    """Numbers of made-up texts, the first row whole, the others half padding."""
    random = np.random.default_rng(length)
    ids = torch.from_numpy(random.integers(min(5, tokens - 1), tokens, (rows, length)))
    mask = torch.ones_like(ids)
    mask[1:, max(1, length // 2) :] = 0
    return ids, mask
