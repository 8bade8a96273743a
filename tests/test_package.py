"""The package as it is installed and imported."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "ray", "mlflow", "sklearn", "transformers", "matplotlib", "pandas")


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=True, capture_output=True, text=True, **options)  # type: ignore[call-overload]


def test_platform_stays_the_standard_library_from_the_repository_root():
    run(sys.executable, "-c", "import platform; assert platform.system(), platform", cwd=ROOT)


def test_platform_is_a_source_root():
    assert not (ROOT / "platform" / "__init__.py").exists()


@pytest.mark.parametrize(
    "command", [["--help"], ["list"], ["list", "corpora"], ["corpus", "--help"], ["run", "--help"]]
)
def test_looking_around_imports_nothing_heavy(command):
    code = (
        "import sys\nfrom selfray.cli import app\n"
        f"try:\n    app({command!r})\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    assert run(sys.executable, "-c", code).stderr.strip() == "[]"


def test_every_public_verb_exists():
    import selfray

    for name in selfray.__all__:
        assert callable(getattr(selfray, name)), name


def test_loading_an_encoder_never_imports_ray_or_mlflow(digits, tmp_path):
    code = "import sys, selfray.export\nfrom selfray import load\nprint('ray' in sys.modules, 'mlflow' in sys.modules)"
    assert run(sys.executable, "-c", code).stdout.split() == ["False", "False"]


def test_nothing_unpickles():
    forbidden = (
        "pickle.load",
        "cloudpickle.load",
        "yaml.load(",
        "weights_only=False",
        "allow_pickle=True",
        "extractall(",
    )
    for file in (ROOT / "platform").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not [word for word in forbidden if word in text], file


def test_a_wheel_in_a_bare_environment_lists_its_pipelines(tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    modules = {p.relative_to(ROOT / "platform").as_posix() for p in (ROOT / "platform").rglob("*.py")}
    assert modules <= set(names)
    assert not [n for n in names if n.startswith(("tests", "platform"))]
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare"))
    (site,) = (tmp_path / "bare").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # The libraries of this environment, but not this checkout: editable installs are found through .pth files only.
    libraries = next(p for p in sys.path if p.endswith("site-packages"))
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{site}:{libraries}"}
    code = (
        "import selfray, sys; assert 'bare' in selfray.__file__, selfray.__file__; from selfray.cli import app; app()"
    )
    listed = run(str(tmp_path / "bare/bin/python"), "-c", code, "list", "pipelines", cwd=tmp_path, env=bare).stdout
    for pipeline in ("quickstart", "image/simclr", "image/moco"):
        assert pipeline in listed
