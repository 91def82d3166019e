"""Arrays of floats in whatever form they come, as the float32 that the library reads."""
from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np

from ._library import LIB

Sides = Tuple[Optional[int], ...]


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch, which need not be there to know."""
    return type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach")


def as_array(name: str, value: Any, shape: Optional[Sides] = None) -> np.ndarray:
    """float16, float32 or float64, or bfloat16 as its bits in uint16. Nothing is copied that numpy can look at.
    shape is what it must have, None in it any number above 0."""
    if is_tensor(value):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            import torch
            value = value.view(torch.int16).numpy().view(np.uint16)
        else:
            value = value.numpy()
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":   # of ml_dtypes
        array = array.view(np.uint16)
    if array.dtype.kind != "f" and (array.dtype.kind, array.dtype.itemsize) != ("u", 2):
        raise TypeError("%s: dtype %s, expected floats, or bfloat16 as uint16" % (name, array.dtype))
    if shape is not None and (len(array.shape) != len(shape) or any(have != want if want is not None else have == 0
                                                                    for have, want in zip(array.shape, shape))):
        raise ValueError("%s: shape %s, expected (%s)" % (
            name, array.shape, ", ".join("any" if side is None else str(side) for side in shape)))
    return array


def to_float32(array: np.ndarray) -> np.ndarray:
    """What as_array gave, or a part of it, as contiguous float32."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):   # the library refuses infinity
            return np.require(array, np.float32, ["C", "A"])
    bits = np.require(array, np.dtype(np.uint16), ["C", "A"])
    out = np.empty(bits.shape, np.float32)
    LIB.tte_from_bf16(bits.ctypes.data, bits.size, out.ctypes.data)
    return out


def floats(name: str, value: Any, shape: Sides) -> np.ndarray:
    return to_float32(as_array(name, value, shape))


def vectors(name: str, value: Any, dim: int) -> np.ndarray:
    """Vectors of dim numbers, of any shape (.., dim), as float32."""
    array = as_array(name, value)
    if array.ndim == 0 or array.shape[-1] != dim:
        raise ValueError("%s: shape %s, expected (.., %d)" % (name, array.shape, dim))
    return to_float32(array)


def whole(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError("%s: expected a whole number, got %s" % (name, type(value).__name__))
    if not least <= value <= most:
        raise ValueError("%s: %d, expected %d to %d" % (name, value, least, most))
    return int(value)


def number(name: str, value: Any, most: float) -> float:
    """A number above 0."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise TypeError("%s: expected a number, got %s" % (name, type(value).__name__))
    if not 0 < value <= most:
        raise ValueError("%s: %s, expected a number above 0%s" % (
            name, value, "" if most > 1e30 else ", at most %g" % most))
    return float(value)
