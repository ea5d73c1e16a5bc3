"""Numbers are read exactly, in one spelling each, and nothing else is taken for a number."""

import time
from fractions import Fraction

import pytest

from unspoken.tasks.number import canonical, first_line, parse, spell

SPELLINGS = {
    "72": ["72", " 72 ", "72.", "72.0", "72.00", "072", "+72", "$72", "$72.00", "$ 72", "72%", "72 %", "72%.", "144/2"],
    "-3": ["-3", "- 3", "-3.", "-3.0", "\N{MINUS SIGN}3", "-$3", "$-3", "-6/2", "-3%"],
    "0": ["0", "-0", "0.0", "$0", "0/5"],
    "0.5": ["0.5", ".5", "1/2", "1 / 2", "2/4", "$.50", "0.5."],
    "1234567": ["1234567", "1,234,567", "$1,234,567", "1,234,567.00"],
    "1000.25": ["1000.25", "1,000.25", "4001/4"],
    "1/3": ["1/3", "2/6", "1,000/3,000"],
    "-7/3": ["-7/3", "-14/6"],
}
NO_NUMBERS = [
    "", " ", "$", "%", ".", ",", "-", "seven", "72 apples", "apples 72", "70 72", "70 or 72", "70-72", "--3", "-$-3",
    "1,2", "12,34", "1,2345", ",123", "1,234,56", "1.2.3", "5..", "1e3", "1E3", "0x10", "1_000", "inf", "nan", "1/0",
    "1/2/3", "/2", "1/", "\N{ARABIC-INDIC DIGIT THREE}", "\N{SUPERSCRIPT TWO}", "\N{VULGAR FRACTION ONE HALF}",
    "7 2", "3*4", "3+4", "(3)", "=3", "**3**", "\\boxed{3}", "3\n4", "__import__('os').system('true')", "9**9**9",
]  # fmt: skip


@pytest.mark.parametrize(("spelling", "texts"), SPELLINGS.items())
def test_every_way_to_write_a_number_has_one_spelling(spelling, texts):
    assert {text: canonical(text) for text in texts} == dict.fromkeys(texts, spelling)


def test_what_is_not_one_number_is_none():
    assert {text: canonical(text) for text in NO_NUMBERS} == dict.fromkeys(NO_NUMBERS, None)


def test_numbers_that_differ_by_little_stay_apart():
    assert canonical("0.1") != canonical("0.10000000000000001")
    assert canonical("9007199254740993") == "9007199254740993", "one more than a float holds"
    assert parse("0.1") == Fraction(1, 10)


def test_a_spelling_reads_back_as_the_same_value():
    values = [Fraction(numerator, denominator) for numerator in range(-30, 31) for denominator in range(1, 41)]
    assert [parse(spell(value)) for value in values] == values


def test_huge_texts_are_refused_at_once():
    begin = time.process_time()
    texts = ["9" * 10_000_000, "1," * 5_000_000, " " * 10_000_000 + "x", "1/" * 1_000_000, "-" * 1_000_000]
    assert [canonical(text) for text in texts] == [None] * 5
    assert canonical("9" * 100) == "9" * 100
    assert time.process_time() - begin < 1


def test_an_answer_ends_with_its_line():
    assert first_line("  72\nThen I write on: 73") == "72"
    assert first_line("\n\n72") == "72"
    assert first_line(" \n ") == ""
