"""The kinds of file that this suite puts into the results folder, told apart by their content."""

from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError


@dataclass(frozen=True)
class Kind:
    """What a file is or holds, and what to do with it; `{}` stands for its path."""

    what: str
    remedy: str


RUN = Kind("is a run file", "`compare {}` prints it")
CEILINGS = Kind("holds ceilings alone", "`ceilings {}` prints them")
REPORT = Kind(
    "is a report of the gate",
    "name run files; `calibrate` replays the pairs of reports of identical sides",
)
FLOORS = Kind("holds floors, which older versions kept there", "no command prints them")


class OtherKind(UsageError):
    """A file of this suite's, of another kind than was asked for."""

    def __init__(self, path: Path, kind: Kind) -> None:
        super().__init__(f"{path} {kind.what}: {kind.remedy.format(path)}")
        self.skipped = f"skipped {path}: it {kind.what}"


def kind_of(document: object) -> Kind | None:
    """What a JSON document is; None where it is nothing that this suite writes."""
    if not isinstance(document, dict):
        return None
    if "sumnet" in document:
        return RUN
    if {"sides", "rules", "comparisons", "series", "pairs"} <= document.keys():
        return REPORT
    if document and all(key.startswith("reference loop ") for key in document):
        return FLOORS
    return None
