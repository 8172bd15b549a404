"""Masks that belong to a model: Keras' Masking and mask_zero say which steps to leave out by what x itself holds there.

The network of the library knows nothing of them: from C the mask is an argument. A model in Python that was read from such a file
makes it from x, unless the caller gives one; the rule is kept in the metadata, so that a saved model keeps it.
"""

from __future__ import annotations

import json
import math
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from .errors import format_error

#: The metadata entry with the rule.
MASK_KEY = "python.mask"


class MaskRule(NamedTuple):
    """Which steps are there, and what the output is where they are not."""

    #: "token": steps whose token is not `value`; "value": steps where some feature is not `value`.
    kind: str
    value: float
    #: The tokens or features of the input that it is about, among those of all inputs.
    columns: Tuple[int, int]
    #: "repeat": outputs of left-out steps repeat the one before; "value": they are `fill`.
    padding: str
    #: The output, feature by feature, of left-out steps (of those before the first, with "repeat"); None: zeros.
    fill: Optional[List[float]] = None
    #: y is in the reverse order of time, all T steps turned around.
    turned: bool = False

    def text(self) -> str:
        return json.dumps(self._asdict())

    @classmethod
    def of_text(cls, text: str, input_size: int, token_count: int, output_size: int) -> "MaskRule":
        """The inverse of `text` for a network of those sizes; the metadata of a file may hold anything."""
        try:
            values = json.loads(text)
            begin, end = values["columns"]
            fill = None if values["fill"] is None else [float(number) for number in values["fill"]]
            rule = cls(
                values["kind"], float(values["value"]), (int(begin), int(end)), values["padding"], fill, bool(values["turned"])
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise format_error(f"the metadata entry {MASK_KEY!r} is damaged") from None
        if rule.kind not in ("token", "value") or rule.padding not in ("repeat", "value"):
            raise format_error(f"the metadata entry {MASK_KEY!r} asks for what is not known")
        columns = token_count if rule.kind == "token" else input_size
        if not 0 <= rule.columns[0] < rule.columns[1] <= columns or not math.isfinite(rule.value):
            raise format_error(f"the metadata entry {MASK_KEY!r} is about {rule.kind}s that the network does not read")
        if rule.fill is not None and len(rule.fill) != output_size:
            raise format_error(f"the metadata entry {MASK_KEY!r} fills {len(rule.fill)} features of {output_size}")
        return rule

    def mask(self, x: Optional[np.ndarray], tokens: Optional[np.ndarray], steps: int) -> np.ndarray:
        """True where a step is there, as [.., steps] axes: of features [.., F], or tokens [..] or [.., K]."""
        begin, end = self.columns
        if self.kind == "token":
            assert tokens is not None
            column = tokens[..., begin] if tokens.ndim > steps else tokens
            return np.asarray(column != int(self.value))
        assert x is not None
        # Compared in the dtype of x, as Keras does: 0.1 in float32 is another number than 0.1.
        return np.asarray((x[..., begin:end] != x.dtype.type(self.value)).any(axis=-1))

    def finish(self, y: np.ndarray, mask: np.ndarray, time_axis: int) -> None:
        """Write `fill` where it belongs; y [.., steps, O]."""
        if self.fill is None:
            return
        present = np.asarray(mask, bool)
        if self.turned:
            present = np.flip(present, time_axis)
        if self.padding == "repeat":
            present = np.logical_or.accumulate(present, axis=time_axis)
        y[~present] = np.asarray(self.fill, y.dtype)
