"""A GPU that is not there: torch's `meta` device stands for it, whose tensors have shapes and no values.

An operation that mixes devices raises, as on a real card. Whatever makes the processor wait for the card (`item`,
`cpu`, the truth of a tensor, `nonzero`) is counted: in a hot path that must not grow with the number of steps.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.fx.experimental._config
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CARD = "meta"
ATEN = torch.ops.aten
INDEXING = (ATEN.index, ATEN.index_put_, ATEN.index_put)
COPIES = (ATEN._to_copy, ATEN.to, ATEN.copy_)  # `to` in inference mode


class Card(TorchDispatchMode):
    """`waits` counts by operation; what comes back to the processor is zero there."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        there = [one for one in tensors if one.device.type == CARD]
        if there and func is ATEN._local_scalar_dense.default:
            return self._waited("item", 0.0)
        if there and (func is ATEN.nonzero.default or self._by_truth(func, args)):
            self.waits["nonzero"] += 1
        copies = func.overloadpacket in COPIES
        if there and copies and (wanted := self._wanted(args, kwargs)).type != CARD:
            zeros = torch.zeros(there[0].shape, dtype=kwargs.get("dtype") or there[0].dtype, device=wanted)
            return self._waited("cpu", args[0] if func.overloadpacket is ATEN.copy_ else zeros)
        indices = tree_leaves(args[1]) if func.overloadpacket in INDEXING else []  # may lie with the processor
        here = [one for one in tensors if one.device.type != CARD and one.ndim and all(one is not i for i in indices)]
        if there and here and not copies:
            raise RuntimeError(f"{func} gets tensors of two devices: {[(*t.shape, t.device.type) for t in tensors]}")
        return func(*args, **kwargs)

    def _waited(self, how: str, found: object) -> object:
        self.waits[how] += 1
        return found

    @staticmethod
    def _by_truth(func, args) -> bool:
        """Rows chosen by a boolean tensor: how many there are is known on the card alone."""
        return func.overloadpacket in INDEXING and any(one is not None and one.dtype == torch.bool for one in args[1])

    @staticmethod
    def _wanted(args, kwargs) -> torch.device:
        """Where a copy is to go: the device that is named, else that of the first tensor."""
        named = [one for one in [*args, kwargs.get("device")] if isinstance(one, torch.device)]
        return named[0] if named else args[0].device


@contextmanager
def a_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """Inside, `CARD` is a device that computes nothing and notes every wait for it."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no such device
    for module in ("torch.optim.adam", "torch.optim.optimizer"):
        monkeypatch.setattr(sys.modules[module], "_get_fused_kernels_supported_devices", lambda: [CARD], raising=False)
    with torch.fx.experimental._config.patch(meta_nonzero_assume_all_nonzero=True), Card() as card:
        yield card
