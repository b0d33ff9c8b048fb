"""Train SumNet and watch it learn: `python -m sumnet`."""

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

LARGEST = 1e30  # well inside single precision, in which the net is trained
REPORTS = 10

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the given pairs; print the loss as it falls, then predictions beside true sums.

    Exits with status 2 for arguments it cannot use and 1 for a training that diverged.
    """
    parser = _parser()
    given = sys.argv[1:] if arguments is None else arguments
    # A leading space keeps argparse from reading a pair such as -1,2 as an option.
    options = parser.parse_args([re.sub(r"^(?=-[\d.])", " ", argument) for argument in given])
    try:
        from .data import TUTORIAL_PAIRS
        from .train import Training, evaluate
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        parser.error("training needs torch, which is not installed: pip install torch")

    pairs = vars(options).get("pairs", TUTORIAL_PAIRS)
    training = Training(
        pairs,
        hidden=options.hidden,
        optimizer=options.optimizer,
        lr=options.lr,
        seed=options.seed,
    )
    interval = math.ceil(options.epochs / REPORTS)
    for epoch in range(options.epochs + 1):
        if epoch > 0:
            training.step()
        if epoch % interval == 0 or epoch == options.epochs:
            loss, _ = evaluate(training.model, training.batch)
            print(f"epoch {epoch:>{len(str(options.epochs))}}  loss {loss:.4g}", flush=True)
            if not math.isfinite(loss):
                parser.exit(
                    1,
                    f"{parser.prog}: error: training diverged: the loss is {loss} at epoch {epoch};"
                    f" lower --lr (now {options.lr:g}) or give smaller numbers in --pairs\n",
                )
    _, predictions = evaluate(training.model, training.batch)
    for (first, second), predicted in zip(pairs, predictions, strict=True):
        print(f"{first:g} + {second:g} = {first + second:g}, predicted {predicted:.2f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sumnet",
        description="Train a small net to add two numbers, then compare it with the true sums.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = parser.add_argument
    option("--epochs", type=_whole(1, 10**9), default=1000, metavar="N", help="training steps")
    option(
        "--lr",
        type=_checked(_rate, f"a number above 0, such as 0.01, and at most {LARGEST:g}"),
        default=0.01,
        help="learning rate",
    )
    option(
        "--optimizer",
        choices=("sgd", "adam", "adamw"),
        default="sgd",
        help="how the weights are updated",
    )
    option("--hidden", type=_whole(1, 10**6), default=10, metavar="N", help="hidden units")
    option("--seed", type=_whole(0, 10**9), default=0, metavar="N", help="draws the first weights")
    option(
        "--pairs",
        type=_checked(_pair, f"two numbers and a comma, such as 1,2, neither beyond {LARGEST:g}"),
        nargs="+",
        metavar="A,B",
        default=argparse.SUPPRESS,
        help="what to add (default: 1,2 3,4)",
    )
    return parser


def _checked(parse: Callable[[str], T], allowed: str) -> Callable[[str], T]:
    """`parse`, whose ValueError becomes argparse's error, naming what is allowed."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError:
            message = f"{text.strip()!r} is not usable: give {allowed}"
            raise argparse.ArgumentTypeError(message) from None

    return convert


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not low <= (number := int(text)) <= high:
            raise ValueError(text)
        return number

    return _checked(parse, f"a whole number from {low} to {high}")


def _rate(text: str) -> float:
    if (rate := _number(text)) <= 0:
        raise ValueError(text)
    return rate


def _pair(text: str) -> tuple[float, float]:
    first, second = map(_number, text.split(","))
    return first, second


def _number(text: str) -> float:
    if not abs(number := float(text)) <= LARGEST:  # NaN too
        raise ValueError(text)
    return number


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
