"""Where training begins: random weights, or those of an encoder that was trained before."""

from pathlib import Path

from ..corpus.manifest import Manifest
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..settings import Pretrain

FOLDER, NOTE = "start", "start.json"
"""In the run's folder: a copy of the encoder that `pretrain.start_from` named when the run began, and what it was."""


def begins_with(settings: Pretrain, run: str) -> Path | None:
    """The folder of the encoder to begin with, or None."""
    folder = Path(run) / FOLDER
    return folder if settings.start_from and (folder / "encoder.json").is_file() else None


def fill(encoder: Encoder, folder: Path, manifest: Manifest) -> None:
    """Give an encoder the weights in a folder, but the statistics of the corpus that it will see.

    Raises:
        UserError: the weights are those of another network, or damaged.
    """
    from ..export import load

    earlier = load(folder)
    before, now = earlier.state_dict(), encoder.state_dict()
    wrong = [name for name in sorted({*before, *now}) if name not in before or name not in now]
    wrong += [name for name in now if name in before and now[name].shape != before[name].shape]
    if type(earlier) is not type(encoder) or wrong:
        raise UserError(
            f"pretrain.start_from: the encoder in {folder} is another network ({wrong[0] if wrong else 'its class'} "
            "differs); give pretrain.encoder the settings in its encoder.json"
        )
    encoder.load_state_dict(before)
    encoder.set_statistics(manifest.mean, manifest.std)
