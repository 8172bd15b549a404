#!/usr/bin/env python3
"""Draws the four figures of docs/equations.md as SVG. Needs Python only.

    python3 docs/figures/make_figures.py            writes gru.svg, lstm.svg, deep.svg, bidirectional.svg
    python3 docs/figures/make_figures.py --check    writes nothing; fails if a file differs

Coordinates are pixels, y downwards. A wire begins and ends at a port of a shape, so that arrows meet their targets.
Before a figure is written, labels are checked: none may touch a wire, a shape or another label.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SERIF = "'Latin Modern Roman','STIX Two Text','Times New Roman','Liberation Serif','DejaVu Serif',serif"
SANS = "'Helvetica Neue',Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif"

INK, GREY, CARD, CELL = "#1f2328", "#57606a", "#ffffff", "#f3f5f8"
GATE_FILL, GATE_LINE = "#d8e8fb", "#2f6db3"
OPERATOR_FILL, OPERATOR_LINE = "#fdf0cf", "#a87411"
MEMORY = "#b3372f"

# Widths of italic serif letters in em, the wider of Times and DejaVu Serif: for placing subscripts and for the check.
LETTER_WIDTH = {"H": 0.86, "X": 0.70, "C": 0.74, "Z": 0.68, "R": 0.74, "O": 0.80, "F": 0.68, "I": 0.40, "W": 1.02, "b": 0.62}


class Shape:
    """A box with four ports."""

    def __init__(self, x, y, width, height):
        self.x, self.y, self.width, self.height = x, y, width, height
        self.left, self.right = (x - width / 2, y), (x + width / 2, y)
        self.top, self.bottom = (x, y - height / 2), (x, y + height / 2)
        self.box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def on_top(self, dx):
        return (self.x + dx, self.y - self.height / 2)

    def on_bottom(self, dx):
        return (self.x + dx, self.y + self.height / 2)

    def on_left(self, dy):
        return (self.x - self.width / 2, self.y + dy)


class Figure:
    def __init__(self, name, width, height, title, description):
        self.name, self.width, self.height = name, width, height
        self.title, self.description = title, description
        self.back, self.wires, self.shapes, self.texts = [], [], [], []
        self.labels, self.obstacles, self.segments = [], [], []

    # Shapes

    def cell(self, x0, y0, x1, y1, label=None):
        """The outline of one cell."""
        self.back.append(f'<rect x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}" rx="14" fill="{CELL}" stroke="#c6ccd3"/>')
        if label:
            self.text(x0 + 14, y0 + 22, label, anchor="start", colour=GREY, size=13)

    def gate(self, x, y, function, width=58, height=38):
        """An affine map with weights of its own, then `function`."""
        shape = Shape(x, y, width, height)
        self.shapes.append(f'<rect x="{shape.box[0]:g}" y="{shape.box[1]:g}" width="{width}" height="{height}" rx="3" '
                           f'fill="{GATE_FILL}" stroke="{GATE_LINE}" stroke-width="1.6"/>')
        self.shapes.append(self._plain(x, y + 6, function, 19, INK, "middle", SERIF))
        self.obstacles.append(shape.box)
        return shape

    def operator(self, x, y, symbol, radius=14):
        """An elementwise operation."""
        shape = Shape(x, y, 2 * radius, 2 * radius)
        self.shapes.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius}" fill="{OPERATOR_FILL}" stroke="{OPERATOR_LINE}" stroke-width="1.6"/>')
        self.shapes.append(self._symbol(x, y, symbol))
        self.obstacles.append(shape.box)
        return shape

    def function(self, x, y, symbol, width=58, height=30):
        """An elementwise function without weights."""
        shape = Shape(x, y, width, height)
        self.shapes.append(f'<rect x="{shape.box[0]:g}" y="{shape.box[1]:g}" width="{width}" height="{height}" rx="{height / 2:g}" '
                           f'fill="{OPERATOR_FILL}" stroke="{OPERATOR_LINE}" stroke-width="1.6"/>')
        self.shapes.append(self._plain(x, y + 6, symbol, 17, INK, "middle", SERIF))
        self.obstacles.append(shape.box)
        return shape

    def join(self, x, y, width, height):
        """Concatenation: what enters on one side leaves side by side on the other."""
        shape = Shape(x, y, width, height)
        self.shapes.append(f'<rect x="{shape.box[0]:g}" y="{shape.box[1]:g}" width="{width}" height="{height}" rx="2" fill="{INK}"/>')
        self.obstacles.append(shape.box)
        return shape

    def dot(self, x, y):
        """A wire that goes on in two directions: the same values in both."""
        self.shapes.append(f'<circle cx="{x:g}" cy="{y:g}" r="3.6" fill="{INK}"/>')

    # Wires

    def wire(self, *points, arrow=True, over=False, colour=INK, width=1.8):
        """A line through the points, with right angles; the tip of the arrow is at the last point. A wire that crosses
        earlier ones says `over` and leaves a gap in them."""
        points = [(float(x), float(y)) for x, y in points]
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            assert x0 == x1 or y0 == y1, f"{self.name}: slanted wire {points}"
            new = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
            for old in self.segments:
                across = new[0] < old[0] == old[2] < new[2] and old[1] < new[1] == new[3] < old[3]
                down = old[0] < new[0] == new[2] < old[2] and new[1] < old[1] == old[3] < new[3]
                assert over or not (across or down), f"{self.name}: the wire {points} crosses {old}"
            self.segments.append(new)
        line = list(points)
        if arrow:
            (x0, y0), (x1, y1) = points[-2:]
            dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
            line[-1] = (x1 - 7 * dx, y1 - 7 * dy)
            wings = [(x1 - 10 * dx - 4.6 * dy, y1 - 10 * dy - 4.6 * dx), (x1 - 10 * dx + 4.6 * dy, y1 - 10 * dy + 4.6 * dx)]
            corners = " ".join(f"{x:g},{y:g}" for x, y in [(x1, y1), *wings])
        path = " ".join(f"{'M' if i == 0 else 'L'}{x:g} {y:g}" for i, (x, y) in enumerate(line))
        if over:
            self.wires.append(f'<path d="{path}" fill="none" stroke="{CELL}" stroke-width="{width + 7:g}" stroke-linejoin="round"/>')
        self.wires.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-linejoin="round"/>')
        if arrow:
            self.wires.append(f'<polygon points="{corners}" fill="{colour}"/>')

    def dots(self, x, y, vertical=False):
        """An ellipsis: more of the same."""
        for k in (-8, 0, 8):
            self.shapes.append(f'<circle cx="{x + (0 if vertical else k):g}" cy="{y + (k if vertical else 0):g}" r="2.2" fill="{GREY}"/>')

    # Text

    def symbol(self, x, y, letter, sub="", sup="", mark="", colour=INK, size=20):
        """A letter of the equations, centred at (x, y), with subscript, superscript and a mark above it."""
        width = LETTER_WIDTH[letter] * size
        small = round(size * 0.66)
        script_width = max(len(sub), len(sup)) * small * 0.56 + (2 if sub or sup else 0)
        left = x - (width + script_width) / 2
        centre, top = left + width / 2, y - size * 0.36
        baseline = y + size * 0.34
        self.texts.append(self._plain(centre, baseline, letter, size, colour, "middle", SERIF, italic=True))
        scripts = left + width + 1.5
        if sub:
            self.texts.append(self._plain(scripts, baseline + size * 0.24, sub.replace("-", "−"), small, colour, "start", SERIF, italic=True))
        if sup:
            self.texts.append(self._plain(scripts + 1.5, baseline - size * 0.44, sup, small, colour, "start", SERIF, italic=True))
        if mark == "tilde":
            self.texts.append(f'<path d="M{centre - 4.5:g} {top - 3:g} q3 -5.5 5.5 -2.6 t5.5 -2" fill="none" stroke="{colour}" stroke-width="1.4" stroke-linecap="round"/>')
        elif mark in ("forward", "backward"):
            s = 1 if mark == "forward" else -1
            self.texts.append(f'<path d="M{centre - s * 7:g} {top - 6:g} h{s * 14} m{-s * 4} -3 l{s * 4} 3 l{-s * 4} 3" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        above = 10 if mark else 0
        self.labels.append((letter + sub, (left, y - size * 0.36 - above, left + width + script_width, baseline + (size * 0.3 if sub else 0))))

    def text(self, x, y, text, anchor="middle", colour=GREY, size=13):
        """Words."""
        self.texts.append(self._plain(x, y, text, size, colour, anchor, SANS))
        width = len(text) * size * 0.6
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        self.labels.append((text, (left, y - size * 0.8, left + width, y + size * 0.25)))

    @staticmethod
    def _plain(x, y, text, size, colour, anchor, family, italic=False):
        style = ' font-style="italic"' if italic else ""
        return f'<text x="{x:g}" y="{y:g}" font-family="{family}" font-size="{size}"{style} fill="{colour}" text-anchor="{anchor}">{text}</text>'

    @staticmethod
    def _symbol(x, y, symbol):
        stroke = f'stroke="{INK}" stroke-width="1.7" fill="none"'
        if symbol == "⊙":
            return f'<circle cx="{x:g}" cy="{y:g}" r="6.5" {stroke}/><circle cx="{x:g}" cy="{y:g}" r="1.9" fill="{INK}"/>'
        if symbol == "+":
            return f'<path d="M{x - 6.5:g} {y:g} h13 M{x:g} {y - 6.5:g} v13" {stroke}/>'
        return Figure._plain(x, y + 5, symbol, 15, INK, "middle", SERIF)

    def legend(self, y, *entries):
        """One line that explains the shapes."""
        x = 28
        for kind, text in entries:
            middle = y - 5
            if kind == "gate":
                self.shapes.append(f'<rect x="{x}" y="{middle - 8}" width="26" height="16" rx="3" fill="{GATE_FILL}" stroke="{GATE_LINE}" stroke-width="1.4"/>')
            elif kind == "operator":
                self.shapes.append(f'<circle cx="{x + 13}" cy="{middle}" r="8" fill="{OPERATOR_FILL}" stroke="{OPERATOR_LINE}" stroke-width="1.4"/>')
            elif kind == "join":
                self.shapes.append(f'<path d="M{x + 2} {middle - 5} h10 M{x + 2} {middle + 5} h10 M{x + 13} {middle} h12" stroke="{INK}" stroke-width="1.5"/>')
                self.shapes.append(f'<rect x="{x + 11}" y="{middle - 9}" width="5" height="18" rx="2" fill="{INK}"/>')
            elif kind == "copy":
                self.shapes.append(f'<path d="M{x} {middle + 4} h26 M{x + 13} {middle + 4} v-12" stroke="{INK}" stroke-width="1.5"/>')
                self.shapes.append(f'<circle cx="{x + 13}" cy="{middle + 4}" r="3.2" fill="{INK}"/>')
            self.text(x + 34, y, text, anchor="start", size=12)
            x += 34 + len(text) * 6.3 + 24
        assert x - 24 < self.width, f"{self.name}: the legend is too wide ({x})"

    # Checks and output

    def check(self):
        def meet(a, b, gap):
            return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap

        for i, (name, box) in enumerate(self.labels):
            assert 4 < box[0] and box[2] < self.width - 4 and 4 < box[1] and box[3] < self.height - 4, f"{self.name}: {name} leaves the card"
            for other, other_box in self.labels[:i]:
                assert not meet(box, other_box, 2), f"{self.name}: {name} touches {other}"
            for shape in self.obstacles:
                assert not meet(box, shape, 1), f"{self.name}: {name} touches the shape at {shape}"
            for segment in self.segments:
                assert not meet(box, segment, 2), f"{self.name}: {name} touches the wire {segment}"

    def svg(self):
        self.check()
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}" role="img" aria-labelledby="title description">',
            f'<title id="title">{self.title}</title>',
            f'<desc id="description">{self.description}</desc>',
            f'<rect x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="10" fill="{CARD}" stroke="#d0d7de"/>',
            *self.back, *self.wires, *self.shapes, *self.texts, "</svg>", ""]
        return "\n".join(lines)


LEGEND = [("gate", "affine map with its own W and b, then the function"), ("operator", "elementwise"),
          ("join", "side by side"), ("copy", "the same values")]


def gru():
    f = Figure("gru", 880, 506, "GRU with the reset gate before the recurrent product",
               "R and Z come from X_t and H_{t-1}. The candidate comes from X_t and R ⊙ H_{t-1}. "
               "H_t = Z ⊙ H_{t-1} + (1 - Z) ⊙ candidate.")
    f.cell(110, 36, 770, 400, "GRU, reset before")
    z_keep, plus = f.operator(420, 100, "⊙"), f.operator(670, 100, "+")
    r_apply = f.operator(270, 186, "⊙")
    one_minus, z_new = f.operator(490, 150, "1−"), f.operator(590, 150, "⊙")
    r, z, candidate = f.gate(270, 270, "σ"), f.gate(420, 270, "σ"), f.gate(590, 270, "tanh")
    both, reset_both = f.join(205, 340, 6, 52), f.join(545, 340, 6, 52)

    # H_{t-1}: along the top, and down to the reset product and to the gates.
    f.wire((80, 100), z_keep.left)
    f.wire(z_keep.right, plus.left)
    f.wire(plus.right, (806, 100))
    f.wire((165, 100), (165, 326), both.on_left(-14))
    f.wire((165, 186), r_apply.left)
    f.dot(165, 100)
    f.dot(165, 186)
    # X_t: to the gates, and along the bottom to the candidate.
    f.wire((140, 440), (140, 354), both.on_left(14))
    f.wire((140, 380), (515, 380), (515, 354), reset_both.on_left(14))
    f.dot(140, 380)
    # Both to the reset and the update gate.
    f.wire(both.right, (420, 340), z.bottom)
    f.wire((270, 340), r.bottom)
    f.dot(270, 340)
    # Z upwards, then R ⊙ H_{t-1} above it to the candidate.
    f.wire(z.top, z_keep.bottom)
    f.wire((420, 150), one_minus.left)
    f.dot(420, 150)
    f.wire(one_minus.right, z_new.left)
    f.wire(r.top, r_apply.bottom)
    f.wire(r_apply.right, (515, 186), (515, 326), reset_both.on_left(-14), over=True)
    f.wire(reset_both.right, (590, 340), candidate.bottom)
    f.wire(candidate.top, z_new.bottom)
    f.wire(z_new.right, (670, 150), plus.bottom)

    f.symbol(52, 100, "H", "t-1")
    f.symbol(832, 100, "H", "t")
    f.symbol(140, 454, "X", "t")
    f.symbol(290, 226, "R", "t")
    f.symbol(440, 226, "Z", "t")
    f.symbol(614, 220, "H", "t", mark="tilde")
    f.text(306, 266, "reset", anchor="start")
    f.text(306, 282, "gate", anchor="start")
    f.text(456, 266, "update", anchor="start")
    f.text(456, 282, "gate", anchor="start")
    f.text(628, 266, "candidate", anchor="start")
    f.text(628, 282, "state", anchor="start")
    f.legend(490, *LEGEND)
    return f


def lstm():
    f = Figure("lstm", 960, 540, "LSTM",
               "The gates I, F, O and the candidate memory cell come from X_t and H_{t-1}. The memory cell: "
               "C_t = F ⊙ C_{t-1} + I ⊙ candidate. H_t = O ⊙ tanh(C_t).")
    f.cell(110, 36, 850, 440, "LSTM")
    forget, plus = f.operator(250, 100, "⊙"), f.operator(450, 100, "+")
    new = f.operator(450, 195, "⊙")
    squash, show = f.function(756, 160, "tanh"), f.operator(756, 235, "⊙")
    gate_f, gate_i = f.gate(250, 300, "σ"), f.gate(390, 300, "σ")
    gate_c, gate_o = f.gate(510, 300, "tanh"), f.gate(650, 300, "σ")
    both = f.join(185, 372, 6, 52)

    # The memory cell.
    f.wire((80, 100), forget.left, colour=MEMORY, width=2.8)
    f.wire(forget.right, plus.left, colour=MEMORY, width=2.8)
    f.wire(plus.right, (886, 100), colour=MEMORY, width=2.8)
    # H_{t-1} and X_t to the four gates.
    f.wire((80, 358), both.on_left(-14))
    f.wire((140, 480), (140, 386), both.on_left(14))
    f.wire(both.right, (650, 372), gate_o.bottom)
    for gate in (gate_f, gate_i, gate_c):
        f.wire((gate.x, 372), gate.bottom)
        f.dot(gate.x, 372)
    # Forget, input and candidate.
    f.wire(gate_f.top, forget.bottom)
    f.wire(gate_i.top, (390, 195), new.left)
    f.wire(gate_c.top, (510, 195), new.right)
    f.wire(new.top, plus.bottom)
    # The output.
    f.wire((756, 100), squash.top)
    f.dot(756, 100)
    f.wire(squash.bottom, show.top)
    f.wire(gate_o.top, (650, 235), show.left)
    f.wire(show.bottom, (756, 358), (886, 358))

    f.symbol(52, 100, "C", "t-1", colour=MEMORY)
    f.symbol(910, 100, "C", "t", colour=MEMORY)
    f.symbol(52, 358, "H", "t-1")
    f.symbol(912, 358, "H", "t")
    f.symbol(140, 492, "X", "t")
    f.symbol(268, 246, "F", "t")
    f.symbol(408, 246, "I", "t")
    f.symbol(532, 246, "C", "t", mark="tilde")
    f.symbol(670, 262, "O", "t")
    f.text(340, 88, "memory cell", colour=MEMORY)
    for gate, words in ((gate_f, ("forget", "gate")), (gate_i, ("input", "gate")), (gate_c, ("candidate", "cell")), (gate_o, ("output", "gate"))):
        f.text(gate.x + 34, 296, words[0], anchor="start", size=12)
        f.text(gate.x + 34, 312, words[1], anchor="start", size=12)
    f.legend(526, *LEGEND)
    return f


def affine_label(f, x, y):
    """Beside the last output box: its weights."""
    f.text(x, y + 5, "with", anchor="start")
    f.symbol(x + 54, y, "W", "hq", size=18)
    f.text(x + 78, y + 5, "and", anchor="start")
    f.symbol(x + 122, y, "b", "q", size=18)


def deep():
    f = Figure("deep", 880, 600, "Deep network of L layers",
               "Layer l reads the output of layer l - 1 at the same time step and its own state of the step before. "
               "O_t = H_t^(L) W_hq + b_q.")
    columns = [(260, "t-1"), (450, "t"), (640, "t+1")]
    rows = [(440, "1"), (330, "2"), (180, "L")]
    f.cell(120, 116, 780, 486)
    cells = {(x, row): f.gate(x, y, "cell", 76, 40) for x, _ in columns for y, row in rows}
    outputs = [f.gate(x, 88, "affine", 76, 36) for x, _ in columns]
    for y, row in rows:
        f.wire((150, y), cells[260, row].left)
        f.wire(cells[260, row].right, cells[450, row].left)
        f.wire(cells[450, row].right, cells[640, row].left)
        f.wire(cells[640, row].right, (750, y))
    for i, (x, time) in enumerate(columns):
        f.wire((x, 516), cells[x, "1"].bottom)
        f.wire(cells[x, "1"].top, cells[x, "2"].bottom)
        f.wire(cells[x, "2"].top, (x, 282), arrow=False)
        f.wire((x, 238), cells[x, "L"].bottom)
        f.dots(x, 260, vertical=True)
        f.wire(cells[x, "L"].top, outputs[i].bottom)
        f.wire(outputs[i].top, (x, 46))
        f.symbol(x, 532, "X", time)
        f.symbol(x, 28, "O", time)
    for y, row in rows:
        f.symbol(355, y - 22, "H", "t-1", f"({row})")
        f.symbol(545, y - 22, "H", "t", f"({row})")
        f.text(60, y + 5, f"layer {row}")
    f.symbol(480, 386, "H", "t", "(1)")
    f.symbol(480, 138, "H", "t", "(L)")
    affine_label(f, 700, 88)
    f.text(28, 566, "Each layer has weights of its own, the same at every time step.", anchor="start", size=12)
    f.text(28, 584, "cell: vanilla, GRU or LSTM. An LSTM cell also hands its memory cell C to the next step.", anchor="start", size=12)
    return f


def bidirectional():
    f = Figure("bidirectional", 920, 540, "Bidirectional layer",
               "A forward cell and a backward cell with weights of their own read the same input. H_t is both hidden "
               "states side by side. O_t = H_t W_hq + b_q.")
    columns = [(250, "t-1"), (470, "t"), (690, "t+1")]
    f.cell(110, 118, 830, 420)
    forward, backward, joins, outputs = {}, {}, {}, {}
    for x, time in columns:
        forward[x] = f.gate(x - 44, 334, "cell", 64, 38)
        backward[x] = f.gate(x + 44, 234, "cell", 64, 38)
        joins[x] = f.join(x, 150, 120, 6)
        outputs[x] = f.gate(x, 84, "affine", 76, 36)
    # Time: forward to the right, backward to the left.
    f.wire((140, 334), forward[250].left)
    f.wire(forward[250].right, forward[470].left)
    f.wire(forward[470].right, forward[690].left)
    f.wire(forward[690].right, (800, 334))
    f.wire((800, 234), backward[690].right)
    f.wire(backward[690].left, backward[470].right)
    f.wire(backward[470].left, backward[250].right)
    f.wire(backward[250].left, (140, 234))
    for x, time in columns:
        f.wire((x, 394), (x + 44, 394), backward[x].bottom, over=True)
        f.wire((x, 450), (x, 394), (x - 44, 394), forward[x].bottom)
        f.dot(x, 394)
        f.wire(forward[x].top, joins[x].on_bottom(-44), over=True)
        f.wire(backward[x].top, joins[x].on_bottom(44))
        f.wire(joins[x].top, outputs[x].bottom)
        f.wire(outputs[x].top, (x, 46))
        f.symbol(x, 468, "X", time)
        f.symbol(x, 28, "O", time)
        f.symbol(x - 70, 196, "H", time, mark="forward", size=18)
        f.symbol(x + 72, 190, "H", time, mark="backward", size=18)
        f.symbol(x + (20 if time == "t" else 32), 130, "H", time, size=18)
    affine_label(f, 750, 84)
    f.text(62, 338, "forward")
    f.text(62, 238, "backward")
    f.text(28, 506, "The forward and the backward cell have weights of their own, each the same at every time step.", anchor="start", size=12)
    f.text(28, 524, "The bar puts the two hidden states side by side.", anchor="start", size=12)
    return f


def main():
    stale = []
    for draw in (gru, lstm, deep, bidirectional):
        figure = draw()
        path, text = FOLDER / f"{figure.name}.svg", figure.svg()
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(path.name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.exit("out of date, run docs/figures/make_figures.py: " + ", ".join(stale))


if __name__ == "__main__":
    main()
