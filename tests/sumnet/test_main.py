"""The command `python -m sumnet`: what it prints, and how it refuses."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import sumnet.train
from sumnet.__main__ import main
from sumnet.data import TUTORIAL_PAIRS
from sumnet.train import Training, evaluate

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sumnet", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def losses(output: str) -> list[tuple[int, float]]:
    reports = re.findall(r"^epoch +(\d+)  loss (\S+)$", output, flags=re.MULTILINE)
    return [(int(epoch), float(loss)) for epoch, loss in reports]


def predictions(output: str) -> list[str]:
    return [line for line in output.splitlines() if "predicted" in line]


def test_defaults_train_the_tutorials_net_until_it_adds() -> None:
    ran = run()
    assert ran.returncode == 0, ran.stderr
    epochs, values = zip(*losses(ran.stdout), strict=True)
    assert epochs == tuple(range(0, 1001, 100))
    assert list(values) == sorted(values, reverse=True)
    assert values[0] > 1 and values[-1] < 1e-4
    assert predictions(ran.stdout) == ["1 + 2 = 3, predicted 3.00", "3 + 4 = 7, predicted 7.00"]


def test_wrong_argument_ends_the_command_with_status_2_and_no_traceback() -> None:
    ran = run("--optimizer", "sdg")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--optimizer sdg", "--optimizer: .*sdg.*sgd.*adam"),
        ("--optimizer muon", "--optimizer: .*muon"),
        ("--optimizer sparseadam", "--optimizer: .*sparseadam"),
        ("--pairs 1", "--pairs: '1' .* such as 1,2"),
        ("--pairs 1,2 3;4", "--pairs: '3;4' .* such as 1,2"),
        ("--pairs 1,2,3", "--pairs: '1,2,3' .* such as 1,2"),
        ("--pairs 1,two", "--pairs: '1,two' .* such as 1,2"),
        ("--pairs 1,", "--pairs: '1,' .* such as 1,2"),
        ("--pairs 1,nan", "--pairs: '1,nan' .* such as 1,2"),
        ("--pairs inf,1", "--pairs: 'inf,1' .* such as 1,2"),
        ("--pairs -1e31,1", r"--pairs: '-1e31,1' .* beyond 1e\+30"),
        ("--pairs", "--pairs: expected"),
        ("--epochs 0", "--epochs: '0' .* from 1 "),
        ("--epochs -5", "--epochs: '-5' .* from 1 "),
        ("--epochs 1.5", "--epochs: '1.5' .* whole number"),
        ("--hidden 0", "--hidden: '0' .* from 1 "),
        ("--hidden 1000001", "--hidden: '1000001' .* to 1000000"),
        ("--seed -1", "--seed: '-1' .* from 0 "),
        ("--lr 0", "--lr: '0' .* above 0"),
        ("--lr -0.1", "--lr: '-0.1' .* above 0"),
        ("--lr nan", "--lr: 'nan' .* above 0"),
        ("--lr inf", r"--lr: 'inf' .* at most 1e\+30"),
        ("--lr fast", "--lr: 'fast' .* above 0"),
        ("--epoch-count 3", "unrecognized arguments: --epoch-count"),
    ],
)
def test_wrong_argument_is_refused_with_where_what_and_a_remedy(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments.split())
    printed = capsys.readouterr()
    assert (refused.value.code, printed.out) == (2, "")
    assert re.search(f"python -m sumnet: error: (argument )?{complaint}", printed.err), printed.err


@pytest.mark.parametrize(
    ("arguments", "last_line"),
    [
        ("--lr 10", r"the loss is (nan|inf) at epoch 100; lower --lr \(now 10\)"),
        ("--pairs 1e30,1", "the loss is inf at epoch 0; .*smaller numbers in --pairs"),
        ("--lr 1e30 --optimizer adamw", r"the loss is (nan|inf) .*\(now 1e\+30\)"),
    ],
)
def test_diverging_training_says_so_and_exits_with_status_1(
    arguments: str, last_line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as diverged:
        main(arguments.split())
    printed = capsys.readouterr()
    assert diverged.value.code == 1
    assert re.fullmatch(f"python -m sumnet: error: .*{last_line}.*\n", printed.err), printed.err
    assert predictions(printed.out) == []


def test_given_pairs_are_learned_negative_ones_included(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--pairs", "-1,2", "-.5,-3", "0,1e-1", "--optimizer", "adam", "--epochs", "3000"])
    assert predictions(capsys.readouterr().out) == [
        "-1 + 2 = 1, predicted 1.00",
        "-0.5 + -3 = -3.5, predicted -3.50",
        "0 + 0.1 = 0.1, predicted 0.10",
    ]


@pytest.mark.parametrize(
    ("epochs", "reported"),
    [(1, [0, 1]), (10, [*range(11)]), (19, [*range(0, 19, 2), 19]), (20, [*range(0, 21, 2)])],
)
def test_about_ten_epochs_are_reported_the_first_and_last_among_them(
    epochs: int, reported: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--epochs", str(epochs)])
    assert [epoch for epoch, _ in losses(capsys.readouterr().out)] == reported


def test_each_epoch_is_one_step_and_epoch_0_is_before_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--epochs", "3"])
    reported = losses(capsys.readouterr().out)
    assert len(reported) == 4
    training = Training(TUTORIAL_PAIRS)
    for _, loss in reported:
        assert loss == pytest.approx(evaluate(training.model, training.batch)[0], rel=1e-3)
        training.step()


def test_options_reach_the_training_they_name(capsys: pytest.CaptureFixture[str]) -> None:
    def output(arguments: str) -> str:
        main(["--epochs", "1", *arguments.split()])
        return capsys.readouterr().out

    runs = ["", "--seed 1", "--hidden 11", "--lr 0.02", "--optimizer adam", "--pairs 5,6"]
    assert len({output(arguments) for arguments in runs}) == len(runs)
    explicit = "--lr 0.01 --optimizer sgd --hidden 10 --seed 0 --pairs 1,2 3,4"
    assert output(explicit) == output("")


@pytest.mark.parametrize(
    ("arguments", "complaint"), [([], "pip install torch"), (["--lr", "0"], "argument --lr: '0'")]
)
def test_without_torch_only_good_arguments_get_as_far_as_missing_it(
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("sumnet.data", "sumnet.train"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert complaint in capsys.readouterr().err


def test_interrupt_ends_the_command_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sumnet.train, "Training", interrupted)
    monkeypatch.setattr(sys, "argv", ["sumnet"])
    monkeypatch.delitem(sys.modules, "sumnet.__main__")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("sumnet", run_name="__main__")
    assert ended.value.code == 130
