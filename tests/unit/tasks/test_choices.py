"""Choices are written one way and taken apart again; an answer names a choice, or it is no answer."""

import pytest

from unspoken.errors import DataError
from unspoken.tasks.choices import checked_choices, read_choice, soft_accuracy, split_choices, with_choices, written
from unspoken.tasks.sentences import sentences

ANIMALS = ("cat", "Dog", "red fox", "m. bison")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("numbers", "Who? The choices are 0 : cat, 1 : Dog, 2 : red fox, 3 : m. bison"),
        ("letters", "Who? The choices are A : cat, B : Dog, C : red fox, D : m. bison"),
    ],
)
def test_choices_are_written_and_taken_apart_again(labels, text):
    assert with_choices("Who?", ANIMALS, labels) == text
    assert split_choices(text, labels) == ("Who?", ANIMALS)


def test_spaces_around_a_colon_and_commas_within_a_choice_do_not_matter():
    text = "Who? The choices are 0: cat, or not,1 :dog , 2:a, b"
    assert split_choices(text, "numbers") == ("Who?", ("cat, or not", "dog", "a, b"))


def test_only_the_last_list_of_choices_counts():
    text = "Are The choices are 0 : x fine? The choices are 0 : yes, 1 : no"
    assert split_choices(text, "numbers") == ("Are The choices are 0 : x fine?", ("yes", "no"))


def test_choices_that_cannot_be_taken_apart_are_refused():
    with pytest.raises(DataError, match=r"no 'The choices are 0 : ...' in the text 'Who"):
        split_choices("Who? cat or dog", "numbers")
    with pytest.raises(DataError, match="the label ', 1 :' stands 2 times"):
        split_choices("Who? The choices are 0 : a, 1 : b, 1 : c", "numbers")
    for choices in (("a, 1 : b", "c"), ("a", "b, 2 : c"), ("a", "The choices are 0 : c")):
        with pytest.raises(DataError, match=r"hold a label such as ', 1 :'; reword them"):
            with_choices("Who?", choices, "numbers")
    assert with_choices("Who?", ("a, 1 : b", "c"), "letters") == "Who? The choices are A : a, 1 : b, B : c"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("cat", "choices is the text 'cat'; it must be a list of texts"),
        (["cat", " "], "must be a list of texts that are not empty"),
        (["cat", 1], "must be a list of texts that are not empty"),
        (["cat"], "there are 1 choices"),
        ([str(number) for number in range(27)], "there are 27 choices"),
        (["cat", "dog", " cat"], "the text 'cat' is a choice more than once"),
    ],
)
def test_what_are_no_choices_is_refused(value, message):
    with pytest.raises(DataError, match=message):
        checked_choices(value)


def test_choices_have_single_spaces_and_may_repeat_when_allowed():
    assert checked_choices([" a\n b", "A b"]) == ("a b", "A b")
    assert checked_choices(["road", "sea", "road"], repeated=True) == ("road", "sea", "road")


def test_an_answer_is_written_in_three_forms_and_of_equal_choices_as_the_first():
    assert [written(2, ANIMALS, "numbers", form) for form in ("label", "text", "both")] == [
        "2",
        "red fox",
        "2 : red fox",
    ]
    assert written(2, ANIMALS, "letters", "both") == "C : red fox"
    assert written(2, ("road", "sea", "road"), "numbers", "both") == "0 : road"


@pytest.mark.parametrize(
    ("text", "index"),
    [
        (" 2 ", 2), ("2.", 2), ("(2)", 2), ("2:", 2), ("4", None), ("-1", None), ("02", None), ("C", None),
        ("red fox", 2), ("Red  Fox.", 2), ("fox", None), ("dog", 1), ("the dog", None), ("m. bison", 3),
        ("2 : red fox", 2), ("2: RED FOX!", 2), ("(2) red fox", 2), ("2. red fox", 2), ("2 red fox", None),
        ("2 : dog", None), ("4 : dog", None), ("2 : zebra", None), ("2 : 2", None),
        ("red fox\n1 : Dog", 2), ("\n\n1\n2", 1), ("", None), (" . ", None), ("1 or 2", None), ("1, 2", None),
    ],
)  # fmt: skip
def test_a_choice_is_read_by_label_text_or_both(text, index):
    for form in ("label", "text", "both"):
        assert read_choice(text, ANIMALS, "numbers", form) == index


def test_letters_are_read_where_letters_are_shown():
    for text in ("B", "b", "(b)", "b) dog", "B : Dog", "dog"):
        assert read_choice(text, ANIMALS, "letters", "both") == 1
    for text in ("1", "E", "A : dog", "bb"):
        assert read_choice(text, ANIMALS, "letters", "both") is None


@pytest.mark.parametrize(("form", "index"), [("label", 2), ("text", 1), ("both", None)])
def test_a_word_that_is_one_label_and_the_text_of_another_choice_is_what_the_gold_answer_would_be(form, index):
    assert read_choice("2", ("1", "2", "3"), "numbers", form) == index
    assert read_choice("1 : 2", ("1", "2", "3"), "numbers", form) == 1


def test_choices_that_differ_by_capitals_or_punctuation_are_told_apart():
    closings = ("Best friend,", "best friend,", "best friend")
    for index, closing in enumerate(closings):
        assert read_choice(closing, closings, "numbers", "text") == index
    assert read_choice("BEST FRIEND,", closings, "numbers", "text") is None
    assert read_choice("BEST FRIEND", closings, "numbers", "text") == 2


def test_ratios_and_decimals_are_texts():
    ratios = ("0:4", "4:0", "1:3", "2.5")
    assert [read_choice(ratio, ratios, "numbers", "both") for ratio in ratios] == [0, 1, 2, 3]
    assert read_choice("3 : 2.5", ratios, "numbers", "both") == 3
    assert read_choice("2.5", ("5", "6", "5 km"), "numbers", "both") is None


def test_equal_choices_are_one_answer():
    roads = ("air", "water", "road", "road")
    for text in ("2", "3", "road", "3 : road", "2 : road"):
        assert read_choice(text, roads, "numbers", "both") == 2


@pytest.mark.parametrize(
    ("given", "value"),
    [
        # of 10 annotators, m gave the answer: m sets hold m - 1 of them, 10 - m sets hold m
        (["dog"] * 0 + ["cat"] * 10, 0.0),
        (["dog"] * 1 + ["cat"] * 9, (1 * 0 + 9 * 1 / 3) / 10),
        (["dog"] * 2 + ["cat"] * 8, (2 * 1 / 3 + 8 * 2 / 3) / 10),
        (["dog"] * 3 + ["cat"] * 7, (3 * 2 / 3 + 7 * 1) / 10),
        (["dog"] * 4 + ["cat"] * 6, 1.0),
        (["dog"] * 10, 1.0),
        (["dog", "dog", "cat"], (1 / 3 + 1 / 3 + 2 / 3) / 3),
        (["Dog.", " DOG ", "dogs", "cat"], (2 * 1 / 3 + 2 * 2 / 3) / 4),
    ],
)
def test_soft_accuracy_is_the_mean_over_leaving_one_annotator_out(given, value):
    assert soft_accuracy("dog", given) == pytest.approx(value, abs=1e-12)
    assert soft_accuracy("Dog!", given[::-1]) == pytest.approx(value, abs=1e-12)


def test_soft_accuracy_needs_two_annotators():
    for given in ([], ["dog"]):
        with pytest.raises(DataError, match=f"{len(given)} direct answers; leaving one out needs at least 2"):
            soft_accuracy("dog", given)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is a dog. It barks!  Why?", ("It is a dog.", "It barks!", "Why?")),
        ("It is big. the tail is long", ("It is big.", "the tail is long")),
        ('He said "stop." then left', ('He said "stop."', "then left")),
        (
            "Mr. Lee of the u.s. air force weighs 2.5 tons. Yes",
            ("Mr. Lee of the u.s. air force weighs 2.5 tons.", "Yes"),
        ),
        ("Look:\n\n- one\n- two", ("Look:", "- one", "- two")),
        ("1. First do this. 2. Then that.", ("1. First do this.", "2. Then that.")),
        ("  \n ", ()),
    ],
)
def test_prose_is_divided_into_sentences(text, expected):
    assert sentences(text) == expected
    assert " ".join(sentences(text)) == " ".join(text.split())
