"""How to use what the run made: commands and code to copy."""

import shlex
from typing import Any

from ..reading import Run, part, without_passwords


def content(run: Run) -> dict[str, Any]:
    """The code, the commands, and what is known about the encoder."""
    encoder = run.folder / "encoder"
    corpus = shlex.quote(str(part(run.summary, "corpus").get("path") or "CORPUS"))
    where = shlex.quote(str(encoder))
    uri = part(run.summary, "mlflow").get("tracking_uri")
    return {
        "exported": run.has_encoder,
        "card": (encoder / "README.md").is_file(),
        "facts": [(key, str(value)) for key, value in run.encoder.items() if isinstance(value, str | int | float)],
        "python": "import selfray\n\n"
        f"encoder = selfray.load({str(encoder)!r})\n"
        "features = encoder.embed(images)  # uint8 NHWC -> (n, width)",
        "commands": [
            ("Embed a corpus to Parquet", f"selfray embed {where} {corpus} embeddings"),
            ("Evaluate on a corpus", evaluate_command(run)),
            *([("Compare runs in MLflow", _mlflow(str(uri)))] if uri else []),
        ],
    }


def evaluate_command(run: Run) -> str:
    """The command that fills the evaluation sections."""
    corpus = str(part(run.summary, "corpus").get("path") or "CORPUS")
    return shlex.join(["selfray", "evaluate", str(run.folder / "encoder"), corpus])


def _mlflow(uri: str) -> str:
    return shlex.join(["mlflow", "ui", "--backend-store-uri", without_passwords(uri)])
