"""Do every fault to a run and write the table of docs/reliability.md: `python -m tests.faults.collect [NAME ...]`."""

import math
import sys
import tempfile
from pathlib import Path

import numpy as np

from . import scenarios

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def corpus(folder: Path) -> Path:
    """600 real handwritten digits, prepared."""
    from PIL import Image
    from sklearn.datasets import load_digits

    from selfray.corpus.ingest import prepare

    bunch = load_digits()
    for i, (picture, label) in enumerate(zip(bunch.images[:600], bunch.target[:600], strict=True)):
        file = folder / "raw" / str(label) / f"{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 15.9).astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC).save(file)
    prepare(folder / "raw", folder / "digits", holdout=1 / 6, rows_per_group=64, ray=False)
    return folder / "digits"


def meaning(name: str) -> str:
    """What is done, in the table's first column."""
    return (scenarios.ALL[name].__doc__ or "").split("\n")[0].rstrip(".")


def row(name: str, outcome: scenarios.Outcome) -> str:
    """One line of the table."""
    seconds = "" if math.isnan(outcome.recovery) else f"{outcome.recovery:.0f}"
    refused, resized = outcome.note.startswith("refused"), outcome.note.startswith("workers")
    same = "" if refused else "another sum order" if resized else "yes" if outcome.same else "NO"
    broken = "; ".join(outcome.broken) or "none"
    return f"| {meaning(name)} | {seconds} | {outcome.replayed} | {same} | {broken} | {outcome.note} |"


def main(names: list[str]) -> None:
    """Measure the named faults, or all, and put their rows into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    lines = [line for line in old.splitlines() if line.startswith("| ")]
    rows = {line.split("|")[1].strip(): line for line in lines}
    columns = ("what was done", "seconds to the first new step", "steps repeated", "same final parameters")
    head = "| " + " | ".join([*columns, "broken invariants", ""]) + "|"
    with tempfile.TemporaryDirectory() as place:
        data = corpus(Path(place))
        for name in names or list(scenarios.ALL):
            folder = Path(place) / name
            folder.mkdir()
            line = row(name, scenarios.ALL[name](folder, data))
            print(line, flush=True)
            rows[line.split("|")[1].strip()] = line
            lines = [rows[key] for key in map(meaning, scenarios.ALL) if key in rows]
            table = "\n".join([head, "|---|--:|--:|---|---|---|", *lines])
            DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
