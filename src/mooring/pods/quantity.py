"""How much is '100m' or '1.5Gi'? (apimachinery, pkg/api/resource/quantity.go)"""

from decimal import ROUND_CEILING, Decimal, InvalidOperation

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip


def parse(text: str | int | float) -> Decimal:
    """The value in base units (cores, bytes). Raises ValueError."""
    if not isinstance(text, str):
        return Decimal(str(text))
    number = text.rstrip("numkKMGTPEi")
    suffix = text[len(number) :]
    try:
        if suffix in _SUFFIXES:
            return Decimal(number) * _SUFFIXES[suffix]
        return Decimal(text)  # '1E3', '12e6'
    except InvalidOperation:
        raise ValueError(f"quantities must match the regular expression of a Quantity: {text!r}") from None


def whole(value: Decimal, divisor: Decimal = Decimal(1)) -> int:
    """value / divisor, rounded up as upstream does."""
    return int((value / divisor).to_integral_value(ROUND_CEILING))
