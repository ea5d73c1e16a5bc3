"""`unspoken run`: one question to a trained model, thought about once or several times."""

import argparse
from pathlib import Path

from unspoken.cli.arguments import Once, add_trajectories, chance_of, refuse_without_trajectories, run_to_read, seed
from unspoken.cli.terminal import hide_loading_bars, say
from unspoken.cli.verb import DONE, Verb


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", type=run_to_read, metavar="RUN", help="directory of a finished run, or a shipped model (prosqa-small)"
    )
    parser.add_argument(
        "question",
        metavar="QUESTION",
        nargs="?",
        help="premises and question, as the task writes them; left out where captions make it",
    )
    parser.add_argument(
        "--images",
        "--image",
        type=Path,
        metavar="FILE",
        nargs="+",
        action="extend",
        default=[],
        help="images it is about, for a model that sees",
    )
    parser.add_argument(
        "--captions",
        "--caption",
        metavar="TEXT",
        nargs="+",
        action="extend",
        default=[],
        help="of each image, in the same order: the story so far, for a model that tells stories",
    )
    parser.add_argument("--thoughts", type=int, metavar="N", action=Once, help="think N times; default: as trained")
    parser.add_argument("--show-thoughts", action="store_true", help="the words each thought is closest to")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", action=Once, help="longest answer")
    parser.add_argument("--sample", action="store_true", help="draw words instead of taking the likeliest")
    parser.add_argument(
        "--temperature", type=float, action=Once, help="of the drawing; with --trajectories, of thoughts; default: 1"
    )
    parser.add_argument("--seed", type=seed, action=Once, help="of the drawing; default: 0")
    add_trajectories(parser)
    parser.add_argument(
        "--fuse", choices=("vote", "likelihood", "value", "weighted"), action=Once, help="how their answers become one"
    )


def _run(arguments: argparse.Namespace) -> int:
    hide_loading_bars()
    _check_question(arguments)
    if arguments.trajectories is not None:
        return _reason(arguments)
    _refuse_without_drawing(arguments)
    refuse_without_trajectories(arguments, "token_temperature", "spread", "fuse")
    from unspoken.answer import ask, render
    from unspoken.run_directory import open_run

    answer = ask(
        open_run(arguments.run),
        arguments.question,
        images=arguments.images,
        captions=arguments.captions,
        num_thoughts=arguments.thoughts,
        max_new_tokens=arguments.max_new_tokens,
        sample=arguments.sample,
        temperature=1.0 if arguments.temperature is None else arguments.temperature,
        seed=arguments.seed or 0,
    )
    say(render(answer, show_thoughts=arguments.show_thoughts, num_thoughts=arguments.thoughts))
    return DONE


def _check_question(arguments: argparse.Namespace) -> None:
    """Refuse a question that `--images` or `--captions`, which take several, have taken for one of theirs.

    Raises:
        RecipeError: There is none, and the last image is no file.
    """
    from unspoken.errors import RecipeError

    if arguments.question is None and arguments.images and not arguments.images[-1].exists():
        last = str(arguments.images[-1])
        advice = "if it is the question, put it in front: unspoken run RUN QUESTION --images FILE ..."
        raise RecipeError("unspoken run", [f"images: there is no file {last!r}; {advice}"])


def _refuse_without_drawing(arguments: argparse.Namespace) -> None:
    """Refuse arguments that mean nothing where the likeliest is taken.

    Raises:
        RecipeError: One of these was given.
    """
    from unspoken.errors import RecipeError

    given = (
        [] if arguments.sample else [name for name in ("temperature", "seed") if getattr(arguments, name) is not None]
    )
    if given:
        problems = [f"{name}: nothing is drawn; add --sample or --trajectories, or leave it out" for name in given]
        raise RecipeError("unspoken run", problems)


def _reason(arguments: argparse.Namespace) -> int:
    from unspoken.errors import RecipeError
    from unspoken.reasoning import reason, render
    from unspoken.run_directory import open_run

    if arguments.sample:
        raise RecipeError("unspoken run", ["sample: trajectories have a temperature of words; use --token-temperature"])
    reasoning = reason(
        open_run(arguments.run),
        arguments.question,
        num_trajectories=arguments.trajectories,
        images=arguments.images,
        captions=arguments.captions,
        fuse=arguments.fuse or "vote",
        num_thoughts=arguments.thoughts,
        max_new_tokens=arguments.max_new_tokens,
        seed=arguments.seed or 0,
        return_all_trajectories=True,
        **chance_of(arguments),
    )
    say(render(reasoning, show_thoughts=arguments.show_thoughts))
    return DONE


RUN = Verb("ask a trained model one question", _configure, _run)
