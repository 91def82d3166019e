"""What a table is used for, as numbers: weights of its rows and a metric for their errors, and the file that holds
them. Compression makes the sum of row_weight * e metric e' small, e the error of a row."""
from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Dict, Optional, Union

import numpy as np

from ._arrays import floats
from ._library import VERSION, text_of
from .files import SafeTensors, write_safetensors

POWER = 0.6          # a row weighs (what the model expects of it) ** POWER; examples/gpt2.h says why
MIXTURE = 0.9        # of a metric of one second moment; the rest is the identity
OPENER = 1 / 200     # a token that opens every text counts as this part of all at least
FLOOR = 1e-3         # a token counts as this part of the mean at least
MADE_BY = "tt_embed " + VERSION


def weights_of(mass: np.ndarray, opener: Optional[int] = None) -> np.ndarray:
    """Row weights (vocab,) from how often each token is expected (vocab,), above 0 all of them."""
    mass = np.array(mass, np.float64)
    if opener is not None:
        mass[opener] = max(mass[opener], mass.sum() * OPENER)
    return (np.maximum(mass, FLOOR * mass.mean()) ** POWER).astype(np.float32)


def metric_of(moment: np.ndarray, mixture: float = MIXTURE, other: Optional[np.ndarray] = None) -> np.ndarray:
    """The metric (dim, dim): `mixture` of `moment`, the sum of h h' over the vectors h that the table meets, and the rest
    of `other`, by default the identity; each scaled to trace dim."""
    def scaled(matrix: np.ndarray) -> np.ndarray:
        trace = np.trace(matrix)
        return (matrix + matrix.T) * (len(matrix) / trace / 2) if trace > 0 else np.eye(len(matrix))
    rest = np.eye(len(moment)) if other is None else scaled(other)
    return (mixture * scaled(moment) + (1 - mixture) * rest).astype(np.float32)


@dataclass
class Calibration:
    """row_weight (vocab,) and metric (dim, dim), float32, at least one of them; `about` says what they are from:
    texts under the names made_by, model, table, text, tokens, power, mixture."""
    row_weight: Optional[np.ndarray] = None
    metric: Optional[np.ndarray] = None
    about: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.row_weight is None and self.metric is None:
            raise ValueError("calibration: neither row_weight nor metric")
        if self.row_weight is not None:
            self.row_weight = floats("row_weight", self.row_weight, (None,))
            if not (np.isfinite(self.row_weight) & (self.row_weight > 0)).all():
                raise ValueError("row_weight: expected finite numbers above 0")
        if self.metric is not None:
            self.metric = matrix = floats("metric", self.metric, (None, None))
            if matrix.shape[0] != matrix.shape[1]:
                raise ValueError("metric: shape %s, expected as many rows as columns" % (matrix.shape,))
            if not np.isfinite(matrix).all():
                raise ValueError("metric: expected finite numbers")
            if np.abs(matrix - matrix.T).max() > 1e-5 * np.abs(matrix).max():
                raise ValueError("metric: not symmetric")
            if matrix.diagonal().min() < 0 or matrix.trace() <= 0:
                raise ValueError("metric: not positive semidefinite")

    @classmethod
    def load(cls, path: Union[str, os.PathLike]) -> "Calibration":
        file = SafeTensors(path)
        try:
            found = {name: np.array(file[name]) for name in ("row_weight", "metric") if name in file}
            if any(value.dtype == np.uint16 for value in found.values()):
                raise ValueError("row_weight and metric are stored as float32")
            return cls(found.get("row_weight"), found.get("metric"), file.metadata)
        except (TypeError, ValueError) as error:
            raise ValueError("%s: not a calibration: %s" % (text_of(path), error)) from None

    def save(self, path: Union[str, os.PathLike]) -> None:
        tensors = {name: value for name, value in (("row_weight", self.row_weight), ("metric", self.metric))
                   if value is not None}
        write_safetensors(path, tensors, self.about)

    def check(self, vocab: int, dim: int) -> None:
        """ValueError when it belongs to a table of another size."""
        model = self.about.get("model", "")
        of = " of %s" % model if model else ""
        if self.row_weight is not None and len(self.row_weight) != vocab:
            raise ValueError("calibration%s: for %d rows, the table has %d" % (of, len(self.row_weight), vocab))
        if self.metric is not None and len(self.metric) != dim:
            raise ValueError("calibration%s: for rows of %d, the table's have %d" % (of, len(self.metric), dim))
