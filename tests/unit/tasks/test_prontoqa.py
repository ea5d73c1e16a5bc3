"""Generated questions have the form and the frequencies of the released ones, and a prover agrees with every answer."""

import json
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import ValidationError

from unspoken.errors import DataError
from unspoken.records import Example, Score, TextFormat
from unspoken.tasks.graph import distances
from unspoken.tasks.prontoqa import CONCEPTS, FAMILIES, MORE_CONCEPTS, NAMES, ProntoQA

RELEASED = Path(__file__).parents[3] / "../shared/data/prontoqa/valid.json"
needs_released = pytest.mark.skipif(not RELEASED.is_file(), reason="the released ProntoQA rows are not on this machine")

ROW = {
    "question": "Tumpuses are floral. Each jompus is not happy. Tumpuses are impuses. Alex is a tumpus. "
    "True or false: Alex is happy.",
    "steps": ["Alex is a tumpus. Tumpuses are impuses.", "Alex is an impus."],
    "answer": "False",
}


class Sentence(NamedTuple):
    """A sentence taken apart: its form, whom it is about, and what it says, "not" before it where negated."""

    form: str
    subject: str
    said: str


def read_sentence(text):
    """The test's own reading of a sentence, strict about number and articles."""
    plural = re.fullmatch(r"([A-Z]\w*pus)es are (?:(\w+pus)es|((?:not )?\w+))\.", text)
    if plural and plural[3] != "not":
        return Sentence("plural", plural[1].lower(), plural[2] or plural[3])
    singular = re.fullmatch(r"(?:(Each|Every) (\w+pus)|([A-Z]\w+)) is (?:(an?) (\w+pus)|((?:not )?\w+))\.", text)
    assert singular, f"no form of sentence fits {text!r}"
    form, concept, name, article, noun, adjective = singular.groups()
    if article:
        assert article == ("an" if noun[0] in "aeiou" else "a"), text
    return Sentence(form or "fact", concept or name, noun or adjective)


def prove(example):
    """Every fact that follows from the premises about the one they speak of, by applying rules until nothing is new."""
    sentences = [read_sentence(premise) for premise in example.premises]
    rules = [(each.subject, each.said) for each in sentences if each.form != "fact"]
    known = {each.said for each in sentences if each.form == "fact"}
    while True:
        new = {said for concept, said in rules if concept in known} - known
        if not new:
            return known
        known |= new


def opposite(said):
    return said.removeprefix("not ") if said.startswith("not ") else f"not {said}"


def claim_of(example):
    return read_sentence(example.question.removeprefix("True or false: "))


@lru_cache
def generated(hops=5, rows=1000, split="train"):
    return ProntoQA(hops=hops, train_rows=rows).examples(split)[0]


@lru_cache
def released():
    return ProntoQA(validation=RELEASED).examples("validation")[0]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def words_of(example):
    return re.findall(r"\w+", " ".join((*example.premises, example.question)))


def roles(example):
    """The rules, and each concept's part in them: c0 c1 ... along the chain, beside it, or elsewhere."""
    rules = [sentence for sentence in map(read_sentence, example.premises) if sentence.form != "fact"]
    chain = [read_sentence(step.split(". ")[0] + ".").said for step in example.steps[:-1]]
    part = {concept: f"c{index}" for index, concept in enumerate(chain)}
    facts = [sentence.said for sentence in map(read_sentence, example.premises) if sentence.form == "fact"]
    part |= {concept: "elsewhere" for concept in facts if concept not in part}
    for rule in rules:
        if rule.said.endswith("pus"):
            part.setdefault(rule.said, f"beside {part[rule.subject]}")
    return rules, part


def concepts_of(example):
    rules, _ = roles(example)
    return {word for rule in rules for word in (rule.subject, rule.said) if word.endswith("pus")}


def shape(example):
    rules, part = roles(example)
    return Counter(
        (part.get(rule.subject, "opposed"), part[rule.said] if rule.said.endswith("pus") else "property")
        for rule in rules
    )


@needs_released
def test_the_released_rows_are_all_read_and_keep_their_text():
    examples, ledger = ProntoQA(validation=RELEASED).examples("validation")
    assert (ledger.rows_in, ledger.rows_kept, ledger.rejected, ledger.notes) == (200, 200, (), ())
    rows = json.loads(RELEASED.read_text())
    assert [" ".join((*each.premises, each.question)) for each in examples] == [row["question"] for row in rows]
    assert [list(each.steps) for each in examples] == [row["steps"] for row in rows]
    assert [each.answer for each in examples] == [row["answer"] for row in rows]
    assert examples[0].question == "True or false: Alex is happy."
    assert examples[0].premises[-2:] == ("Alex is a tumpus.", "Alex is a jompus.")
    assert {len(each.premises) for each in examples} == {25}


def check_with_prover(example):
    known, claim = prove(example), claim_of(example).said
    assert (claim in known) != (opposite(claim) in known), "exactly one of the two follows"
    assert example.answer == str(claim in known)


@needs_released
def test_the_prover_agrees_with_every_released_answer():
    for example in released():
        check_with_prover(example)


@pytest.mark.parametrize("hops", [1, 2, 5, 6, 7, 17])
def test_the_prover_agrees_with_every_generated_answer(hops):
    for example in generated(hops, 1000 if hops == 5 else 100):
        check_with_prover(example)


@pytest.mark.parametrize("hops", [1, 5, 9])
def test_steps_are_premises_applied_one_after_the_other(hops):
    for example in generated(hops, 1000 if hops == 5 else 100):
        assert len(example.steps) == hops + 1
        holds = None
        for step in example.steps[:-1]:
            fact, rule = re.findall(r"[^.]+\.", step)
            rule = rule.strip()
            assert rule in example.premises
            assert fact in example.premises if holds is None else read_sentence(fact).said == holds
            assert read_sentence(rule).subject == read_sentence(fact).said
            holds = read_sentence(rule).said
        assert read_sentence(example.steps[-1]).said == holds
        assert claim_of(example).said in (holds, opposite(holds))


@needs_released
def test_generated_rows_have_the_one_shape_of_the_released_rows():
    shapes = {frozenset(shape(example).items()) for example in released()}
    assert len(shapes) == 1
    assert {frozenset(shape(example).items()) for example in generated()} == shapes


@needs_released
def test_one_concept_apart_has_the_opposite_of_the_property_in_question():
    for example in (*released(), *generated()):
        rules, part = roles(example)
        apart = [rule.said for rule in rules if rule.subject not in part]
        assert apart == [opposite(read_sentence(example.steps[-1]).said)]


@needs_released
def test_generated_rows_agree_with_the_released_ones_in_every_count():
    for examples in (released(), generated()):
        assert {len(each.premises) for each in examples} == {25}
        assert {len(each.steps) for each in examples} == {6}
        assert {tuple("pus." in premise for premise in each.premises[-2:]) for each in examples} == {(True, True)}
        assert {sum(read_sentence(premise).form == "fact" for premise in each.premises) for each in examples} == {2}
        assert {len(concepts_of(each)) for each in examples} == {14}


def figures(example):
    """What is compared between generated and released rows on average."""
    rules, part = roles(example)
    properties = [rule for rule in rules if not rule.said.endswith("pus")]
    negated = {part.get(rule.subject, "opposed"): rule.said.startswith("not ") for rule in properties}
    forms = Counter(rule.form for rule in rules)
    first_rule = example.steps[0].split(". ")[1]
    return {
        "words": len(" ".join((*example.premises, example.question)).split()),
        "true": example.answer == "True",
        "claim negated": claim_of(example).said.startswith("not "),
        "chain's fact first": example.steps[0].startswith(example.premises[-2]),
        "plural": forms["plural"] / 23,
        "each": forms["Each"] / 23,
        "every": forms["Every"] / 23,
        "asked negated": negated["c4"],
        "opposed negated": negated["opposed"],
        "passed negated": mean(negated[f"c{index}"] for index in range(4)),
        "beside negated": mean(negated[aside] for aside in ("elsewhere", *(f"beside c{index}" for index in range(5)))),
        "place of the first rule": example.premises.index(first_rule),
    }


@needs_released
def test_generated_rows_agree_with_the_released_ones_in_every_frequency():
    ours, theirs = [figures(each) for each in generated()], [figures(each) for each in released()]
    apart = {}
    for figure in theirs[0]:
        center = mean(row[figure] for row in ours)
        variance = mean((row[figure] - center) ** 2 for row in ours)
        error = (variance / len(ours) + variance / len(theirs)) ** 0.5
        apart[figure] = (center - mean(row[figure] for row in theirs)) / error
    # of twelve figures of equal sets one leaves three standard errors in three of a hundred draws; these are fixed ones
    assert {figure: z for figure, z in apart.items() if abs(z) > 3} == {}
    assert abs(mean(row["words"] for row in ours) - mean(row["words"] for row in theirs)) < 1


@needs_released
def test_generated_rows_use_the_words_of_the_released_ones():
    assert {word for each in generated() for word in words_of(each)} == {
        word for each in released() for word in words_of(each)
    }


def test_one_of_each_two_rows_is_true():
    answers = [example.answer for example in generated()]
    pairs = Counter(zip(answers[::2], answers[1::2], strict=True))
    assert set(pairs) == {("True", "False"), ("False", "True")}
    assert 200 < pairs["True", "False"] < 300


def test_the_claim_tells_nothing_about_the_answer():
    verdicts = Counter((claim_of(each).said.startswith("not "), each.answer) for each in generated())
    assert min(verdicts.values()) > 200


def test_no_row_comes_twice_in_any_split():
    task = ProntoQA(train_rows=1000)
    texts = [
        (*sorted(example.premises), example.question)
        for split in ("train", "validation", "test")
        for example in task.examples(split)[0]
    ]
    assert len(texts) == len(set(texts)) == 2000
    smallest = generated(1, 2000)
    assert len({(each.premises, each.question) for each in smallest}) == 2000


def test_rows_depend_on_the_seed_the_split_and_their_number_alone():
    assert ProntoQA(train_rows=10).examples("train")[0] == generated()[:10]
    assert ProntoQA(train_rows=3, seed=1).examples("train")[0] != generated()[:3]
    assert [example.id for example in generated()[:2]] == ["prontoqa/train/0", "prontoqa/train/1"]
    assert {split: len(ProntoQA(train_rows=9).examples(split)[0]) for split in ("train", "validation", "test")} == {
        "train": 9,
        "validation": 200,
        "test": 800,
    }


def test_the_rows_of_a_seed_never_change():
    example = generated()[0]
    assert example.question == "True or false: Alex is large."
    assert example.steps == (
        "Alex is a shumpus. Every shumpus is a zumpus.",
        "Alex is a zumpus. Every zumpus is a sterpus.",
        "Alex is a sterpus. Sterpuses are numpuses.",
        "Alex is a numpus. Each numpus is a dumpus.",
        "Alex is a dumpus. Each dumpus is large.",
        "Alex is large.",
    )
    assert example.premises[:3] == ("Every jompus is wooden.", "Every zumpus is a sterpus.", "Dumpuses are rompuses.")


@pytest.mark.parametrize("hops", [1, 5, 8])
def test_the_graph_knows_what_the_premises_say(hops):
    for example in generated(hops, 1000 if hops == 5 else 100)[:100]:
        graph = example.graph
        rules = [sentence for sentence in map(read_sentence, example.premises) if sentence.form != "fact"]
        assert Counter((graph.names[start], graph.names[end]) for start, end in graph.edges) == Counter(
            (rule.subject, rule.said) for rule in rules
        )
        away = distances(graph)
        assert away[graph.target] == hops
        assert away[graph.distractor] is None
        assert graph.names[graph.target] == read_sentence(example.steps[-1]).said
        assert graph.names[graph.distractor] == opposite(graph.names[graph.target])
        last_sentences = [step.split(". ")[-1].removesuffix(".") + "." for step in example.steps]
        assert example.frontiers == tuple(
            (read_sentence(sentence).said.removeprefix("not "),) for sentence in last_sentences
        )


def test_more_hops_use_more_concepts_and_then_more_of_each_family():
    assert {concept for each in generated(6, 100) for concept in each.graph.names if "pus" in concept} == {*CONCEPTS}
    longest = generated(17, 100)
    assert {name for each in longest for name in each.graph.names if "pus" in name} == {*CONCEPTS, *MORE_CONCEPTS}
    for example in (*generated(6, 100), *longest):
        properties = {name.removeprefix("not ") for name in example.graph.names if "pus" not in name}
        of_a_family = [len(properties & {*family}) for family in FAMILIES]
        hops = len(example.steps) - 1
        assert len(properties) == 2 * hops + 1
        assert max(of_a_family) == 1 if hops == 6 else min(of_a_family) >= 2


def test_the_closed_vocabulary_covers_every_row():
    words = ProntoQA().words()
    assert len(words) == len(set(words)) == 183
    assert set(NAMES) <= set(words)
    # a word as the word-level tokenizer cuts it
    pattern = re.compile(r"\n|\[\w+\]|\w+|[^\w\s]+")
    examples = [*generated(), *generated(1, 100), *generated(17, 100), *(released() if RELEASED.is_file() else ())]
    for example in examples:
        text = "\n".join((*example.premises, example.question, *example.steps, f"### {example.answer}"))
        assert set(pattern.findall(text)) <= set(words)
        assert {word for frontier in example.frontiers for word in frontier} <= set(words)
    assert ProntoQA(train="own.json").words() is None, "own training rows may hold any word"
    assert ProntoQA(validation="valid.json").words() == words


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"question": "Tumpuses are floral. Prove: Alex is floral."},
            "question ends in the text 'Tumpuses are floral. Prove: Alex is floral.'; it must be sentences with a full "
            "stop and a space after each, then 'True or false: ' and a sentence",
        ),
        ({"question": "True or false: Alex is floral."}, "it must be sentences with a full stop"),
        ({"question": "Tumpuses are floral True or false: Alex is floral."}, "it must be sentences with a full stop"),
        ({"question": "A is b.  C is d. True or false: A is d."}, "it must be sentences with a full stop"),
        ({"answer": "Yes"}, "answer is the text 'Yes'; it must be True or False"),
        ({"answer": True}, "answer is the truth value True; it must be a text that is not empty, or an integer"),
        ({"steps": "Alex is happy."}, "steps is the text 'Alex is happy.'; it must be a list of texts"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_with_what_was_found(tmp_path, change, reason):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([ROW, ROW | change]))
    with pytest.raises(DataError) as caught:
        ProntoQA(train=path).examples("train")
    head, row = str(caught.value).splitlines()
    assert head.startswith(f"{path}: 1 of 2 rows rejected, 1 kept")
    assert row.startswith("  row 2: ")
    assert reason in row
    examples, _ = ProntoQA(train=path, max_bad_rows=1).examples("train")
    assert examples == (
        Example(
            id="prontoqa/train/1",
            question="True or false: Alex is happy.",
            steps=("Alex is a tumpus. Tumpuses are impuses.", "Alex is an impus."),
            answer="False",
            premises=(
                "Tumpuses are floral.", "Each jompus is not happy.", "Tumpuses are impuses.", "Alex is a tumpus.",
            ),
        ),
    )  # fmt: skip


def test_an_answer_is_read_after_its_mark():
    task, example = ProntoQA(), generated()[0]
    other = "False" if example.answer == "True" else "True"
    assert task.text == TextFormat()
    assert task.score(example, f"Alex is a tumpus.\n### {example.answer}") == Score("right", example.answer)
    assert task.score(example, f"### {other}") == Score("wrong", other)
    assert task.score(example, example.answer) == Score("no answer", None)
    assert (task.max_new_tokens, ProntoQA(hops=10).max_new_tokens) == (128, 228)


def test_settings_have_bounds():
    for wrong in ({"hops": 0}, {"hops": 18}, {"test_rows": 0}, {"seed": -1}, {"ordering": "random"}):
        with pytest.raises(ValidationError):
            ProntoQA(**wrong)


def test_the_shortcut_that_the_page_warns_of_is_right_in_every_generated_row():
    """The rule about the asked property is true whose subject another premise names."""
    for row in ProntoQA(train_rows=300).examples("train")[0]:
        graph = row.graph
        rules = [edge for edge in graph.edges if edge[1] in (graph.target, graph.distractor)]
        named = {said for _, said in graph.edges}
        assert [said for subject, said in rules if subject in named or subject == graph.root] == [graph.target]
