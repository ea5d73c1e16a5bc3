"""`unspoken list`, `bench` and `demo`: about the package itself."""

import argparse
from pathlib import Path

from unspoken.cli.arguments import Once
from unspoken.cli.terminal import say
from unspoken.cli.verb import DONE, Verb


def _configure_list(parser: argparse.ArgumentParser) -> None:
    from unspoken.catalogue import KINDS

    parser.add_argument("kind", choices=KINDS)


def _list(arguments: argparse.Namespace) -> int:
    from unspoken.catalogue import catalogue, render

    say(render(catalogue(arguments.kind)))
    return DONE


def _configure_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("results/bench-cpu.json"), action=Once)
    parser.add_argument("--reference", type=Path, metavar="DIR", action=Once, help="folder of the released coconut.py")


def _bench(arguments: argparse.Namespace) -> int:
    from unspoken.bench import bench

    say(bench(arguments.out, arguments.reference))
    return DONE


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pretrained", action="store_true", help="study a model that comes with Unspoken; no training")
    parser.add_argument("--rows", type=int, metavar="N", action=Once, help="of --pretrained: only the first N rows")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", action=Once, help="default: runs/demo, or runs/demo-pretrained"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from unspoken.demo import demo, demo_pretrained, table
    from unspoken.errors import RecipeError
    from unspoken.files import read_json

    if arguments.rows is not None and not arguments.pretrained:
        raise RecipeError("unspoken demo", ["rows: it is about --pretrained; add that, or leave --rows out"])
    out = arguments.out or Path("runs/demo-pretrained" if arguments.pretrained else "runs/demo")
    report = demo_pretrained(out, arguments.rows) if arguments.pretrained else demo(out)
    say(table(read_json(out / "results.json")))
    say(str(report))
    return DONE


LIST = Verb("the methods, tasks, thoughts, recipes or pretrained models there are", _configure_list, _list)
BENCH = Verb("speed and memory, beside the plain definition", _configure_bench, _bench)
DEMO = Verb("the main job, small: train, evaluate with controls, report", _configure_demo, _demo)
