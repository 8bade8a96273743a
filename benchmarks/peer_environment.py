"""Make the environment of the peer libraries, or find that it is already there; prints its interpreter.

    python benchmarks/peer_environment.py [FOLDER]        # by default .venv-bench at the repository root

The peers sit in an environment of their own, so that selfray's stays what its users have. It sees the packages of the
interpreter that runs this file, torch and selfray among them, and adds what requirements.txt pins.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULT = HERE.parent / ".venv-bench"
REQUIREMENTS = HERE / "requirements.txt"
IMPORTS = """
import torchvision_stub, torchvision, pytorch_lightning, selfray
from transformers import Trainer
import accelerate
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
"""


class PeerError(Exception):
    """The peers cannot be used here; the message says why."""


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def problem(python: Path) -> str:
    """Why that interpreter cannot import the peers; nothing if it can."""
    if not python.is_file():
        return f"there is no {python}; run `python benchmarks/peer_environment.py`"
    done = subprocess.run([python, "-c", IMPORTS], cwd=HERE, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else _last_line(done.stderr)


def create(folder: Path) -> Path:
    """The interpreter of the peers' environment, made anew unless it is there and works.

    Raises:
        PeerError: it cannot be installed or imported, or the folder is something else.
    """
    folder = folder.resolve()
    if Path(sys.prefix).resolve() == folder:
        raise PeerError("run this with the interpreter that has selfray and torch, not with that of the peers")
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise PeerError(f"{folder} is not empty and not a virtual environment; choose another folder")
    python, note = python_of(folder), folder / "selfray-peers.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8") + f"# beside {sys.prefix}\n"
    if not note.is_file() or note.read_text(encoding="utf-8") != wanted or problem(python):
        _install(folder)
        note.write_text(wanted, encoding="utf-8")
    if reason := problem(python):
        raise PeerError(f"the peers in {folder} cannot be imported: {reason}")
    return python


def _install(folder: Path) -> None:
    venv.create(folder, with_pip=True, clear=True)
    packages = sysconfig.get_path("purelib", "venv", vars={"base": str(folder), "platbase": str(folder)})
    # A plain path would not let the .pth of an editable selfray work; addsitedir does.
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    Path(packages, "selfray-main.pth").write_text(line, encoding="utf-8")
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--no-input", "-r", REQUIREMENTS]
    command = [python_of(folder), "-m", "pip", "install", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(f"pip could not install {REQUIREMENTS.name} into {folder}: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


if __name__ == "__main__":
    try:
        print(create(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
    except PeerError as error:
        sys.exit(f"peer_environment: {error}")
