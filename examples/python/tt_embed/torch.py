"""Modules of torch that read a compressed table: Embedding for nn.Embedding, Head for a tied or untied output layer,
replace for a whole model. Tables stay on the CPU; what comes out goes to the module's dtype and device."""
from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np
import torch
from torch import nn

from ._table import Table

__all__ = ["Embedding", "Head", "replace"]


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy()


class _FromTable(nn.Module):
    """Keeps a table beside an empty buffer, which .to(), .half() and the like convert: its dtype and device are
    those of the output. The table is no parameter: it has no gradient and is in no state_dict."""

    _like: torch.Tensor

    def __init__(self, table: Table, dtype: Optional[torch.dtype], device: Any) -> None:
        super().__init__()
        if not isinstance(table, Table):
            raise TypeError("table: expected a tt_embed.Table, got %s" % type(table).__name__)
        self.table = table
        self.register_buffer("_like", torch.empty(0, dtype=dtype or torch.get_default_dtype(), device=device),
                             persistent=False)

    def _out(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._like.device, self._like.dtype)

    @property
    def weight(self) -> torch.Tensor:
        """The whole table, decoded at each call: (vocab, dim)."""
        return self._out(np.asarray(self.table))

    def extra_repr(self) -> str:
        return "%d, %d, %.1f times smaller" % (self.table.shape + (self.table.info.ratio,))


class Embedding(_FromTable):
    """Takes the place of nn.Embedding: ids of any shape to (.., dim).

    padding_idx  the row of this token is zeros, as in nn.Embedding
    scale        rows are multiplied by it
    dtype        of what comes out; .to(..) changes it later, as it does the device
    """

    def __init__(self, table: Table, padding_idx: Optional[int] = None, scale: float = 1.0,
                 dtype: Optional[torch.dtype] = None, device: Any = None) -> None:
        super().__init__(table, dtype, device)
        self.num_embeddings, self.embedding_dim = table.shape
        if padding_idx is not None:
            if not -len(table) <= padding_idx < len(table):
                raise IndexError("padding_idx: row %d of a table of %d" % (padding_idx, len(table)))
            padding_idx %= len(table)
        self.padding_idx = padding_idx
        self.scale = scale

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if ids.dtype.is_floating_point or ids.dtype == torch.bool:
            raise TypeError("ids: dtype %s, expected integers" % ids.dtype)
        chosen = ids.detach().cpu().numpy()
        if chosen.size and int(chosen.min()) < 0:
            raise IndexError("row %d of a table of %d" % (int(chosen.min()), len(self.table)))
        rows = self.table.take(chosen)
        if self.scale != 1.0:
            rows *= np.float32(self.scale)
        if self.padding_idx is not None:
            rows[chosen == self.padding_idx] = 0
        return self._out(rows)


class _Scores(torch.autograd.Function):
    """hidden W' with W from a table; the gradient reaches hidden, not the table."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, table: Table) -> torch.Tensor:
        ctx.table, ctx.dtype = table, hidden.dtype
        return torch.from_numpy(table.scores(_numpy(hidden)))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[torch.Tensor, None]:
        table, flat = ctx.table, _numpy(gradient).reshape(-1, len(ctx.table))
        out = np.zeros((len(flat), table.shape[1]), np.float32)
        for start in range(0, len(table), 4096):
            out += flat[:, start:start + 4096] @ table[start:start + 4096]
        shape = gradient.shape[:-1] + (table.shape[1],)
        return torch.from_numpy(out).reshape(shape).to(ctx.dtype), None


class Head(_FromTable):
    """Takes the place of the nn.Linear that scores all tokens: hidden of shape (.., dim) to (.., vocab), from the
    records of the table; bias (vocab,) is added. Gradients reach hidden."""

    def __init__(self, table: Table, bias: Optional[torch.Tensor] = None, dtype: Optional[torch.dtype] = None,
                 device: Any = None) -> None:
        super().__init__(table, dtype, device)
        self.out_features, self.in_features = table.shape
        if bias is not None and tuple(bias.shape) != (len(table),):
            raise ValueError("bias: shape %s, expected (%d,)" % (tuple(bias.shape), len(table)))
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        scores = _Scores.apply(hidden.cpu(), self.table).to(self._like.device, self._like.dtype)
        return scores if self.bias is None else scores + self.bias


def replace(model: Any, table: Optional[Table], output: Optional[Table] = None) -> Any:
    """Puts a table in the place of a transformers model's dense ones, in the model itself, and returns it.

    table   for the input embedding; where the output head is tied to it, for the head, too. None: stays as it is
    output  for the head of a model whose head has a weight of its own; None: stays as it is
    """
    if not hasattr(model, "get_input_embeddings"):
        raise TypeError("model: %s has no get_input_embeddings" % type(model).__name__)
    dense = model.get_input_embeddings()
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    tied = head is not None and getattr(head, "weight", None) is dense.weight
    if output is not None and (head is None or tied):
        raise ValueError("output: the model has no output head of its own")
    new = None if table is None else _embedding_like(dense, table)
    scores = table if tied else output
    new_head = None if scores is None else _head_like(head, scores)
    if new is not None:
        model.set_input_embeddings(new)
    if new_head is not None:
        model.set_output_embeddings(new_head)
    return model


def _same_shape(name: str, table: Table, weight: torch.Tensor) -> None:
    if table.shape != tuple(weight.shape):
        raise ValueError("%s: a table of %d x %d, the model has %s" % (
            (name,) + table.shape + (" x ".join(map(str, weight.shape)),)))


@torch.no_grad()
def _embedding_like(dense: Any, table: Table) -> Embedding:
    """An Embedding that does with its rows what the module does with its own."""
    weight = dense.weight
    _same_shape("table", table, weight)
    ids = torch.linspace(0, len(table) - 1, min(64, len(table)), device=weight.device).long()
    rows, made = weight[ids].float(), dense(ids)
    square = float((rows * rows).sum())
    scale = float((rows * made.float()).sum()) / square if square > 0 else 1.0
    if made.shape != rows.shape or float((made.float() - scale * rows).norm()) > 0.01 * float(made.float().norm()):
        raise TypeError("model: its %s does more with a row than to scale it" % type(dense).__name__)
    exact = float(getattr(dense, "embed_scale", 1.0))
    if abs(scale - exact) < 0.005 * exact:   # all but rounding
        scale = exact
    padding = getattr(dense, "padding_idx", None)
    if padding is not None and bool(weight[padding].any()):
        padding = None   # a row that means something
    return Embedding(table, padding, scale, made.dtype, weight.device)


def _head_like(head: Any, table: Table) -> Head:
    _same_shape("table", table, head.weight)
    return Head(table, getattr(head, "bias", None), head.weight.dtype, head.weight.device)
