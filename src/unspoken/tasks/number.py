"""Numbers as people write them, read exactly: no rounding, no tolerance, and nothing is ever evaluated.

"$1,234.50"  1234.5      "72.0"  72      "1/2"  0.5      "5%"  5      "72 apples"  not a number
"""

import re
from fractions import Fraction

MAX_CHARACTERS = 100
"""Longer texts are not numbers: no answer needs them, and huge integers take long to read."""

# ascii digits only: \d would also read digits of other scripts, which no gold answer uses
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<outer>[-+])?\s?\$?\s?(?P<inner>(?<=\$)[-+])?"
    rf"(?P<value>{_WHOLE}(?:\.[0-9]+)?|\.[0-9]+)(?:\s?/\s?(?P<divisor>{_WHOLE}))?\s?%?\s?\.?"
)


def canonical(text: str) -> str | None:
    """The one spelling of the number that the whole text writes, or None when the text is not one number.

    Read: a sign (also the minus sign of typography), `$` before or after it, commas between groups of three digits, a
    decimal point, a fraction. Left out: a `%` and a full stop at the end; a per cent is not divided
    by 100. Words, units, exponents, two numbers, or a comma anywhere else make it no number.

    Example:
        >>> canonical("-$1,234.50"), canonical("72.0"), canonical("1/3"), canonical("seven")
        ('-1234.5', '72', '1/3', None)
    """
    value = parse(text)
    return None if value is None else spell(value)


def first_line(text: str) -> str:
    """The first line with something on it: an answer ends there, even when the model writes on."""
    return text.strip().partition("\n")[0]


def parse(text: str) -> Fraction | None:
    """The exact value of the number that the whole text writes, or None; see `canonical`."""
    text = text.strip()
    if len(text) > MAX_CHARACTERS:
        return None
    match = _NUMBER.fullmatch(text.replace("\N{MINUS SIGN}", "-"))
    if match is None or (match["outer"] and match["inner"]):
        return None
    value = Fraction(match["value"].replace(",", ""))
    if match["divisor"]:
        divisor = int(match["divisor"].replace(",", ""))
        if divisor == 0:
            return None
        value /= divisor
    return -value if "-" in (match["outer"], match["inner"]) else value


def spell(value: Fraction) -> str:
    """A decimal without needless zeros where the value has a finite one, else the reduced fraction.

    Example:
        >>> spell(Fraction(5, 2)), spell(Fraction(1, 3)), spell(Fraction(0))
        ('2.5', '1/3', '0')
    """
    rest, twos = _without(value.denominator, 2)
    rest, fives = _without(rest, 5)
    if rest != 1:
        return str(value)
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def _without(number: int, factor: int) -> tuple[int, int]:
    """The number without a prime factor, and how often it held it."""
    count = 0
    while number % factor == 0:
        number, count = number // factor, count + 1
    return number, count
