"""Where figures go: JSON lines for machines, one section of RESULTS.md and a printed table for people."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TABLE = HERE / "RESULTS.md"
LINES = HERE / "results.jsonl"


def append(path: Path, records: list[dict[str, Any]]) -> None:
    """Add records to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def write_section(path: Path, title: str, text: str) -> None:
    """Put a section under its heading in a Markdown file, in place of the one that was there."""
    heading = f"## {title}\n"
    parts = (path.read_text(encoding="utf-8") if path.is_file() else "# Results\n").split("\n## ")
    kept = [parts[0].rstrip("\n"), *(p.rstrip("\n") for p in parts[1:] if not f"## {p}".startswith(heading))]
    path.write_text("\n\n## ".join(kept) + f"\n\n{heading}\n{text.strip()}\n", encoding="utf-8")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def provenance(facts: dict[str, Any]) -> str:
    """The command, the moment and the machine, as Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return (
        f"`{shlex.join(['python', *_arguments()])}`  \n"
        f"{facts['date']}, commit {facts['commit']}; {facts['cpu']}, {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB; load average {facts['load'][0]} before"
        + (f" and {facts['load_after'][0]} after" if "load_after" in facts else "")
        + (f", {facts['steal_share']:.1%} of the time stolen" if "steal_share" in facts else "")
        + f"; nice {facts['nice']}; {versions}"
    )


def _arguments() -> list[str]:
    script = Path(sys.argv[0]).resolve()
    near = script.relative_to(HERE.parent) if script.is_relative_to(HERE.parent) else script
    return [str(near), *sys.argv[1:]]


def show(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for number, name in enumerate(header):
        shown.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        shown.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(shown)
