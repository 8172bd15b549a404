"""What is timed: the grid of configurations, their work and their groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

GATES = {"lstm": 4, "gru": 3, "gru-before": 3, "rnn": 1}
KINDS = ("step", "sequence", "training")


@dataclass(frozen=True)
class Configuration:
    """One row of the table: a stack of L layers (each in D directions) of H units on x [T, N, I], in float32.

    kind is "step" (T = N = 1, the state goes from step to step), "sequence" (forward, from a zero state), or "training"
    (forward and backward, gradients of all parameters). cell: gru is reset-after, gru-before reset-before.
    """

    kind: str
    cell: str
    T: int
    N: int
    I: int  # noqa: E741
    H: int
    L: int = 1
    D: int = 1
    weights: str = "float32"

    @property
    def name(self) -> str:
        shape = f"I{self.I} H{self.H}" if self.kind == "step" else f"T{self.T} N{self.N} I{self.I} H{self.H}"
        layers = (f" L{self.L}" if self.L > 1 else "") + (" bi" if self.D == 2 else "")
        stored = "" if self.weights == "float32" else f" {self.weights}"
        return f"{self.kind} {self.cell} {shape}{layers}{stored}"

    @property
    def peer(self) -> "Configuration":
        """What the peers are timed with: bf16 weights of librnn stand against their float32."""
        return Configuration(self.kind, self.cell, self.T, self.N, self.I, self.H, self.L, self.D)

    def layer_inputs(self) -> List[int]:
        return [self.I if layer == 0 else self.H * self.D for layer in range(self.L)]

    @property
    def flops(self) -> int:
        """Products only, 2 a multiply-add. Training: forward; dW and dR; dH through R; dX of all layers but the first."""
        total = 0
        for layer, inputs in enumerate(self.layer_inputs()):
            unit = 2 * self.T * self.N * GATES[self.cell] * self.H * self.D
            total += unit * (inputs + self.H)
            if self.kind == "training":
                total += unit * (inputs + self.H) + unit * self.H + (unit * inputs if layer else 0)
        return total

    @property
    def weight_bytes(self) -> int:
        """What one step has to read at least."""
        size = 2 if self.weights == "bf16" else 4
        return sum(size * GATES[self.cell] * self.H * self.D * (inputs + self.H) for inputs in self.layer_inputs())


def group(configuration: Configuration) -> str:
    """The row group of the bars that a configuration belongs to (see `bars.BARS`)."""
    c = configuration
    if c.kind == "training":
        return "training"
    if c.kind == "sequence":
        return "sequences, batch 1" if c.N == 1 else "sequences, batch 2 and more"
    if c.weights == "bf16":
        return "one step, bf16 weights"
    if c.H <= 64:
        return "one step, H to 64"
    return "one step, H to 128" if c.H <= 128 else "one step, H above 128"


CELLS = ("lstm", "gru", "gru-before", "rnn")

#: (T, N, I, H, L, D)
Shape = Tuple[int, int, int, int, int, int]

SEQUENCES: List[Shape] = [
    (100, 1, 64, 64, 1, 1),
    (1000, 1, 128, 128, 1, 1),
    (100, 1, 256, 256, 2, 1),
    (100, 1, 512, 512, 1, 1),
    (50, 1, 1024, 1024, 1, 1),
    (77, 1, 13, 48, 1, 1),
    (61, 1, 41, 200, 1, 1),
    (53, 1, 129, 384, 1, 1),
    (100, 8, 256, 256, 1, 1),
    (100, 32, 256, 256, 2, 1),
    (100, 32, 512, 512, 1, 2),
    (35, 64, 650, 650, 2, 1),
    (50, 128, 1024, 1024, 1, 1),
    (51, 9, 24, 24, 1, 1),
    (73, 17, 39, 96, 1, 1),
    (37, 33, 101, 200, 1, 1),
    (29, 63, 700, 700, 1, 1),
]
#: The vanilla cell: three of them.
RNN_SEQUENCES = [SEQUENCES[0], SEQUENCES[3], SEQUENCES[9]]

TRAININGS: List[Shape] = [
    (35, 20, 200, 200, 2, 1),
    (35, 32, 256, 256, 1, 1),
    (35, 64, 650, 650, 2, 1),
    (100, 32, 128, 128, 1, 2),
    (64, 32, 512, 512, 2, 1),
    (51, 7, 13, 48, 1, 1),
    (41, 19, 67, 96, 1, 1),
    (23, 33, 129, 384, 1, 1),
]

STEPS = (16, 24, 32, 48, 64, 96, 128, 200, 256, 384, 512, 700, 1024)


def grid() -> List[Configuration]:
    """Every configuration, in the order of the table; GRU reset-before beside each reset-after row."""
    rows: List[Configuration] = []
    for hidden in STEPS:
        rows += [Configuration("step", cell, 1, 1, hidden, hidden) for cell in CELLS]
    for hidden in (16, 32, 64):
        rows += [Configuration("step", cell, 1, 1, 1, hidden) for cell in CELLS]
    rows += [Configuration("step", cell, 1, 1, h, h, weights="bf16") for h in (256, 512, 1024) for cell in CELLS]
    for shape in SEQUENCES:
        cells = CELLS if shape in RNN_SEQUENCES else CELLS[:3]
        rows += [Configuration("sequence", cell, *shape) for cell in cells]
    for shape in TRAININGS:
        rows += [Configuration("training", cell, *shape) for cell in CELLS[:3]]
    return rows


def quick_grid() -> List[Configuration]:
    """A few rows of each group: to see in minutes whether everything runs."""
    rows = [Configuration("step", cell, 1, 1, h, h) for h in (32, 128, 256) for cell in CELLS]
    rows.append(Configuration("step", "lstm", 1, 1, 256, 256, weights="bf16"))
    for shape in ((100, 1, 64, 64, 1, 1), (37, 33, 101, 200, 1, 1)):
        rows += [Configuration("sequence", cell, *shape) for cell in CELLS[:3]]
    rows += [Configuration("training", cell, 35, 20, 200, 200, 2, 1) for cell in CELLS[:3]]
    return rows


def by_group(rows: List[Configuration]) -> Dict[str, List[Configuration]]:
    groups: Dict[str, List[Configuration]] = {}
    for row in rows:
        groups.setdefault(group(row), []).append(row)
    return groups
