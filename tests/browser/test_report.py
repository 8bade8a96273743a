"""The report in a real browser: its script runs, nothing is logged as an error, and there is something to see."""

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfray.report.build import SECTIONS, build

pytestmark = pytest.mark.browser
MAKER = runpy.run_path(str(Path(__file__).parents[1] / "report" / "run_folder.py"))
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
)


def chromium() -> str:
    """The browser; skips the test where there is none, or fails it where one is required."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        reason = "no chromium on PATH"
        if os.environ.get("SELFRAY_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, and SELFRAY_REQUIRE_BROWSER=1")
        pytest.skip(f"{reason}; SELFRAY_REQUIRE_BROWSER=1 makes this a failure")
    return program


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chromium()
    return build(MAKER["complete_run"](tmp_path_factory.mktemp("runs") / "digits"))


def browse(page: Path, profile: Path, *flags: str) -> tuple[str, str]:
    """Open a page; what the browser prints and what it logs."""
    command = [chromium(), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, done.stderr


def console_errors(log: str) -> list[str]:
    return [line for line in log.splitlines() if "CONSOLE" in line]


def test_the_script_runs_without_errors_and_leaves_every_section(page: Path, tmp_path: Path) -> None:
    dom, log = browse(page, tmp_path, "--dump-dom")
    assert console_errors(log) == []
    for module, title in SECTIONS:
        assert f'<section id="{module.__name__.rpartition(".")[2]}"' in dom
        assert title in dom
    assert "scripted-page" in dom  # set by the script's first line …
    assert dom.count(">Copy</button>") == dom.count('class="code"') >= 4  # … and made by its last part
    assert len(re.findall(r'<svg class="chart"[^>]*tabindex="0"', dom)) == 9
    assert len(re.findall(r'<img[^>]*role="button"', dom)) == 2 * 10 * 9


def test_an_error_of_a_script_would_be_seen(tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>missing()</script>")
    _, log = browse(broken, tmp_path / "profile", "--dump-dom")
    assert len(console_errors(log)) == 1


def test_a_click_on_a_neighbour_shows_it_on_the_map(page: Path, tmp_path: Path) -> None:
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')  # it would stop the click below, rightly
    click = '<script>document.querySelector(".near img").click()</script></body>'
    clicked = tmp_path / "clicked.html"
    clicked.write_text(policy.sub("", page.read_text(encoding="utf-8")).replace("</body>", click), encoding="utf-8")
    dom, log = browse(clicked, tmp_path / "profile", "--dump-dom")
    assert console_errors(log) == []
    panel = dom[dom.index('id="inspect"') : dom.index('id="map-data"')]
    assert "and its nearest neighbours" in panel
    assert panel.count("<li>") == 2 * 8


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (420, "light")])
def test_the_page_is_not_blank_and_follows_the_colour_scheme(
    page: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / "page.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browse(page, tmp_path / "profile", f"--screenshot={file}", f"--window-size={width},4000", *dark)
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (4000, width)
    paper = pixels[2, 2]
    assert (paper.mean() < 60) == (scheme == "dark")
    for band in np.split(pixels, 8):  # something is drawn from top to bottom
        assert (np.abs(band - paper).sum(axis=-1) > 90).mean() > 0.002
    assert (np.abs(pixels[:, -4:] - paper).sum(axis=-1) < 30).all()  # nothing runs out at the right
