"""Token-embedding tables compressed with tensor trains, as NumPy arrays.

    import tt_embed

    t = tt_embed.compress(array, ratio=16)       # (vocab, dim) floats to a Table
    t.save("table.tte")
    t = tt_embed.Table.open("table.tte")         # mapped, nothing is read before it is needed
    t[[7, 42, 4711]]                             # rows: (3, dim), float32
    t @ q                                        # scores of all rows: (dim,) to (vocab,)
    ids, scores = t.topk(q, 10)

tt_embed.torch has modules that take the place of nn.Embedding and of an output head, tt_embed.models calibrates
models of transformers; `python -m tt_embed` does both on the command line.
"""
from ._library import VERSION as __version__
from ._library import Error, Status
from ._table import Info, Table, compress, merge, train
from .calibration import Calibration

__all__ = ["Calibration", "Error", "Info", "Status", "Table", "compress", "merge", "train", "__version__"]
