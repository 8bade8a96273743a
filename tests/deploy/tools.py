"""The programs of .venv-deploy: where they are, and how to ask them."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def place() -> Path:
    """The environment that `make deploy-check` made; the test is skipped without one."""
    named = os.environ.get("SELFRAY_DEPLOY_TOOLS")
    if not named:
        pytest.skip("needs the programs of deploy/requirements-check.txt: run `make deploy-check`")
    return Path(named)


def program(name: str) -> Path:
    """One of the programs.

    Raises:
        FileNotFoundError: the environment is named but has no such program, which is a mistake and no reason to skip.
    """
    found = place() / "bin" / name
    if not found.is_file():
        raise FileNotFoundError(f"{found} is missing; remove .venv-deploy and run `make deploy-check`")
    return found


def ask(name: str, *arguments: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with nothing of this process's environment but the path."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(cwd), **environment}
    return subprocess.run(
        [program(name), *arguments], cwd=cwd, env=clean, capture_output=True, text=True, check=False, timeout=120
    )
