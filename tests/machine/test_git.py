"""What is read of git fails aloud."""

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.machine.git import Git


def test_files_that_cannot_be_listed_are_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    for listing in (Git(tmp_path).working_files, Git(tmp_path).submodules):
        with pytest.raises(UsageError, match=str(tmp_path)):
            listing()
