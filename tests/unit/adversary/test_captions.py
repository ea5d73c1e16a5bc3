"""What stands beside each other: captions of one length, hard negatives, captions that are kept."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from tests.unit.adversary.stories import Clip, Numbers

from unspoken.adversary.cache import CaptionCache
from unspoken.adversary.lengths import matched, side_by_side
from unspoken.adversary.material import material_of
from unspoken.adversary.negatives import NEAREST, HardNegatives, hard_negatives, margins, nearest_others
from unspoken.adversary.views import VectorView, WordView
from unspoken.adversary.writing import Writing
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import word_tokenizer
from unspoken.errors import DataError
from unspoken.prepare import Rows
from unspoken.recipe import resolve_task
from unspoken.records import Ledger, TextFormat


@pytest.mark.parametrize(("one", "other", "kept"), [(5, 9, 4), (9, 5, 4), (3, 3, 2), (2, 7, 1), (1, 4, 1), (1, 1, 1)])
def test_both_are_one_token_shorter_than_the_shorter_one(one, other, kept):
    first, second = matched(np.arange(one), 100 + np.arange(other))
    assert first.tolist() == list(range(kept))
    assert second.tolist() == list(range(100, 100 + kept))


def test_captions_stand_side_by_side():
    tokens, is_word = side_by_side([np.array([5, 6]), np.array([], dtype=np.int32), np.array([7])])
    assert tokens.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert is_word.tolist() == [[True, True], [False, False], [True, False]]
    assert side_by_side([np.array([], dtype=np.int32)])[0].shape == (1, 1)


REAL, FAKE = ["3 4 5 6 7", "8 9"], ["13 14 15", "18 19 20 21 22 23"]


def test_length_tells_nothing_by_words():
    real, fake = WordView(Numbers(), torch.device("cpu"))(REAL, FAKE)
    assert torch.equal(real.is_word, fake.is_word)
    assert real.tokens.tolist() == [[3, 4], [8, 0]]
    assert fake.tokens.tolist() == [[13, 14], [18, 0]]


def test_length_tells_nothing_by_vectors_and_those_of_kept_captions_are_made_once():
    clip = Clip()
    view = VectorView(clip, Numbers(), torch.device("cpu"))
    view.keep(REAL, FAKE)
    assert clip.asked == ["3 4", "8", "13 14", "18"]
    real, fake = view(REAL, FAKE)
    assert len(clip.asked) == 4
    torch.testing.assert_close(real, clip.texts(["3 4", "8"]))
    torch.testing.assert_close(fake, clip.texts(["13 14", "18"]))
    view.keep(REAL[:1], FAKE[:1])
    assert view.kept.keys() == {"3 4", "13 14"}
    assert clip.asked[-2:] == ["3 4", "13 14"], "made anew: what stands beside a text must not depend on the past"


def test_a_caption_that_a_clip_cannot_hold_is_read_as_far_as_it_goes():
    view = VectorView(Clip(most=3), Numbers(), torch.device("cpu"))
    torch.testing.assert_close(view.whole(["3 4 5 6 7"]), Clip().texts(["3 4 5"]))


def test_a_caption_is_what_follows_the_last_start_and_has_the_tokens_of_an_answer():
    task = resolve_task("toy_stories", [])
    tokenizer = word_tokenizer(task.words())
    writing = Writing(tokenizer, TextFormat())
    said = "The red circle wants the small green star."
    example = next(iter(_rows(task, 1)))
    (row,) = tokenize([_with_answer(example, said)], task.text, tokenizer)
    assert writing.captions([[*row.answer, *row.answer]]) == [said]
    assert writing.captions([row.answer[row.answer_start :]]) == [said], "without a start it is all"
    (tokens,) = writing.tokens([said])
    assert tokens.tolist() == row.answer[row.answer_start : -1].tolist()
    assert writing.read(tokens) == said
    assert writing.tokens([]) == []


def _with_answer(example, answer):
    return replace(example, answer=answer, choices=())


def _rows(task, count):
    """Stories without their frames, which nobody looks at here."""
    for number in range(1, count + 1):
        story = task.story("train", number)
        yield task._example(
            f"toy_stories/train/{number}", story, task._captions(story, "train", number), "train", number
        )


@pytest.fixture(scope="module")
def told():
    task = resolve_task("toy_stories", [])
    return task, list(_rows(task, 40))


def test_hard_negatives_are_other_captions_and_never_right(told):
    task, rows = told
    rng = np.random.default_rng(0)
    texts = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(40, 8))), dim=-1)
    found = hard_negatives(task, rows, texts)
    answers = {row.answer for row in rows}
    for place, (row, hard) in enumerate(zip(rows, found, strict=True)):
        assert hard.of_story == tuple(dict.fromkeys(row.captions)), "what else is said in the story"
        assert 0 < len(hard.nearest) <= NEAREST
        assert set(hard.nearest) <= answers
        for caption in (*hard.of_story, *hard.nearest):
            assert caption != row.answer
            assert task.score(row, task.text.answer_start + caption).verdict != "right"
        cosines = texts @ texts[place]
        by_text = {other.answer: float(cosine) for other, cosine in zip(rows, cosines, strict=True)}
        wrong = [text for text in by_text if task.score(row, task.text.answer_start + text).verdict != "right"]
        assert hard.nearest[0] == max(wrong, key=by_text.get)


def test_the_same_in_other_words_is_no_negative(told):
    task, rows = told
    same = [_with_answer(rows[0], rows[0].answer), _with_answer(rows[0], _reworded(task, rows[0].answer))]
    assert same[0].answer != same[1].answer
    assert nearest_others(task, same, torch.eye(2)) == [[], []]
    different = [same[0], _with_answer(rows[0], next(row.answer for row in rows if not _same(task, same[0], row)))]
    assert nearest_others(task, different, torch.eye(2)) == [[1], [0]]


def _same(task, example, other):
    return task.score(example, task.text.answer_start + other.answer).verdict == "right"


def _reworded(task, answer):
    text = answer.replace(" and ", " , and ")
    return text if text != answer else f"{answer} "


def test_either_kind_is_chosen_as_often():
    hard = HardNegatives(("a", "b", "c"), ("z",))
    rng = Random(0)
    chosen = [hard.choose(rng) for _ in range(400)]
    assert set(chosen) == {"a", "b", "c", "z"}
    assert chosen.count("z") == pytest.approx(200, abs=40)
    assert HardNegatives((), ("z",)).choose(rng) == "z"
    assert HardNegatives((), ()).choose(rng) is None


def test_a_margin_is_the_cosine_beyond_that_to_other_images():
    captions, images = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    others = torch.tensor([[[0.0, 1.0], [0.6, 0.8]], [[0.6, 0.8], [9.0, 9.0]]])
    found = margins(captions, images, others, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([1 - 0.3, 0 - 0.6]))
    torch.testing.assert_close(margins(captions, images, others, torch.zeros(2, 2)), torch.tensor([1.0, 0.0]))


def test_rows_without_any_hard_negative_are_refused(told):
    task, rows = told
    tokenizer = word_tokenizer(task.words())
    alone = [_without_captions(rows[0])]
    foreseen = np.eye(2, 4, dtype=np.float32)
    (row,) = tokenize(alone, task.text, tokenizer)
    kept = Rows(alone, [replace(row, foreseen=foreseen)], Ledger(1, 1), "")
    with pytest.raises(DataError, match="no training row has a hard negative: all captions say the same"):
        material_of(task, kept, "training", hard=True, alike=False)
    assert material_of(task, kept, "training", hard=False, alike=True).alike == [[]]


def _without_captions(example):
    return replace(example, captions=("", ""))


def test_captions_are_kept_and_put_back():
    cache = CaptionCache()
    cache.fill(2, [5, 1, 7], ["a", "b", "c"])
    rows, captions = cache.some(2, Random(0))
    assert len(set(rows)) == 2
    assert all(dict(zip([5, 1, 7], "abc", strict=True))[row] == text for row, text in zip(rows, captions, strict=True))
    assert sorted(cache.some(9, Random(0))[0]) == [1, 5, 7], "no more than there are"
    again = CaptionCache()
    again.put_back(cache.state())
    assert again == cache
