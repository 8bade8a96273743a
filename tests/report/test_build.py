"""The report of a run: complete, partial, damaged and hostile run folders."""

import itertools
import json
import re
import runpy
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfray.errors import UserError
from selfray.report.build import SECTIONS, build
from selfray.report.reading import read

MAKER = runpy.run_path(str(Path(__file__).with_name("run_folder.py")))
PARTS = (
    "summary.json",
    "metrics.jsonl",
    "evaluation/results.json",
    "evaluation/samples.npz",
    "views.npz",
    "clusters.npz",
    "recipe.yaml",
    "encoder/encoder.json",
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"


class Page(HTMLParser):
    """What a browser would make of the page: tags, text, ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run: Path) -> Page:
    return Page(build(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run: Path = MAKER["complete_run"](tmp_path_factory.mktemp("runs") / "digits")
    build(run)
    return run


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run with too few samples for t-SNE, so that it builds in no time."""
    run: Path = MAKER["complete_run"](tmp_path_factory.mktemp("runs") / "small", samples=30)
    return run


@pytest.fixture
def small(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the small run, to damage."""
    return shutil.copytree(pristine, tmp_path / "run")


def test_a_finished_run_shows_every_section_and_misses_nothing(finished: Path) -> None:
    page = Page((finished / "report.html").read_text(encoding="utf-8"))
    assert [one["id"] for one in page.all("section")] == [module.__name__.rpartition(".")[2] for module, _ in SECTIONS]
    assert not [attributes for _, attributes in page.tags if attributes.get("class") == "missing"]
    shown = ["digits-simclr", "finished", "96.9 %", "untrained 90.3 %", "raw pixels 94.4 %", "11.2 M", "1 min 23 s"]
    for wanted in [*shown, "t-SNE", "CC BY 4.0", "InstDisc", "0.030 worse", "Positive similarity"]:
        assert wanted in page.text


def test_the_commands_can_be_pasted(finished: Path) -> None:
    text = page_of(finished).text
    assert f"selfray embed {finished}/encoder /data/corpora/digits embeddings" in text
    assert f"selfray.load('{finished}/encoder')" in text
    assert "mlflow ui --backend-store-uri sqlite:////data/runs/digits/mlflow.db" in text


def test_the_page_loads_nothing_from_anywhere(finished: Path) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    for tag, attributes in Page(text).tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:", "encoder/")), f"<{tag} {name}={value[:80]}>"
    assert all(link.strip("'\"").startswith("data:") for link in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_every_image_and_figure_has_words(finished: Path) -> None:
    page = page_of(finished)
    assert page.all("img")
    assert all(image.get("alt") for image in page.all("img"))
    figures = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(figures) >= 14
    assert all(svg.get("aria-label") for svg in figures)
    assert len(page.all("caption")) == len(page.all("table")) == 2


def test_ids_are_unique_and_every_reference_has_its_target(finished: Path) -> None:
    page = page_of(finished)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] for _, attributes in page.tags if (attributes.get("href") or "").startswith("#")}
    assert {link[1:] for link in links if link} <= set(ids)


def test_the_same_run_gives_the_same_page(finished: Path) -> None:
    first = (finished / "report.html").read_bytes()
    assert build(finished).read_bytes() == first


def test_an_empty_folder_gives_a_page_that_says_what_to_do(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert len(page.all("section")) == len(SECTIONS) - 1  # an objective without clusters has no gallery of them
    assert "Not evaluated yet" in page.text
    assert f"selfray evaluate {tmp_path}/encoder CORPUS" in page.text


def test_a_missing_folder_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run at"):
        build(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [*itertools.combinations(PARTS, 1), *itertools.combinations(PARTS, len(PARTS) - 1)])
def test_a_page_from_every_partial_run(small: Path, kept: tuple[str, ...]) -> None:
    for name in set(PARTS) - set(kept):
        (small / name).unlink()
    page = page_of(small)
    assert len(page.all("section")) >= len(SECTIONS) - 1
    assert "could not be read" not in page.text


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("damage", [b"", b"\x00\xff{not json", b"PK\x03\x04torn", b"[1, 2]"])
def test_a_damaged_file_never_stops_the_page(small: Path, name: str, damage: bytes) -> None:
    (small / name).write_bytes(damage)
    assert len(page_of(small).all("section")) >= len(SECTIONS) - 1


def test_an_archive_cut_short_is_named(small: Path) -> None:
    file = small / "evaluation/samples.npz"
    file.write_bytes(file.read_bytes()[:2000])
    assert "evaluation/samples.npz could not be read" in page_of(small).text


@pytest.mark.parametrize("odd", [None, "text", -1, 0, 1e300, True, [], [None], {}, {"a": [1]}])
def test_values_of_an_unexpected_type_never_stop_the_page(small: Path, odd: Any) -> None:
    for name, whole in (("summary.json", MAKER["SUMMARY"]), ("evaluation/results.json", MAKER["RESULTS"])):
        (small / name).write_text(json.dumps(dict.fromkeys(whole, odd)))
        build(small)
    probe, score = MAKER["RESULTS"]["probes"][0], MAKER["RESULTS"]["scores"][0]
    mixed = [dict(probe, **{key: odd}) for key in probe] + [dict.fromkeys(probe, odd)]
    results = {"probes": mixed, "scores": [dict.fromkeys(score, odd)], "samples": {"train": odd}}
    (small / "evaluation/results.json").write_text(json.dumps(results))
    nested = {key: dict.fromkeys(value, odd) for key, value in MAKER["SUMMARY"].items() if isinstance(value, dict)}
    (small / "summary.json").write_text(json.dumps({**nested, "warnings": [odd]}))
    (small / "metrics.jsonl").write_text(json.dumps({"step": 1, "train/loss": odd, "health/rankme": odd}) + "\n")
    build(small)


def test_hostile_names_stay_text(small: Path) -> None:
    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poisoned(one) for key, one in value.items()}
        if isinstance(value, list):
            return [poisoned(one) for one in value]
        return HOSTILE if isinstance(value, str) else value

    for name, whole in (("summary.json", MAKER["SUMMARY"]), ("evaluation/results.json", MAKER["RESULTS"])):
        (small / name).write_text(json.dumps(poisoned(whole)))
    (small / "recipe.yaml").write_text(f"name: {HOSTILE}\n{HOSTILE}: 1\n")
    (small / "encoder/encoder.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    (small / "metrics.jsonl").write_text(json.dumps({"step": 1, f"train/{HOSTILE}": 1.0}) + "\n")
    arrays = MAKER["digits"](30)
    arrays["classes"] = np.array([f"{digit}{HOSTILE}" for digit in range(10)])
    np.savez(small / "evaluation/samples.npz", **arrays)
    np.savez(small / "views.npz", sample=arrays["image"][:4], **{"<b onclick=x>": arrays["image"][:4]})
    page = page_of(small)
    assert len(page.all("script")) == 2  # the page's own, and its data
    assert all("onerror" not in attributes and "onclick" not in attributes for _, attributes in page.tags)
    assert not [image for image in page.all("img") if image["src"] == "x"]
    assert "{{ 7*7 }}" in page.text
    assert page.text.count("alert(1)") > 10


def test_a_torn_last_line_of_the_metrics_is_ignored(small: Path) -> None:
    whole = (small / "metrics.jsonl").read_text()
    (small / "metrics.jsonl").write_text(whole + '{"step": 804, "train/lo')
    run = read(small)
    assert run.metrics["train/loss"][-1][0] == 800
    assert not run.problems


def test_non_finite_values_are_marked_and_break_the_line(tmp_path: Path) -> None:
    values = ["1.0", "null", "NaN", "Infinity", "0.5", "0.4"]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"step": {step}, "train/loss": {value}}}\n' for step, value in enumerate(values))
    )
    page = page_of(tmp_path)
    assert "3 of 6 values were not finite" in page.text
    assert len([path for path in page.all("path") if path.get("class") == "lost"]) == 3
    (line,) = [path["d"] for path in page.all("path") if path.get("class") == "line"]
    assert line is not None
    assert line.count("M") == 2
    assert "nan" not in line


def test_a_collapse_is_called_one(small: Path) -> None:
    lines = [{"step": step, "health/feature_std": 0.02, "health/uniformity": -0.01} for step in range(5)]
    (small / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arrays = MAKER["digits"](60)
    arrays["embedding"][:] = 1.0
    np.savez(small / "evaluation/samples.npz", **arrays)
    text = page_of(small).text
    assert "warning: warns below 0.1" in text
    assert "warning: warns above −0.1" in text
    assert "the encoder has collapsed" in text


def test_samples_with_non_finite_embeddings_are_left_out_and_said_so(small: Path) -> None:
    arrays = MAKER["digits"](30)
    arrays["embedding"][3, 0] = np.nan
    np.savez(small / "evaluation/samples.npz", **arrays)
    assert "left out 1 of 30 samples, whose embeddings are not finite" in page_of(small).text


@pytest.mark.parametrize("samples", [1, 2, 3, 9])
def test_few_samples_without_labels_are_enough(tmp_path: Path, samples: int) -> None:
    (tmp_path / "evaluation").mkdir()
    arrays = MAKER["digits"](samples)
    np.savez(tmp_path / "evaluation/samples.npz", image=arrays["image"], embedding=arrays["embedding"][:, :1])
    page = page_of(tmp_path)
    assert "PCA" in page.text
    assert "could not be read" not in page.text


def test_the_largest_run_stays_under_six_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selfray.report import space

    monkeypatch.setattr(space, "FEWEST_FOR_TSNE", 10**9)  # the map's method changes no sizes
    noise = np.random.default_rng(0)  # noise is what PNG compresses worst
    (tmp_path / "evaluation").mkdir()
    image = noise.integers(0, 256, (2000, 96, 96, 3), dtype=np.uint8)
    embedding = noise.standard_normal((2000, 32), dtype=np.float32)
    label = np.arange(2000) % 40
    np.savez(tmp_path / "evaluation/samples.npz", image=image, embedding=embedding, untrained=embedding, label=label)
    np.savez(tmp_path / "views.npz", sample=image[:8], **{f"crop_{index}": image[:8] for index in range(8)})
    lines = [{"step": s, **{f"train/scalar_{i}": s * i for i in range(8)}} for s in range(5000)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert 1e6 < build(tmp_path).stat().st_size < 6e6


def test_passwords_in_a_tracking_uri_are_hidden(small: Path) -> None:
    uri = "postgresql://selfray:s3cret@db/mlflow"
    (small / "summary.json").write_text(json.dumps({"mlflow": {"tracking_uri": uri}}))
    (small / "recipe.yaml").write_text(f"tracking: {uri}\n")
    page = build(small).read_text(encoding="utf-8")
    assert "s3cret" not in page
    assert "selfray:***@db/mlflow" in page


def test_importing_the_report_imports_nothing_heavy() -> None:
    heavy = ("torch", "ray", "mlflow", "sklearn", "matplotlib", "jinja2")
    check = f"import sys, selfray.report.build; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_samples_of_text_are_read_in_neighbours_views_and_map(tmp_path: Path) -> None:
    page = page_of(MAKER["of_text"](tmp_path / "run"))
    words = [attributes for _, attributes in page.tags if attributes.get("class") == "words"]
    assert len(words) >= 2 * 10 * 9  # ten queries with eight neighbours, by two encoders
    assert "zero [MASK] the 0. row, <b>&" in page.text
    assert not page.all("audio")
    assert not page.all("b onclick")
    data = re.search(r'id="map-data">(.*?)</script>', (tmp_path / "run/report.html").read_text(encoding="utf-8"))
    assert data is not None
    assert len(json.loads(data[1])["text"]) == 120


def test_samples_of_sound_are_seen_and_played(tmp_path: Path) -> None:
    page = page_of(MAKER["of_sound"](tmp_path / "run"))
    players = page.all("audio")
    assert all((one["src"] or "").startswith("data:audio/mpeg;base64,") for one in players)
    assert all(one["aria-label"] for one in players)
    assert len(players) >= 2 * 10 * 9 + 2 * 8
    assert [figure for figure in page.all("img") if "denoised" in (figure["alt"] or "")]
    assert "media-src data:" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
