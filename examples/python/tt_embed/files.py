"""Tables in files: safetensors and .npy, mapped, and the folders of transformers."""
from __future__ import annotations

import json
import os
import struct
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np

from ._library import text_of

Path = Union[str, os.PathLike]
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_INPUTS = ("wte", "embed_tokens", "word_embeddings", "tok_embeddings", "token_embd", "embed_in", "embeddings",
           "embedding", "shared")
_OUTPUTS = ("lm_head", "embed_out", "output")


class SafeTensors(Mapping[str, np.ndarray]):
    """The tensors of floats in a safetensors file, mapped; bfloat16 as its bits in uint16. `metadata` has the
    file's texts."""

    def __init__(self, path: Path) -> None:
        self.path = text_of(path)
        size = os.path.getsize(path)
        try:
            with open(path, "rb") as file:
                length = struct.unpack("<Q", file.read(8))[0]
                if length > min(size - 8, 100 << 20):
                    raise ValueError
                header = json.loads(file.read(length))
            self.metadata: Dict[str, str] = {str(key): str(value)
                                             for key, value in header.pop("__metadata__", {}).items()}
            self._places: Dict[str, Tuple[str, Tuple[int, ...], int]] = {}
            for name, about in header.items():
                shape, (first, last) = tuple(int(side) for side in about["shape"]), about["data_offsets"]
                kind = about["dtype"]
                if not 0 <= first <= last <= size - 8 - length or min(shape, default=1) < 0:
                    raise ValueError
                if kind in _TYPES:
                    count = 1
                    for side in shape:
                        count *= side
                    if count * np.dtype(_TYPES[kind]).itemsize != last - first:
                        raise ValueError
                self._places[name] = kind, shape, 8 + length + first
        except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
            raise ValueError("%s: not a safetensors file" % self.path) from None

    def __getitem__(self, name: str) -> np.ndarray:
        kind, shape, offset = self._places[name]
        if kind not in _TYPES:
            raise ValueError("%s: tensor %s has dtype %s, expected one of %s" % (
                self.path, name, kind, ", ".join(_TYPES)))
        if 0 in shape:
            return np.empty(shape, _TYPES[kind])
        return np.memmap(self.path, _TYPES[kind], "r", offset, shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def shape(self, name: str) -> Tuple[int, ...]:
        return self._places[name][1]


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Arrays of float32 to a safetensors file, in one piece or not at all."""
    header: Dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts: List[bytes] = []
    offset = 0
    for name, array in tensors.items():
        parts.append(np.ascontiguousarray(array, "<f4").tobytes())
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + len(parts[-1])]}
        offset += len(parts[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_whole(path, [struct.pack("<Q", len(text)), text] + parts)


def write_whole(path: Path, parts: List[bytes]) -> None:
    """To another name first, then renamed."""
    temporary = "%s.tmp%d" % (text_of(path), os.getpid())
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise OSError(error.errno, error.strerror, text_of(path)) from None


def read_config(folder: Path) -> Dict[str, Any]:
    """config.json of a model's folder; {} where there is none."""
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ValueError("%s: config.json is not JSON" % text_of(folder)) from None
    return config if isinstance(config, dict) else {}


def read_table(path: Path, tensor: Optional[str] = None, table: str = "input") -> np.ndarray:
    """The embedding table (vocab, dim) of a model's folder, a .safetensors, .npy or .gguf file, mapped where it can
    be. tensor names it; without, it is found by its name. table "output" is the weight of an untied head."""
    name = text_of(path)
    if table not in ("input", "output"):
        raise ValueError("table: %r, expected input or output" % table)
    if os.path.isdir(path):
        return _choose(name, _shards(name), tensor, table)
    if name.endswith(".npy"):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError("%s: %s" % (name, error)) from None
        if array.ndim != 2:
            raise ValueError("%s: shape %s, expected (vocab, dim)" % (name, array.shape))
        return array
    if name.endswith(".gguf"):
        return _read_gguf(name, tensor or ("output.weight" if table == "output" else "token_embd.weight"))
    file = SafeTensors(path)
    return _choose(name, {key: file for key in file}, tensor, table)


def _shards(folder: str) -> Dict[str, SafeTensors]:
    """The file of each tensor in a folder."""
    single = os.path.join(folder, "model.safetensors")
    index = single + ".index.json"
    if os.path.exists(single):
        file = SafeTensors(single)
        return {name: file for name in file}
    if not os.path.exists(index):
        raise FileNotFoundError(2, "No model.safetensors and no index of one", folder)
    try:
        with open(index, encoding="utf-8") as text:
            places = json.load(text)["weight_map"]
        files = {place: SafeTensors(os.path.join(folder, os.path.basename(place))) for place in set(places.values())}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        raise ValueError("%s: not an index of safetensors files" % index) from None
    return {name: files[place] for name, place in places.items()}


def _choose(path: str, files: Dict[str, SafeTensors], tensor: Optional[str], table: str) -> np.ndarray:
    """The tensor that is named, or the one that looks like the table, or the only one with two sides."""
    two = [name for name, file in files.items() if name in file and len(file.shape(name)) == 2]
    if tensor is not None:
        if tensor not in two:
            raise ValueError("%s: no tensor %s with two sides" % (path, tensor))
        return files[tensor][tensor]
    wanted = _OUTPUTS if table == "output" else _INPUTS
    found = [name for name in two if _last(name) in wanted]
    if table == "output" and not found:
        raise ValueError("%s: no weight of an output head; perhaps it is tied to the input table" % path)
    found = found or two
    if not found:
        raise ValueError("%s: no tensor with two sides" % path)
    if len(found) > 1:
        raise ValueError("%s: which tensor is the table? One of %s%s" % (
            path, ", ".join(found[:6]), ", .." if len(found) > 6 else ""))
    return files[found[0]][found[0]]


def _last(name: str) -> str:
    return (name[:-7] if name.endswith(".weight") else name).rsplit(".", 1)[-1]


def _read_gguf(path: str, tensor: str) -> np.ndarray:
    try:
        import gguf
    except ImportError:
        raise ValueError("%s: reading GGUF takes the package gguf" % path) from None
    for found in gguf.GGUFReader(path).tensors:
        if found.name == tensor:
            return gguf.dequantize(found.data, found.tensor_type).reshape([int(side) for side in found.shape[::-1]])
    raise ValueError("%s: no tensor %s" % (path, tensor))
