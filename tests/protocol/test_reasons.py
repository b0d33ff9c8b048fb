"""What is kept of an exception, and of what a process printed before it died."""

from pathlib import Path

import pytest

from bench.protocol.reasons import MAX_LINE, last_words, reason_in, reason_of

CPP = """CppCompileError: C++ compile error

Command:
g++ /tmp/my folder/header.hpp -Werror -o /tmp/my folder/header.i

Output:
g++: {}
compilation terminated.

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace
"""


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError(), "ValueError: no message"),
        (ValueError("one\ntwo"), "ValueError: one"),
        (KeyError("adam"), "KeyError: 'adam'"),
        (
            StopIteration(),
            "StopIteration: an iterator ended: begin it anew in the step, for example by "
            "itertools.cycle",
        ),
        (
            RuntimeError(CPP.format("fatal error: input file /tmp/my is the same as output file")),
            "RuntimeError: CppCompileError: C++ compile error: g++: fatal error: input file "
            "/tmp/my is the same as output file",
        ),
        (
            RuntimeError("CUDA compile error\n\nkernel.cu(7): error: identifier x is undefined"),
            "RuntimeError: CUDA compile error: kernel.cu(7): error: identifier x is undefined",
        ),
        (
            RuntimeError("link\n/usr/bin/ld: cannot find -lgomp\ncollect2: error: ld returned 1"),
            "RuntimeError: link: /usr/bin/ld: cannot find -lgomp",
        ),
        (
            RuntimeError("link\ncollect2: error: ld returned 1 exit status"),
            "RuntimeError: link: collect2: error: ld returned 1 exit status",
        ),
        (
            caused(
                RuntimeError("PassManager::run failed"),
                RuntimeError("ptxas failed\nptxas fatal   : Unresolved extern function 'f'"),
            ),
            "RuntimeError: PassManager::run failed: ptxas fatal   : Unresolved extern function 'f'",
        ),
        (
            caused(
                RuntimeError("outer"), caused(TypeError("middle"), OSError(28, "No space left"))
            ),
            "RuntimeError: outer: OSError: [Errno 28] No space left",
        ),
        (
            caused(RuntimeError("BackendError: no compiler"), ValueError("no compiler")),
            "RuntimeError: BackendError: no compiler",
        ),
    ],
)
def test_reason_is_the_first_line_and_the_one_that_tells_the_cause(
    error: Exception, reason: str
) -> None:
    assert reason_of(error) == reason


def test_reason_is_bounded() -> None:
    error = RuntimeError("x" * 5000 + "\nerror: " + "y" * 5000)
    assert len(reason_of(error)) <= 2 * MAX_LINE + 2


UNCAUGHT = """a warning
Traceback (most recent call last):
  File "worker.py", line 1, in <module>
    import torch
ModuleNotFoundError: No module named 'torch'
printed at exit
"""
CRASHED = """Fatal Python error: Segmentation fault

Current thread 0x01 (most recent call first):
  File "train.py", line 3 in forward

Extension modules: numpy (total: 1)
"""
ABORTED = """terminate called after throwing an instance of 'c10::Error'
  what():  CUDA error: unspecified launch failure
Exception raised from c10_cuda_check_implementation at CUDAException.cpp:44
frame #0: c10::Error::Error + 0x80 (0x7f in libc10.so)
"""
IGNORED = """Traceback (most recent call last):
  File "worker.py", line 1, in <module>
ValueError: the cause
Exception ignored in: <function at>
Traceback (most recent call last):
  File "atexit.py", line 1, in <module>
OSError: no cause
"""


@pytest.mark.parametrize(
    ("text", "raised", "words"),
    [
        ("", True, ""),
        ("first\n  last  \n\n", True, "last"),
        (UNCAUGHT, True, "ModuleNotFoundError: No module named 'torch' (worker.py, line 1)"),
        (UNCAUGHT + "free(): invalid pointer\n", False, "free(): invalid pointer"),
        (CRASHED, False, "Fatal Python error: Segmentation fault"),
        (ABORTED, False, "what():  CUDA error: unspecified launch failure"),
        (IGNORED, True, "ValueError: the cause (worker.py, line 1)"),
        ("Traceback (most recent call last):\n  File", True, "File"),
        ("x" * 5000, False, "x" * (MAX_LINE - 3) + "..."),
    ],
)
def test_last_words_are_the_line_that_tells_the_cause(text: str, raised: bool, words: str) -> None:
    assert last_words(text, raised=raised) == words


def test_reason_in_a_folder_names_the_line_of_its_own_code(tmp_path: Path) -> None:
    path = tmp_path / "steps" / "steps.py"
    path.parent.mkdir()
    for text, place in (("import json\njson.loads('{')\n", 2), ("x = 1\n\ndef broken(:\n", 3)):
        path.write_text(text)
        try:
            exec(compile(text, str(path), "exec"), {})
        except Exception as error:
            found = reason_in(tmp_path, error)
        assert found.endswith(f"steps.py, line {place})")
    assert reason_in(tmp_path, ValueError("elsewhere")) == "ValueError: elsewhere"
