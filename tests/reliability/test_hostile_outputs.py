"""Texts that a model could write to harm whoever scores them: through every task's scorer and through math-verify.

Nothing is executed, nothing hangs, and none of them earns the reward of a right answer. The first nine are those of the
list of bad inputs that the project set itself.
"""

import time

import pytest

from unspoken.records import Example
from unspoken.tasks import TASKS
from unspoken.training.rewards import score_answers
from unspoken.training.verifier import Verifier

SECONDS = 1.0
"""Of computing in this process: on a busy machine the clock says nothing."""
PATIENCE = 60.0
"""By the clock, for a judge in another process, which has a limit of its own."""
MEGABYTE = 1_000_000
GOLD = "7341"

ORDERS = {
    "a shell command": "__import__('os').system('touch executed')",
    "the ladder of classes": "().__class__.__mro__[1].__subclasses__()",
    "a tower of powers": "9**9**9**9",
    "nested fractions": "\\frac{" * 5_000 + "1" + "}{2}" * 5_000,
    "ten megabytes of digits": "9" * 10 * MEGABYTE,
    "two answers": "#### 5 #### 6",
    "the gold answer from the prompt": f"as the question says, {GOLD} hens; #### 5",
    "backtracking of the extraction": "### " * 20_000 + "#" * 20_000 + "!",
    "backtracking of numbers": "1,111" * 20_000 + "x",
    "a command of the shell": "$(touch executed) `touch executed` ; touch executed #",
    "a lambda": "(lambda: open('executed', 'w'))()",
    "an eval in an eval": "eval(compile('open(\"executed\", \"w\")', 'x', 'exec'))",
    "a pickle": "cos\nsystem\n(S'touch executed'\ntR.",
    "a tag of YAML": "!!python/object/apply:os.system ['touch executed']",
    "a template": "{{ cycler.__init__.__globals__.os.popen('touch executed').read() }}",
    "TeX that writes": "$\\immediate\\write18{touch executed}\\input{/etc/passwd}$",
    "TeX that loops": "$\\def\\x{\\x\\x}\\x$",
    "a call in TeX": "$\\operatorname{__import__}(os).system(touch executed)$",
    "a symbol of sympy": "\\boxed{Symbol('x').__class__.__init__.__globals__}",
    "roots of roots": "\\boxed{" + "\\sqrt{" * 300 + "2" + "}" * 300 + "}",
    "a factorial": "\\boxed{9999999!}",
    "factorials of factorials": "$9!!!!!!$",
    "a long sum": "$\\sum_{i=1}^{999999999} \\frac{1}{i^2}$",
    "a product without end": "$\\prod_{n=1}^{\\infty} n^n$",
    "an integral": "$\\int_0^\\infty e^{-x^{x^{x}}} \\sin(x^x) dx$",
    "a limit": "$\\lim_{x \\to 0} \\frac{\\sin^{99}(x^{99})}{x^{9801}}$",
    "an equation of high degree": "$x^{5000} + x^{4999} - 3x + 1 = 0$",
    "a power in TeX": "$10^{10^{10^{10}}}$",
    "a binomial": "$\\binom{99999999}{49999999}$",
    "a matrix": "$\\begin{pmatrix}" + "1 & " * 80 + "1 \\\\" * 80 + "\\end{pmatrix}^{999}$",
    "a repeated fraction": "1" + "/3" * 400,
    "a huge exponent": "1e999999999",
    "powers in words": "7**7**7**7**7",
    "a megabyte of operators": "1+" * (MEGABYTE // 2) + "1",
    "nested brackets": "(" * 50_000 + "1" + ")" * 50_000,
    "nested braces": "\\boxed" + "{" * 20_000 + "1" + "}" * 20_000,
    "nested lists": "[" * 100_000,
    "dollars": "$" * 30_000,
    "open dollars": "answer: $" * 5_000,
    "equals signs": "x=" * 20_000,
    "answers on answers": "final answer is " * 10_000,
    "digits of another script": "\u0667\u0663\u0664\u0661",
    "digits in a circle": "\u2466\u2462\u2463\u2460",
    "superscripts": "\u2077\u00b3\u2074\u00b9",
    "wide digits": "\uff17\uff13\uff14\uff11",
    "digits with marks": "7\u03363\u03364\u03361",
    "right to left": "\u202e1437",
    "invisible characters": "7\u200b3\u200b4\u200b1",
    "null bytes": "\x00" * 1_000 + "73\x0041",
    "lone surrogates": "\ud800\udfff" * 100,
    "a megabyte of spaces": " " * MEGABYTE,
    "a megabyte of lines": "\n" * MEGABYTE,
    "a megabyte of words": "a " * (MEGABYTE // 2),
    "a megabyte of combining marks": "a" + "\u0301" * MEGABYTE,
    "casefolding that grows": "\u0390\u1fb7\ufb03" * 100_000,
    "escapes of a terminal": "\x1b]0;owned\x07\x1b[2J",
    "not a number": "nan",
    "infinity": "inf",
    "minus infinity": "-Infinity",
    "a fraction by zero": "1/0",
    "zero by zero": "$\\frac{0}{0}$",
    "infinity in TeX": "$\\infty$",
    "a set of all answers": "\\boxed{\\{1, 2, 3, 4, 5, 6\\}}",
    "every answer at once": ", ".join(map(str, range(5_000))),
    "an interval": "$(-\\infty, \\infty)$",
    "a truth": "True",
    "an object": '{"__class__": "os", "answer": 5}',
    "nothing": "",
}


def asked(name):
    """A task and an example of it."""
    task = TASKS[name](scoring="number") if name == "custom" else TASKS[name]()
    if hasattr(task, "choices"):
        choices = ("0 : toothpick", "1 : 7341", "2 : (food", "3 : \u1fb7")
        question = "What is it? The choices are 0 : toothpick, 1 : 7341, 2 : (food, 3 : \u1fb7"
        return task, Example("hostile", question, (), choices[1], choices=choices)
    words = {"multiplication": "7 3 4 1", "prosqa": "Sally is a bompus.", "prontoqa": "True False", "hops": "q"}
    words["toy_stories"] = "The red cross goes to the blue house and takes the small green star."
    return task, Example("hostile", "What is it?", (), words.get(name, GOLD))


def written(task, text):
    """The text as it is, and as an answer."""
    return {text, task.text.answer_start + text}


def judged(task, example, text, verifier=None):
    """The verdicts, after at most the time that a text may take."""
    start, computed = time.monotonic(), time.process_time()
    found = score_answers(task, [example], [text], 1, verifier)
    assert time.process_time() - computed < SECONDS
    assert time.monotonic() - start < PATIENCE
    return found


def test_the_scorers_say_right_where_an_answer_is_right():
    """Otherwise the test below could not fail."""
    for name in TASKS:
        task, example = asked(name)
        found = judged(task, example, task.text.answer_start + example.answer)
        assert found.is_right.tolist() == [True], name


@pytest.mark.parametrize("name", TASKS)
def test_no_text_harms_the_scorer_of_a_task(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task, example = asked(name)
    for order, text in ORDERS.items():
        for answer in written(task, text):
            assert judged(task, example, answer).is_right.tolist() == [False], order
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def verifier():
    pytest.importorskip("math_verify", reason="math-verify is not installed (extra eval)")
    with Verifier() as found:
        yield found


@pytest.mark.parametrize("order", ORDERS)
def test_no_text_harms_math_verify(order, verifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task, example = asked("gsm8k")
    for answer in written(task, ORDERS[order]):
        found = judged(task, example, answer, verifier)
        assert found.scores[0].verdict != "right"
        assert found.is_equal.tolist() == [False]
        assert verifier.judge(GOLD, f"#### {GOLD}") == "equal"
    assert list(tmp_path.iterdir()) == []
