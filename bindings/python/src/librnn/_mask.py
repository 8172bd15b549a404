"""Masks that belong to a model: Keras' Masking and mask_zero say which steps to leave out by what x itself holds there.

The network of the library knows nothing of them: from C the mask is an argument. A model in Python that was read from such a file
makes it from x, unless the caller gives one; the rule is kept in the metadata, so that a saved model keeps it.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from .errors import format_error

#: The metadata entry with the rule.
MASK_KEY = "python.mask"


class MaskRule(NamedTuple):
    """Which steps of x are there, and what the output is where they are not."""

    #: "token": steps whose token is not `value`; "value": steps where some feature is not `value`.
    kind: str
    value: float
    #: "repeat": outputs of left-out steps repeat the one before; "value": they are `fill`.
    padding: str
    #: The output, feature by feature, of left-out steps (of those before the first, with "repeat"); None: zeros.
    fill: Optional[List[float]]

    def text(self) -> str:
        return json.dumps(self._asdict())

    @classmethod
    def of_text(cls, text: str) -> "MaskRule":
        try:
            values = json.loads(text)
            rule = cls(str(values["kind"]), float(values["value"]), str(values["padding"]), values["fill"])
            if rule.fill is not None:
                np.asarray(rule.fill, np.float64)
        except (ValueError, KeyError, TypeError):
            raise format_error(f"the metadata entry {MASK_KEY!r} is damaged") from None
        if rule.kind not in ("token", "value") or rule.padding not in ("repeat", "value"):
            raise format_error(f"the metadata entry {MASK_KEY!r} asks for what is not known")
        return rule

    def mask(self, x: np.ndarray) -> np.ndarray:
        """True where a step is there: x [.., F], or tokens [..]."""
        if self.kind == "token":
            return np.asarray(x != int(self.value))
        # Compared in the dtype of x, as Keras does: 0.1 in a float32 is another number than 0.1.
        return np.asarray((x != x.dtype.type(self.value)).any(axis=-1))

    def arguments(self, x: np.ndarray) -> Dict[str, Any]:
        """What to run the model with."""
        return {"mask": self.mask(x), "padding": self.padding}

    def finish(self, y: np.ndarray, mask: np.ndarray, time_axis: int) -> None:
        """Write `fill` where it belongs; y has a time axis."""
        if self.fill is None:
            return
        missing = ~mask
        if self.padding == "repeat":
            missing &= ~np.logical_or.accumulate(mask, axis=time_axis)
        y[missing] = np.asarray(self.fill, y.dtype)
