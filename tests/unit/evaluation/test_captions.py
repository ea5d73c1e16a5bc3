"""Captions measured: every figure against one worked by hand, and against the libraries that define it."""

import sys
from collections import Counter
from math import exp, log, sqrt
from random import Random

import pytest

from unspoken.errors import DataError, RecipeError
from unspoken.evaluation.captions import Written, measure, table
from unspoken.evaluation.captions.bleu import bleu, signature
from unspoken.evaluation.captions.cider import Frequencies, cider_d
from unspoken.evaluation.captions.measure import perplexity, plain
from unspoken.evaluation.captions.rouge import rouge_l, shared
from unspoken.evaluation.captions.words import is_whole, words
from unspoken.evaluation.statistics import wilson

NAMES = ["bleu_4", "rouge_l", "cider_d", "distinct_1", "distinct_2", "whole", "words"]


def texts(rng, count, most=12):
    """Random captions of few words, so that they share some."""
    return [
        " ".join(rng.choices(["fox", "hen", "sees", "a", "the", "barn"], k=rng.randint(1, most))) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def random_rows():
    rng = Random(0)
    references = [texts(rng, rng.randint(1, 3)) for _ in range(60)]
    return references, [rng.choice([row[0], *texts(rng, 1), ""]) for row in references]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The fox's den, at 9 o'clock!", ["the", "fox's", "den", "at", "9", "o'clock"]),
        ("'quoted' --", ["quoted"]),
        ("Cafe\u0301 ÉTÉ", ["café", "été"]),
        ("猫が座る。", ["猫が座る"]),
        ("🎉 \x00 \u200b\n", []),
        ("", []),
    ],
)
def test_words_are_without_case_and_punctuation(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("The fox runs.", True),
        ("The fox runs. \n", True),
        ('He says: "Run!"', True),
        ("Does it (really?)", True),
        ("猫が座る。", True),
        ("The fox runs", False),
        ("The fox runs. The", False),
        ("The fox, ", False),
        ("...", False),
        ("", False),
    ],
)
def test_a_whole_caption_stops_where_a_sentence_does(text, whole):
    assert is_whole(text) is whole


def test_bleu_of_two_rows_by_hand():
    references = [["The cat sat on the mat"], ["a dog ran fast"]]
    generated = ["the cat sat on a mat", "a dog ran"]
    # of 1, 2, 3, 4 words: 5 + 3 of 9, 3 + 2 of 7, 2 + 1 of 5, 1 of 3; 9 words where the references have 10
    expected = exp(1 - 10 / 9) * (8 / 9 * 5 / 7 * 3 / 5 * 1 / 3) ** (1 / 4)
    assert bleu(references, generated).figure().value == pytest.approx(expected, abs=1e-12)


def test_bleu_is_that_of_the_corpus_with_any_number_of_references(random_rows):
    from sacrebleu.metrics import BLEU

    references, generated = random_rows
    streams = [[row[place] if place < len(row) else None for row in references] for place in range(3)]
    metric = BLEU(lowercase=True)
    expected = metric.corpus_score(generated, streams).score / 100
    assert 0.1 < expected < 0.9
    assert bleu(references, generated).figure().value == pytest.approx(expected, abs=1e-12)
    settings = str(metric.get_signature())
    assert settings == f"nrefs:{metric.get_signature().info['nrefs']}|{signature()}"


def test_without_sacrebleu_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(RecipeError, match=r"BLEU needs sacrebleu, which is missing; install unspoken\[caption\]"):
        measure([["a"], ["b"]], ["a", "b"])


def test_rouge_l_by_hand():
    # the cat on the mat: 5 shared words, of 6 and of 7
    assert rouge_l(["the cat sat on the mat"], "The cat lay down on the mat.") == pytest.approx(2 * 5 / (6 + 7))
    assert rouge_l(["nothing alike", "a fox", "a fox runs"], "a fox runs") == 1
    assert rouge_l(["fox a"], "a fox") == 1 / 2
    assert rouge_l(["a fox"], "") == rouge_l([""], "a fox") == rouge_l([""], "") == 0


def test_rouge_l_is_that_of_rouge_score(random_rows):
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    found = [rouge_l(row, text) for row, text in zip(*random_rows, strict=True)]
    expected = [scorer.score_multi(row, text)["rougeL"].fmeasure for row, text in zip(*random_rows, strict=True)]
    assert found == pytest.approx(expected, abs=1e-12)
    assert len(set(found)) > 10


def test_the_longest_common_subsequence_is_that_of_the_table():
    rng = Random(1)
    for _ in range(200):
        one, other = (rng.choices("abc", k=rng.randint(0, 90)) for _ in range(2))
        row = [0] * (len(other) + 1)
        for mine in one:
            above, row = row, [0] * (len(other) + 1)
            for place, theirs in enumerate(other):
                row[place + 1] = above[place] + 1 if mine == theirs else max(above[place + 1], row[place])
        assert shared(one, other) == row[-1]


def test_cider_d_of_a_table_by_hand():
    references = [["a b c d"], ["a b e f"], ["a g h i"]]
    frequencies = Frequencies.of(references)
    # log of 3 rows over how many of them have it
    weights = {"a": log(3 / 3), "b": log(3 / 2), "c": log(3), "d": log(3), "a b": log(3 / 2), "b c": log(3)}
    for ngram, weight in weights.items():
        assert frequencies.weight(tuple(ngram.split())) == pytest.approx(weight, abs=1e-15)
    assert frequencies.weight(("never", "seen")) == pytest.approx(log(3))

    # `a b c x` shares a b c, `a b`, `b c`, `a b c`; x counts in its length as much as d in that of the reference
    near, rare = log(3 / 2) ** 2, log(3) ** 2
    one = (near + rare) / (near + 2 * rare)
    two = (near + rare) / (near + 2 * rare)
    three = rare / (2 * rare)
    expected = 10 * (one + two + three + 0) / 4
    assert cider_d(["a b c d"], "A b c x!", frequencies) == pytest.approx(expected, abs=1e-12)

    # the same words and nothing else: the best there is
    assert cider_d(["a b c d"], "a b c d", frequencies) == pytest.approx(10)
    # of two references each counts half, and one word more or less costs exp(-1/72)
    shorter = 10 * (1 / 4) * exp(-1 / 72) * ((near + rare) / sqrt(near + rare) / sqrt(near + 2 * rare))
    assert cider_d(["b c d", "z"], "c b", frequencies) == pytest.approx(shorter / 2)
    assert cider_d(["a"], "a", frequencies) == cider_d(["b"], "", frequencies) == 0


def test_repeating_a_word_of_the_reference_gains_nothing_in_cider_d():
    frequencies = Frequencies.of([["fox b"], ["z"]])
    once, often = (cider_d(["fox b"], text, frequencies) for text in ("fox q", "fox fox"))
    # fox 1 of fox, b; q as rare: 1 / 2. twice: min(2, 1) / (2 sqrt 2)
    assert once == pytest.approx(10 / 4 / 2)
    assert often == pytest.approx(10 / 4 / (2 * sqrt(2)))


def by_the_definition(references, candidate, corpus):
    """CIDEr-D as its paper writes it, one n-gram after the other."""

    def count(ngram, text):
        tokens = text.split()
        return sum(tokens[i : i + len(ngram)] == ngram for i in range(len(tokens)))

    def g(ngram, text):
        held = sum(any(count(ngram, text) for text in row) for row in corpus)
        return count(ngram, text) * log(len(corpus) / max(1, held))

    total = 0.0
    for n in (1, 2, 3, 4):
        for reference in references:
            every = [
                text.split()[i : i + n] for text in (candidate, reference) for i in range(len(text.split()) - n + 1)
            ]
            every = [list(each) for each in dict.fromkeys(map(tuple, every))]
            both = sum(min(g(each, candidate), g(each, reference)) * g(each, reference) for each in every)
            lengths = sqrt(
                sum(g(each, candidate) ** 2 for each in every) * sum(g(each, reference) ** 2 for each in every)
            )
            apart = len(candidate.split()) - len(reference.split())
            total += exp(-(apart**2) / (2 * 6**2)) * both / lengths if lengths else 0
    return 10 / 4 * total / len(references)


def test_cider_d_is_its_definition(random_rows):
    references, generated = random_rows[0][:25], random_rows[1][:25]
    frequencies = Frequencies.of(references)
    found = [cider_d(row, text, frequencies) for row, text in zip(references, generated, strict=True)]
    expected = [by_the_definition(row, text, references) for row, text in zip(references, generated, strict=True)]
    assert found == pytest.approx(expected, abs=1e-10)
    assert max(found) > 2


def test_the_corpus_that_tells_what_is_rare_may_be_another():
    rows, generated = [["a fox"], ["a hen"]], ["a fox", "a hen"]
    here = measure(rows, generated).figures()["cider_d"].value
    there = measure(rows, generated, frequencies=Frequencies.of([["fox hen"], ["z"], ["y"]])).figures()["cider_d"].value
    # here `a` is in every row and weighs nothing; both ways all weights are found, of 1 and 2 words
    assert (here, there) == (pytest.approx(5), pytest.approx(5))
    everywhere = Frequencies.of([["fox hen"], ["fox hen"]])
    assert measure(rows, ["fox", "hen"], frequencies=everywhere).figures()["cider_d"].value == 0


def test_shares_and_distinct_words_by_hand():
    generated = ["A fox. A fox.", "a hen", ""]
    found = measure([["x"]] * 3, generated).figures()
    assert found["distinct_1"].value == pytest.approx(3 / 6)  # a fox hen
    assert found["distinct_2"].value == pytest.approx(3 / 4)  # a fox, fox a, a hen
    assert found["whole"].value == pytest.approx(1 / 3)
    assert found["words"].value == pytest.approx(6 / 3)
    assert found["bleu_4"].value == found["rouge_l"].value == found["cider_d"].value == 0
    assert list(found) == NAMES


def test_perplexity_is_over_tokens_and_not_over_rows():
    found = perplexity([4 * log(1 / 2), log(1 / 8)], [4, 1]).figure()
    assert found.value == pytest.approx(2 ** (7 / 5))
    # resampled rows are twice the first, twice the second, or both
    assert found.interval == (pytest.approx(2), pytest.approx(8))
    with pytest.raises(DataError, match="row 2 has no token to be weighed"):
        perplexity([-1.0, -1.0], [2, 0])


def test_what_is_known_of_the_writing_is_measured_too():
    written = [Written(True, -2.0, 2), Written(False, -3.0, 3)]
    found = measure([["a"], ["b"]], ["a", "b"], written=written).figures()
    assert list(found) == [*NAMES, "ended", "finished", "perplexity"]
    assert found["ended"].value == 1 / 2
    assert found["perplexity"].value == pytest.approx(exp(1))
    # a mean over some of the rows would be compared with one over all
    found = measure([["a"], ["b"]], ["a", "b"], written=[Written(True, -2.0, 2), Written(True)]).figures()
    assert list(found) == [*NAMES, "ended", "finished"]


def test_a_caption_is_finished_when_it_is_whole_and_the_model_ended_it():
    texts = ["A fox.", "A fox", "A fox.", "A"]
    written = [Written(True), Written(True), Written(False), Written(False)]
    found = measure([["x"]] * 4, texts, written=written).figures()
    assert (found["whole"].value, found["ended"].value, found["finished"].value) == (1 / 2, 1 / 2, 1 / 4)
    assert found["finished"].interval == wilson(1, 4)


def test_the_best_and_the_worst_captions():
    references = [["A fox sees the hen."], ["The barn burns down.", "A barn is on fire."]]
    best = measure(references, [row[0] for row in references]).figures()
    assert (best["bleu_4"].value, best["rouge_l"].value, best["whole"].value) == (pytest.approx(1), 1, 1)
    # two references that share nothing of two words: half the ten of each n, and `barn`
    assert best["cider_d"].value > 7
    worst = measure(references, ["", ""]).figures()
    assert {worst[name].value for name in NAMES} == {0}


def test_the_difference_of_two_systems_is_that_of_their_figures(random_rows):
    references, generated = random_rows
    one, other = measure(references, generated), measure(references, generated[1:] + generated[:1])
    lost = one.less(other)
    for name in NAMES:
        assert lost[name].value == pytest.approx(one.figures()[name].value - other.figures()[name].value, abs=1e-12)
        low, high = lost[name].interval
        assert low <= lost[name].value <= high
    assert lost["rouge_l"].interval[0] > 0, "captions of other rows share less with the references"
    # the same words were written, whatever the row
    assert lost["distinct_1"].value == lost["words"].value == 0
    more = measure(references, generated, written=[Written(True)] * len(generated))
    assert list(more.less(one)) == NAMES
    with pytest.raises(ValueError, match="a difference needs the same rows twice"):
        one.less(measure(references[1:], generated[1:]))


@pytest.mark.parametrize(
    ("references", "generated", "written", "message"),
    [
        ([["a"], ["b"]], ["a"], None, "2 rows of references need as many captions, found 1"),
        ([["a"], ["b"]], ["a", "b"], [Written(True)], "2 rows of references need as many"),
        ([["a"]], ["a"], None, "at least 2 rows, found 1"),
        ([], [], None, "at least 2 rows, found 0"),
        ([["a"], []], ["a", "b"], None, "row 2 has no reference caption"),
    ],
)
def test_rows_that_do_not_fit_are_refused(references, generated, written, message):
    with pytest.raises(DataError, match=message):
        measure(references, generated, written=written)


def test_hostile_texts_are_measured():
    hostile = [
        "",
        "\ud800 a",
        "猫が座る。",
        "é e\u0301 🎉\x00\n\r",
        " \u200b",
        "." * 30_000,
        "x" * 1_000_000,
        "a cat " * 4_000,
    ]
    found = measure([["a cat"]] * len(hostile), hostile).figures()
    assert found["rouge_l"].value == pytest.approx((2 * 1 / 3 + 2 * 2 / 8_002) / len(hostile))
    assert found["whole"].value == 1 / len(hostile)
    assert measure([[text] for text in hostile], hostile).figures()["rouge_l"].value == pytest.approx(5 / 8)


def test_the_table_has_a_line_for_each_condition_of_each_metric():
    references = [["a fox."], ["the hen runs."], ["it rains"]]
    trained = measure(references, ["a fox.", "the hen", "it"], written=[Written(True)] * 3)
    copied = measure(references, ["x", "the", "it rains"])
    lines = table(
        {"none": plain(trained.figures()), "previous_caption": plain(copied.figures())},
        {"previous_caption": plain(trained.less(copied))},
    ).split("\n")
    assert len(lines) == 1 + 2 * len(NAMES) + 2
    assert lines[0].split() == ["metric", "condition", "value", "95%", "interval", "lost", "95%", "interval"]
    row = next(line for line in lines if line.startswith("rouge_l")).split()
    value, (low, high) = trained.figures()["rouge_l"].value, trained.figures()["rouge_l"].interval
    assert row == ["rouge_l", "as", "trained", f"{value:.3f}", f"[{low:.3f},", f"{high:.3f}]"]
    below = lines[lines.index(next(line for line in lines if line.startswith("rouge_l"))) + 1].split()
    assert below[:2] == ["previous", "caption"]
    assert float(below[5]) == pytest.approx(trained.less(copied)["rouge_l"].value, abs=5e-4)
    assert [line.split()[:3] for line in lines[-2:]] == [["ended", "as", "trained"], ["finished", "as", "trained"]]


def test_counting_is_a_multiset():
    found = measure([["a"], ["a"]], ["a a a a", "a"]).figures()
    assert Counter(words("a a a a")).total() == 4
    assert found["distinct_1"].value == pytest.approx(1 / 5)
