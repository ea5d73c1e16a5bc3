"""An audit as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(audit: Mapping[str, Any]) -> str:
    """The verdict, a sentence for each question, and a line for each change."""
    trained = audit["as_trained"]
    low, high = trained["interval"]
    columns = f"{'cost':>7}  {'95% interval':<16} {'changed':>7} {'p (Holm)':>8} {'n':>6}  verdict"
    lines = [
        f"necessity: {audit['necessity']['verdict']}",
        *(f"  {sentence}" for sentence in audit["questions"]),
        "",
        f"{'condition':<18} {'accuracy':>8} {columns}",
        f"{'as trained':<18} {trained['accuracy']:>8.3f} {'':>7}  [{low:.3f}, {high:.3f}] {'':>18} {trained['n']:>6}",
    ]
    lines += [_line(each["name"], each) for each in audit["interventions"]]
    lines += [
        _line(f"{_thoughts(each['num_thoughts'])}{' *' if each['trained'] else ''}", each) for each in audit["budget"]
    ]
    lines += [_line(_short(each["run"]), each) for each in audit["comparisons"]]
    if audit["shifts"]:
        columns = f"{'thoughts':>8} {'accuracy':>8}  {'95% interval':<16} {'mean thought':>12} {'n':>6}"
        lines += ["", f"{'rows unlike training':<28} {columns}"]
        lines += [_shift(each) for each in audit["shifts"]]
    lines += [f"left out: {each['section']}: {each['reason']}" for each in audit["omitted"]]
    left_out = _left_out(audit["interventions"])
    if left_out:
        lines += ["", left_out]
    if any(each["trained"] for each in audit["budget"]):
        lines.append("* as trained. Costs are of accuracy, on the same rows; a negative cost is a gain")
    return "\n".join(lines)


def table_over_seeds(found: Mapping[str, Any]) -> str:
    """What several seeds have in common."""
    lines = [found["sentence"], "", f"{'condition':<18} {'mean cost':>9}  {'95% interval':<16}  each"]
    for each in found["interventions"]:
        low, high = each["cost_interval"]
        costs = ", ".join(f"{cost:.3f}" for cost in each["cost_of_each"])
        lines.append(f"{each['name']:<18} {each['cost']:>9.3f}  [{low:>6.3f}, {high:>6.3f}]  {costs}")
    lines.append("intervals are over seeds (t), not over rows")
    return "\n".join(lines)


def _line(name: str, each: Mapping[str, Any]) -> str:
    low, high = each["cost_interval"]
    cost = f"{each['cost']:>7.3f}  [{low:>6.3f}, {high:>6.3f}]"
    return (
        f"{name:<18} {each['accuracy']:>8.3f} {cost} {each['changed']:>7.1%} "
        f"{each['p_holm']:>8.1g} {each['n']:>6}  {each['verdict']}"
    )


def _shift(each: Mapping[str, Any]) -> str:
    low, high = each["interval"]
    without = each["accuracy_without_content"]
    return (
        f"{each['name']:<28} {each['num_thoughts']:>8} {each['accuracy']:>8.3f}  [{low:.3f}, {high:.3f}]   "
        f"{'-' if without is None else format(without, '.3f'):>12} {each['n']:>6}"
    )


def _left_out(interventions: Sequence[Mapping[str, Any]]) -> str:
    parts = [f"{each['name']} {each['num_left_out']:,}" for each in interventions if each["num_left_out"]]
    return f"rows that a change does not apply to: {', '.join(parts)}" if parts else ""


def _thoughts(count: int) -> str:
    return "1 thought" if count == 1 else f"{count} thoughts"


def _short(run: str) -> str:
    name = run.rstrip("/").rpartition("/")[2]
    return name if len(name) <= 18 else name[:17] + "…"
