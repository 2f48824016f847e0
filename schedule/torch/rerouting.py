"""Functions of PyTorch that run other code on tensors without memory than on others."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from schedule.errors import CannotCapture

#: Recurrent layers that a library computes as a whole where it can.
_RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
_TYPES = {torch.float32, torch.bfloat16, torch.float16}


class AsWithMemory(TorchFunctionMode):
    """Has them run what they run where there is memory, or refuses them.

    Attributes
    ----------
    copies
        By the ids of tensors: those that they are given in the place of these, as where a
        loss refers to the parameters of the model that was copied.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies: dict[int, Any] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        args, given = tree_map(self._copy, (args, kwargs or {}))
        if function is torch.Tensor.__bool__:
            return True  # what capture leaves out, such as the checks of distributions: it holds
        if function is torch.nn.functional.one_hot:
            return _one_hot(*args, **given)
        if function in _RECURRENT and (library := _library_of(function, args[0])):
            package = {"oneDNN": "mkldnn", "cuDNN": "cudnn"}[library]
            raise CannotCapture(
                f"eager PyTorch leaves {function.__name__} to {library}, which keeps memory that"
                f" the plan's operators don't, so that no peak can be promised; train the planned"
                f" module, or export and train within"
                f" torch.backends.{package}.flags(enabled=False)"
            )
        return function(*args, **given)

    def _copy(self, value: Any) -> Any:
        return self.copies.get(id(value), value) if isinstance(value, torch.Tensor) else value


def _one_hot(tensor: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
    """One-hot vectors as eager PyTorch makes them, which looks at the numbers on a CPU."""
    if num_classes < 1:
        return torch.nn.functional.one_hot(tensor, num_classes)
    if tensor.device.type == "cpu":
        torch.aminmax(tensor)
    found = torch.zeros((*tensor.shape, num_classes), dtype=tensor.dtype, device=tensor.device)
    return found.scatter_(-1, tensor.unsqueeze(-1), 1)


def _library_of(function: Any, given: torch.Tensor) -> str:
    """The library to which eager PyTorch leaves a recurrent layer; empty: to none."""
    kind, backends = given.device.type, torch.backends
    if kind == "cuda" and backends.cudnn.enabled:
        return "cuDNN"
    is_known = function is torch.lstm and given.dtype in _TYPES
    one_dnn: Any = backends.mkldnn
    return "oneDNN" if kind == "cpu" and is_known and _is_on(one_dnn) else ""


def _is_on(library: Any) -> bool:
    return bool(library.is_available() and library.enabled)
