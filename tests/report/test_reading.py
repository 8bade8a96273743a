"""Metrics as a killed and resumed process leaves them."""

from pathlib import Path

from selfray.report.reading import read


def test_a_damaged_line_in_the_middle_is_counted(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2}\n{"st\n{"step": 2, "train/loss": 1}\n')
    run = read(tmp_path)
    assert run.metrics["train/loss"] == [(1.0, 2.0), (2.0, 1.0)]
    assert run.problems == ["metrics.jsonl: skipped 1 damaged line"]


def test_of_a_repeated_step_the_last_line_wins(tmp_path: Path) -> None:
    lines = [(1, 9.0), (2, 8.0), (3, 7.0), (2, 5.0), (3, 4.0)]
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {s}, "train/loss": {v}}}\n' for s, v in lines))
    assert read(tmp_path).metrics["train/loss"] == [(1.0, 9.0), (2.0, 5.0), (3.0, 4.0)]
