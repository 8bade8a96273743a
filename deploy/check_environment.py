"""Make the environment of the programs that check deployment files, or find that it is there; prints its folder.

    python deploy/check_environment.py [FOLDER]        # by default .venv-deploy at the repository root

They are apart from selfray's own packages, whose versions they would change. The tests of tests/deploy that need them
look in the folder that SELFRAY_DEPLOY_TOOLS names.
"""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULT = HERE.parent / ".venv-deploy"
REQUIREMENTS = HERE / "requirements-check.txt"


def create(folder: Path) -> Path:
    """The folder of the environment, made anew unless it holds what requirements-check.txt asks for.

    Raises:
        SystemExit: the folder is something else, or pip failed.
    """
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        sys.exit(f"check_environment: {folder} is not empty and not a virtual environment; choose another folder")
    note, wanted = folder / REQUIREMENTS.name, REQUIREMENTS.read_text(encoding="utf-8")
    if not note.is_file() or note.read_text(encoding="utf-8") != wanted:
        venv.create(folder, with_pip=True, clear=True)
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "-r", str(REQUIREMENTS)]
        done = subprocess.run([folder / "bin" / "python", "-m", "pip", "install", *options], check=False)
        if done.returncode:
            sys.exit(f"check_environment: pip could not install {REQUIREMENTS.name} into {folder}")
        note.write_text(wanted, encoding="utf-8")
    return folder


if __name__ == "__main__":
    print(create(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
