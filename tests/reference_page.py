"""docs/cli.md, made of the table of options: `python -m tests.reference_page > docs/cli.md`."""

from collections.abc import Iterable

from bench.matrix.axes import AXES
from bench.options import COMMAND, PYPROJECT, PYTEST, TABLE, VERBS, Option, options_of


def reference_page() -> str:
    """The text of the page."""
    lines = [
        "# Command line\n",
        "Made from `bench/options.py` by `python -m tests.reference_page > docs/cli.md`; a verb's",
        "`--help` shows the same. A wrong value ends a command with exit status 2 and a message",
        "that names the option, the value and what is allowed.\n",
    ]
    for verb, does in VERBS.items():
        arguments = "".join(f" [{o.typed}]..." for o in options_of(verb) if o.many in ("*", "+"))
        lines.append(f"## {verb}\n\n    {COMMAND} {verb} [OPTION]...{arguments}\n\n{does}\n")
        lines += _rows(verb)
    lines.append("## Axes\n\nComma-separated; each replaces the preset's values.\n")
    lines += _table(option for option in options_of(PYTEST) if option.name in AXES)
    lines.append("## Bare pytest\n\n    python -m pytest bench/suite/test_phases.py [OPTION]...\n")
    lines += ["`bench/suite/test_ceilings.py` takes the same options.\n", *_rows(PYTEST)]
    lines.append(f"## pyproject.toml\n\nKeys of `[{TABLE}]`, which `regress` goes by where its")
    lines += ["options do not say otherwise.\n", *_rows(PYPROJECT)]
    return "\n".join(lines).rstrip()


def _rows(front: str) -> list[str]:
    options = options_of(front)
    axes = [f"[`{o.flag}`](#axes)" for o in options if o.name in AXES]
    rows = _table((o for o in options if o.name not in AXES), keys=front == PYPROJECT)
    return [*rows, f"Axes: {', '.join(axes)}.\n"] if axes else rows


def _table(options: Iterable[Option], *, keys: bool = False) -> list[str]:
    rows = []
    for option in options:
        typed = option.name if keys else f"{option.flag} {option.metavar or ''}".rstrip()
        cell = typed.replace("|", r"\|")
        rows.append(f"| `{cell}` | {option.description} |")
    return [f"| {'key' if keys else 'option'} | |", "| --- | --- |", *rows, ""]


if __name__ == "__main__":
    print(reference_page())
