"""An audit made by hand, line for line: what a person reads is what the figures say."""

from unspoken.audit.table import table


def condition(**values):
    usual = {
        "n": 200,
        "num_left_out": 0,
        "accuracy": 0.5,
        "cost": 0.4,
        "cost_interval": (0.3261, 0.4654),
        "changed": 0.425,
        "p_holm": 0.00012,
        "verdict": "costs",
    }
    return usual | values


def audit_of(**values):
    usual = {
        "as_trained": {"accuracy": 0.9, "interval": (0.8506, 0.9343), "n": 200},
        "necessity": {"verdict": "needed"},
        "questions": ["The first sentence.", "The second one."],
        "interventions": [],
        "budget": [],
        "comparisons": [],
        "shifts": [],
        "omitted": [],
    }
    return usual | values


def test_an_audit_without_changes_is_its_verdict_its_sentences_and_the_model_as_trained():
    assert table(audit_of()).split("\n") == [
        "necessity: needed",
        "  The first sentence.",
        "  The second one.",
        "",
        "condition          accuracy    cost  95% interval     changed p (Holm)      n  verdict",
        "as trained            0.900          [0.851, 0.934]                       200",
    ]


def test_a_change_is_a_line_under_the_headings_of_its_figures():
    lines = table(audit_of(interventions=[condition(name="zero")])).split("\n")
    assert lines[6:] == ["zero                  0.500   0.400  [ 0.326,  0.465]   42.5%   0.0001    200  costs"]


def test_a_gain_keeps_its_sign_and_the_columns():
    gain = condition(
        name="noise_0.25", accuracy=1.0, cost=-0.1, cost_interval=(-0.1502, 0.0), changed=1.0, p_holm=1.0,
        verdict="undecided",
    )  # fmt: skip
    assert table(audit_of(interventions=[gain])).split("\n")[6:] == [
        "noise_0.25            1.000  -0.100  [-0.150,  0.000]  100.0%        1    200  undecided"
    ]


def test_the_trained_number_of_thoughts_is_marked_and_the_mark_explained():
    budget = [condition(num_thoughts=3, trained=False), condition(num_thoughts=4, trained=True)]
    lines = table(audit_of(budget=budget)).split("\n")
    assert [line[:18].rstrip() for line in lines[6:8]] == ["3 thoughts", "4 thoughts *"]
    assert lines[8:] == ["* as trained. Costs are of accuracy, on the same rows; a negative cost is a gain"]


def test_no_mark_is_explained_where_none_stands():
    lines = table(audit_of(budget=[condition(num_thoughts=3, trained=False)])).split("\n")
    assert len(lines) == 7
    assert "*" not in "".join(lines)


def test_another_run_is_named_by_its_folder_cut_to_the_column():
    runs = ["runs/hops-pause", "runs/hops-no_cot/", "runs/eighteen-letters-x", "runs/nineteen-letters-xy"]
    lines = table(audit_of(comparisons=[condition(run=run) for run in runs])).split("\n")[6:]
    assert [line[:18].rstrip() for line in lines] == [
        "hops-pause",
        "hops-no_cot",
        "eighteen-letters-x",
        "nineteen-letters-…",
    ]
    # whatever the name, the figures stand below each other
    assert {line[18:] for line in lines} == {"    0.500   0.400  [ 0.326,  0.465]   42.5%   0.0001    200  costs"}


def test_conditions_stand_in_the_order_interventions_budget_comparisons():
    lines = table(
        audit_of(
            comparisons=[condition(run="runs/other")],
            budget=[condition(num_thoughts=0, trained=False)],
            interventions=[condition(name="zero"), condition(name="mean")],
        )
    ).split("\n")
    assert [line[:18].rstrip() for line in lines[6:]] == ["zero", "mean", "0 thoughts", "other"]


def shift(**values):
    usual = {"name": "5 hops", "num_thoughts": 4, "n": 300, "accuracy": 0.25, "interval": (0.2044, 0.3019)}
    return usual | {"accuracy_without_content": 0.125} | values


def test_rows_unlike_training_have_a_table_of_their_own():
    shifts = [shift(), shift(name="6 hops", num_thoughts=0, accuracy_without_content=None)]
    assert table(audit_of(shifts=shifts)).split("\n")[6:] == [
        "",
        "rows unlike training         thoughts accuracy  95% interval     mean thought      n",
        "5 hops                              4    0.250  [0.204, 0.302]          0.125    300",
        # without thoughts there is no mean one; a zero would read as an accuracy
        "6 hops                              0    0.250  [0.204, 0.302]              -    300",
    ]


def test_an_accuracy_of_zero_with_the_mean_thought_is_a_figure():
    assert table(audit_of(shifts=[shift(accuracy_without_content=0.0)])).split("\n")[8].split()[-2:] == ["0.000", "300"]


def test_what_was_left_out_is_said_with_its_reason():
    omitted = [{"section": "intervention swap_same", "reason": "it applies to none of these rows"}]
    assert table(audit_of(omitted=omitted)).split("\n")[6:] == [
        "left out: intervention swap_same: it applies to none of these rows"
    ]


def test_rows_that_a_change_does_not_apply_to_are_counted():
    changes = [
        condition(name="zero"),
        condition(name="swap_same", num_left_out=1234),
        condition(name="permuted", num_left_out=3),
    ]
    assert table(audit_of(interventions=changes)).split("\n")[9:] == [
        "",
        "rows that a change does not apply to: swap_same 1,234, permuted 3",
    ]
