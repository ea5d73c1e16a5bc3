"""The verbs of the command line. Each calls one function of the package, which it imports when it runs."""

from unspoken.cli.about import BENCH, DEMO, LIST
from unspoken.cli.ask import RUN
from unspoken.cli.data import CHECK, CONVERT, MAKE
from unspoken.cli.study import AUDIT, EVAL, INSPECT, REPORT
from unspoken.cli.train import PLAN, TRAIN
from unspoken.cli.verb import Verb

VERBS: dict[str, Verb] = {
    "plan": PLAN,
    "train": TRAIN,
    "eval": EVAL,
    "audit": AUDIT,
    "inspect": INSPECT,
    "run": RUN,
    "data make": MAKE,
    "data convert": CONVERT,
    "data check": CHECK,
    "bench": BENCH,
    "report": REPORT,
    "list": LIST,
    "demo": DEMO,
}
"""By what a user types, in the order of `unspoken --help`."""
