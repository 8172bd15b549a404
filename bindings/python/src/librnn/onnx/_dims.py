"""Sizes that are known only when a graph runs: polynomials over names such as "batch"."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping, Optional, Tuple, Union

Names = Tuple[str, ...]
Size = Union[int, "Dim"]

#: Limits that no honest graph reaches: terms of one polynomial, factors of one term, bits of a number.
_TERMS, _FACTORS, _BITS = 32, 16, 128


class DimError(ValueError):
    """A calculation with sizes that has no answer before the sizes are known."""


class Dim:
    """A sum of products of names, such as ``2*batch + 1``; plain integers stay `int`."""

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Names, int]) -> None:
        self.terms: Dict[Names, int] = dict(terms)

    @staticmethod
    def of(name: str) -> "Dim":
        return Dim({(name,): 1})

    @staticmethod
    def _made(terms: Mapping[Names, int]) -> Size:
        kept = {names: count for names, count in terms.items() if count}
        if len(kept) > _TERMS or any(
            len(names) > _FACTORS or count.bit_length() > _BITS for names, count in kept.items()
        ):
            raise DimError("a size is too complicated")
        return kept.get((), 0) if not set(kept) - {()} else Dim(kept)

    def only_name(self) -> Optional[str]:
        """The name, if the size is nothing but it."""
        (names, count), *more = self.terms.items()
        return names[0] if not more and count == 1 and len(names) == 1 else None

    def __add__(self, other: object) -> Size:
        terms = dict(self.terms)
        for names, count in _terms(other).items():
            terms[names] = terms.get(names, 0) + count
        return self._made(terms)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self._made({names: -count for names, count in self.terms.items()})

    def __sub__(self, other: object) -> Size:
        return self + self._made({names: -count for names, count in _terms(other).items()})

    def __rsub__(self, other: object) -> Size:
        return -self + other

    def __mul__(self, other: object) -> Size:
        terms: Dict[Names, int] = {}
        for left, count in self.terms.items():
            for right, factor in _terms(other).items():
                names = tuple(sorted(left + right))
                terms[names] = terms.get(names, 0) + count * factor
        return self._made(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> Size:
        return divide(self, _size(other))

    def __rfloordiv__(self, other: object) -> Size:
        return divide(_size(other), self)

    def __mod__(self, other: object) -> Size:
        divide(self, _size(other))
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __repr__(self) -> str:
        parts = []
        for names, count in sorted(self.terms.items()):
            factors = ([str(count)] if count != 1 or not names else []) + list(names)
            parts.append("*".join(factors))
        return " + ".join(parts)


def _size(value: object) -> Size:
    if isinstance(value, Dim):
        return value
    try:
        return int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise DimError(f"{value!r} is no size") from None


def _terms(value: object) -> Mapping[Names, int]:
    size = _size(value)
    return size.terms if isinstance(size, Dim) else {(): size}


def divide(size: Size, by: Size) -> Size:
    """``size / by`` where it is a whole number whatever the names stand for; otherwise an error."""
    if isinstance(by, int):
        if by == 0:
            raise DimError(f"{size!r} is divided by 0")
        if isinstance(size, int):
            return size // by
        if all(count % by == 0 for count in size.terms.values()):
            return Dim._made({names: count // by for names, count in size.terms.items()})
        raise DimError(f"({size!r}) / {by!r} is not known to be whole")
    if isinstance(size, int):
        if size == 0:
            return 0
        raise DimError(f"{size!r} / ({by!r}) is not known to be whole")
    if size == by:
        return 1
    if len(by.terms) == 1:
        (divisor, factor), = by.terms.items()
        result: Dict[Names, int] = {}
        for names, count in size.terms.items():
            left = list(names)
            for name in divisor:
                if name not in left:
                    raise DimError(f"({size!r}) / ({by!r}) is not known to be whole")
                left.remove(name)
            if count % factor:
                raise DimError(f"({size!r}) / ({by!r}) is not known to be whole")
            result[tuple(left)] = count // factor
        return Dim._made(result)
    raise DimError(f"({size!r}) / ({by!r}) is not known to be whole")


def product(sizes: Iterable[Size]) -> Size:
    total: Size = 1
    for size in sizes:
        total = total * size
        if isinstance(total, int) and total.bit_length() > _BITS:
            raise DimError("a size is too large")
    return total


def same(left: Size, right: Size) -> Optional[bool]:
    """Whether two sizes are equal; None if that depends on the names."""
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    if isinstance(left, Dim) and isinstance(right, Dim) and left == right:
        return True
    number = left if isinstance(left, int) else right
    if isinstance(number, int) and number < 0:
        other = right if isinstance(left, int) else left
        if isinstance(other, Dim) and all(count > 0 for count in other.terms.values()):
            return False  # sizes are not negative
    return None


def bind(size: Size, sizes: Mapping[str, int]) -> int:
    """The number that a size is once the names are known."""
    if isinstance(size, int):
        return size
    total = 0
    for names, count in size.terms.items():
        for name in names:
            if name not in sizes:
                raise DimError(f"the size {name!r} is not known")
            count *= sizes[name]
        total += count
    if not -(1 << 63) <= total < 1 << 63:
        raise DimError(f"the size {size!r} is {total}")
    return total
