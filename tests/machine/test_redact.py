"""Run files name no one, whatever paths hide in variables and reasons."""

import pytest

from bench.machine.redact import redacted


@pytest.fixture(autouse=True)
def alice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/home/alice", "USER": "alice", "LOGNAME": "alice"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/alice", "~"),
        ("/home/alice/lib/a.so:/home/alice/lib/b.so", "~/lib/a.so:~/lib/b.so"),
        ("FileNotFoundError: '/home/alice/model'", "FileNotFoundError: '~/model'"),
        ("/tmp/torchinductor_alice/x", "/tmp/torchinductor_USER/x"),
        ("/scratch/alice/cache", "/scratch/USER/cache"),
    ],
)
def test_home_and_user_are_taken_out_of_paths(text: str, told: str) -> None:
    assert redacted(text) == told


@pytest.mark.parametrize(
    "text", ["", "1", "max_split_size_mb:128", "alice is a word too", "/home/alicent/x", "a/b"]
)
def test_everything_else_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("home", ["/", None])
def test_home_that_is_no_folder_of_ones_own_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert redacted("/usr/lib/x.so") == "/usr/lib/x.so"


def test_account_is_taken_out_where_no_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    assert redacted("/tmp/torchinductor_alice/x") == "/tmp/torchinductor_USER/x"
