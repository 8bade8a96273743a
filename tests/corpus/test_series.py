"""Time-series corpora: every format gives the same series, and what cannot be used has a reason."""

import contextlib
import gzip
import io
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfray.corpus.bad import BadSample
from selfray.corpus.ingest import prepare
from selfray.corpus.kinds.series import Series, outliers
from selfray.corpus.read import read_rows
from selfray.corpus.sources import open_source
from selfray.corpus.sources.source import Sample
from selfray.errors import UserError


def wave(number, steps=50, channels=2):
    """A series of its own: (steps, channels)."""
    time = np.arange(steps)[:, None] / (5 + number % 3)
    return (np.sin(time + np.arange(channels)) * (1 + number)).astype(np.float32)


def encode(data, length=10, channels=1, meta=None, **settings):
    kind = Series(length=length, **settings)
    kind.use({"shape": [length, channels]})
    return kind.encode(Sample(2, "x", np.asarray(data, np.float32), meta=meta))


def reason(data, **settings):
    with pytest.raises(BadSample) as raised:
        encode(data, **settings)
    assert raised.value.detail
    return raised.value.reason


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_ts(path, series, labels, header=""):
    """A .ts file of (time, channels) arrays."""
    lines = [
        ":".join(",".join("?" if np.isnan(v) else repr(float(v)) for v in channel) for channel in one.T) + f":{label}"
        for one, label in zip(series, labels, strict=True)
    ]
    classes = " ".join(sorted(set(labels)))
    text = f"# made by a test\n@problemName Waves\n@timeStamps false\n{header}@classLabel true {classes}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "@data\n" + "\n".join(lines) + "\n")
    return path


def long_table(number=12, order=None):
    """Waves of 20 + number steps as rows, in any order of series."""
    parts = []
    for name in range(number):
        values = wave(name, 20 + name)
        fixed = {"series_id": f"{name}", "label": "ab"[name % 2]}
        columns = {key: [value] * len(values) for key, value in fixed.items()}
        columns |= {"time": np.arange(len(values)), "left": values[:, 0], "right": values[:, 1]}
        parts.append(pa.table(columns))
    table = pa.concat_tables(parts)
    if order is not None:
        table = table.take(pa.array(np.argsort(order(len(table), table), kind="stable")))
    return table


@given(st.integers(2, 60), st.integers(2, 20), st.one_of(st.none(), st.integers(1, 30)))
def test_windows_cover_a_series_and_begin_every_stride(steps, length, stride):
    rows = encode(np.arange(steps), length=length, stride=stride)
    step = stride or length
    assert [row.values[0, 0] for row in rows] == [step * number for number in range(len(rows))]
    assert all(row.length == length for row in rows[:-1])
    assert 2 <= rows[-1].length <= length
    if step <= length - 1:
        assert rows[-1].values[-1, 0] == steps - 1
    if step == length:
        assert steps - sum(row.length for row in rows) in (0, 1)  # one step alone is below min_length
    assert [row.id for row in rows] == [2 * Series.pieces + number for number in range(len(rows))]


def test_reasons():
    nan = np.nan
    assert reason([1.0]) == "too_short"
    assert reason(np.full(20, nan)) == "all_missing"
    assert reason(np.full(20, np.inf)) == "all_missing"
    assert reason([1.0, nan, nan]) == "too_short"
    assert reason([1, nan, nan, nan, nan, nan, 2.0], max_missing=0.5) == "missing"
    assert reason(np.ones((5, 2))) == "wrong_channels"
    assert reason(np.ones(5), constant="reject") == "constant"
    assert reason(np.ones(5), constant="drop") == "constant"
    assert reason([0, 1, 2, 3, 4, 5, 6, 7, 8, 900.0], max_outliers=0.05) == "outliers"
    encode([0, 1, 2, 3, 4, 5, 6, 7, 8, 900.0])
    encode(np.ones(5))


def test_a_constant_channel_may_be_dropped():
    both = np.stack([np.arange(5), np.ones(5)], 1)
    (row,) = encode(both, channels=2, constant="drop")
    assert np.isnan(row.values[:, 1]).all()
    np.testing.assert_array_equal(row.values[:, 0], np.arange(5))
    assert reason(both, channels=2, constant="reject") == "constant"


def test_infinite_values_become_missing_and_are_counted():
    (row,) = encode([1, np.inf, 3, -np.inf, 5.0], meta='{"person": 4}')
    np.testing.assert_array_equal(row.values[:, 0], [1, np.nan, 3, np.nan, 5])
    assert row.meta == '{"infinite": 2, "person": 4}'
    assert encode([1.0, 2.0])[0].meta is None


def test_padding_at_the_end_is_cut_off_and_gaps_stay():
    (row,) = encode([1, np.nan, 3, np.nan, np.nan])
    np.testing.assert_array_equal(row.values[:, 0], [1, np.nan, 3])


def test_outliers_are_far_from_the_median_in_robust_deviations():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, (10_000, 1))
    assert outliers(values, 2.0) == pytest.approx(0.0455, abs=0.006)  # both tails of a normal distribution
    assert outliers(np.full((10, 1), 3.0), 2.0) == 0


def test_ts_files_of_unequal_lengths_keep_values_labels_and_splits(tmp_path):
    series = [wave(number, 20 + number % 10) for number in range(15)]
    series[3][4, 1] = np.nan
    labels = ["ab"[number % 2] for number in range(15)]
    write_ts(tmp_path / "s" / "Waves_TRAIN.ts", series[:10], labels[:10])
    write_ts(tmp_path / "s" / "Waves_TEST.ts", series[10:], labels[10:])
    manifest = prepare(tmp_path / "s", tmp_path / "out", rows_per_fragment=4, ray=False)
    assert (manifest.kind, manifest.shape, manifest.dtype) == ("series", (29, 2), "float32")
    assert {split: manifest.rows(split) for split in manifest.splits} == {"train": 10, "test": 5}
    assert manifest.classes == ("a", "b")
    rows = read_rows(tmp_path / "out", "train", slice(None))
    assert rows["length"].tolist() == [20 + number for number in range(10)]
    for number in range(10):
        np.testing.assert_array_equal(rows["data"][number, : 20 + number], series[number])
        assert np.isnan(rows["data"][number, 20 + number :]).all()
    joined = np.concatenate(series[:10])
    np.testing.assert_allclose(manifest.mean, np.nanmean(joined, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(manifest.std, np.nanstd(joined, 0), rtol=1e-5)
    assert prepare(tmp_path / "s", tmp_path / "long", length=40, ray=False).shape == (40, 2)


def test_tsv_files_have_the_label_first_and_padding_last(tmp_path):
    for split in ("TRAIN", "TEST"):
        (tmp_path / f"X_{split}.tsv").write_text("-1\t1.5\t2.5\tNaN\n10\t3\t4\t5\n2\t1\t2\t3\n")
    manifest = prepare(tmp_path, tmp_path.with_name("out_tsv"), ray=False)
    assert manifest.classes == ("-1", "2", "10")
    assert manifest.shape == (3, 1)
    assert read_rows(tmp_path.with_name("out_tsv"), "test", slice(None))["length"].tolist() == [2, 3, 3]


def test_ragged_and_wrong_lines_are_quarantined(tmp_path):
    path = write_ts(tmp_path / "W_TRAIN.ts", [wave(n) for n in range(10)], list("ababababab"))
    with path.open("a") as file:
        file.write("1,2,3:1,2:a\n1,x,3:1,2,3:a\n" + "1,2,3:4,5,6:7,8,9:b\n:a\n")
    manifest = prepare(path, tmp_path / "out", max_bad_rate=0.5, ray=False)
    assert manifest.rows() == 10
    assert manifest.quarantined == {"ragged": 1, "undecodable": 1, "wrong_channels": 2}


@pytest.mark.parametrize("header", ["", "@timeStamps true\n"])
def test_a_ts_file_that_is_none_is_refused(tmp_path, header):
    path = tmp_path / "app_TRAIN.ts"
    path.write_text(header + "@data\n" if header else "export const x = 1;\n")
    with pytest.raises(UserError, match="@timeStamps" if header else "@data"):
        open_source(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_long_tables_are_the_same_in_any_order_of_series(tmp_path, suffix):
    def by_time(rows, table):
        return table["time"].to_numpy()

    made = []
    for name, order in (("sorted", None), ("mixed", by_time)):
        table, path = long_table(order=order), tmp_path / name / f"waves{suffix}"
        path.parent.mkdir()
        if suffix == ".csv":
            pacsv.write_csv(table, path)
        else:
            pq.write_table(table, path, row_group_size=37)
        manifest = prepare(path, tmp_path / f"out_{name}", kind="series", rows_per_fragment=5, ray=False)
        assert (manifest.shape, manifest.rows(), manifest.classes) == ((31, 2), 12, ("a", "b"))
        made.append(read_rows(tmp_path / f"out_{name}", "train", slice(None)))
    for key in made[0]:
        np.testing.assert_array_equal(made[0][key], made[1][key])
    for number in range(12):  # 10 comes after 9
        np.testing.assert_array_equal(made[0]["data"][number, : 20 + number], wave(number, 20 + number))


def test_times_that_do_not_grow_labels_that_change_and_text_are_quarantined(tmp_path):
    lines = [f"{name},2026-01-0{day},{name}{day}.5,{label}" for name in range(7)
             for day, label in ((1, "a"), (2, "a"), (3, "a"))]  # fmt: skip
    lines += ["7,2026-01-02,1,a", "7,2026-01-01,2,a", "8,2026-01-01,1,a", "8,2026-01-02,2,b"]
    lines += ["9,2026-01-01,many,a", "9,2026-01-02,2,a", "10,2026-01-01,1,a", "10,2026-01-01,2,a"]
    (tmp_path / "t.csv").write_text("unique_id,ds,v,label\n" + "\n".join(lines) + "\n")
    manifest = prepare(tmp_path / "t.csv", tmp_path / "out", kind="series", max_bad_rate=0.5, ray=False)
    assert manifest.rows() == 7
    assert manifest.quarantined == {"mixed_labels": 1, "non_monotonic": 2, "undecodable": 1}


def test_a_table_without_names_of_series_is_one_series(tmp_path):
    values = wave(1, 500, 3)
    table = pa.table(
        {"date": np.datetime64("2026-01-01") + np.arange(500), **{f"c{n}": values[:, n] for n in range(3)}}
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=64)
    manifest = prepare(tmp_path / "t.parquet", tmp_path / "out", kind="series", length=100, stride=50, ray=False)
    assert (manifest.shape, manifest.rows()) == ((100, 3), 9)
    one = prepare(tmp_path / "t.parquet", tmp_path / "one", kind="series", data_column="c2,c0", ray=False)
    assert one.shape == (500, 2)
    np.testing.assert_array_equal(read_rows(tmp_path / "one", "train", [0])["data"][0], values[:, [2, 0]])


def test_wide_tables_have_one_row_a_series(tmp_path):
    values = np.stack([wave(number, 30, 1)[:, 0] for number in range(20)])
    labels = pa.array(["ab"[number % 2] for number in range(20)])
    wide = pa.table({"label": labels, **{f"t{step}": values[:, step] for step in range(30)}})
    pacsv.write_csv(wide, tmp_path / "wide.csv")
    lists = pa.table({"label": labels, "values": list(values)})
    pq.write_table(lists, tmp_path / "lists.parquet", row_group_size=3)
    for name in ("wide.csv", "lists.parquet"):
        manifest = prepare(tmp_path / name, tmp_path / f"out_{name}", kind="series", rows_per_fragment=6, ray=False)
        assert (manifest.shape, manifest.classes) == ((30, 1), ("a", "b"))
        np.testing.assert_array_equal(read_rows(tmp_path / f"out_{name}", "train", slice(None))["data"][..., 0], values)
    pair = pa.table({"x": list(values), "y": list(values * 2)})
    pq.write_table(pair, tmp_path / "pair.parquet")
    assert prepare(tmp_path / "pair.parquet", tmp_path / "pair", kind="series", ray=False).shape == (30, 2)


def test_text_among_numbers_costs_its_row_only(tmp_path):
    lines = [",".join(str(value) for value in range(row, row + 5)) for row in range(20)]
    lines[7] = "1,2,three,4,5"
    lines[9] = "1,,?,NA,5"
    (tmp_path / "w.csv").write_text("a,b,c,d,e\n" + "\n".join(lines))
    manifest = prepare(tmp_path / "w.csv", tmp_path / "out", kind="series", max_bad_rate=0.1, ray=False)
    assert (manifest.rows(), manifest.quarantined) == (19, {"undecodable": 1})
    (tmp_path / "r.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(UserError, match="Row #3"):
        open_source(tmp_path / "r.csv", "series")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_with_labels_and_splits(tmp_path, save):
    series = np.stack([wave(number) for number in range(14)])
    save(
        tmp_path / "w.npz", X_train=series[:10], y_train=np.arange(10) % 3, X_test=series[10:], y_test=np.arange(4) % 3
    )
    manifest = prepare(tmp_path / "w.npz", tmp_path / "out", rows_per_fragment=4, ray=False)
    assert (manifest.shape, manifest.classes) == ((50, 2), ("0", "1", "2"))
    assert {split: manifest.rows(split) for split in manifest.splits} == {"train": 10, "test": 4}
    rows = read_rows(tmp_path / "out", "test", slice(None))
    np.testing.assert_array_equal(rows["data"], series[10:])
    assert rows["label"].tolist() == [0, 1, 2, 0]


def test_targets_of_a_regression_are_no_classes(tmp_path):
    np.savez(tmp_path / "w.npz", X=np.stack([wave(number) for number in range(9)]), y=np.linspace(0, 1, 9))
    assert open_source(tmp_path / "w.npz").classes == ()


def test_plain_arrays_and_arrays_of_unequal_series(tmp_path):
    np.save(tmp_path / "flat.npy", np.stack([wave(number, 30, 1)[:, 0] for number in range(6)]))
    assert prepare(tmp_path / "flat.npy", tmp_path / "a", ray=False).shape == (30, 1)
    series = [wave(number, 20 + number) for number in range(12)]
    np.savez(tmp_path / "ragged.npz", *series)
    manifest = prepare(tmp_path / "ragged.npz", tmp_path / "b", ray=False)
    assert (manifest.shape, manifest.rows()) == ((31, 2), 12)
    assert read_rows(tmp_path / "b", "train", slice(None))["length"].tolist() == list(range(20, 32))


def test_pickled_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    hostile = np.empty(2, object)
    hostile[:] = [Trap(), Trap()]
    np.save(tmp_path / "o.npy", hostile, allow_pickle=True)
    np.savez(tmp_path / "o.npz", X=hostile)
    for name in ("o.npy", "o.npz"):
        with pytest.raises(UserError, match="Python objects"):
            open_source(tmp_path / name)


def test_lying_headers_and_bombs_cost_little(tmp_path):
    def npy(shape, body):
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return buffer.getvalue() + body

    (tmp_path / "lie.npy").write_bytes(npy((8, 1 << 20), b"\0" * (5 << 20)))
    with pytest.raises(UserError, match="truncated"):
        prepare(tmp_path / "lie.npy", tmp_path / "a", ray=False)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", npy((1, 1 << 40), b"\0" * (8 << 20)))
    with pytest.raises(UserError, match="too_long"):
        prepare(tmp_path / "bomb.npz", tmp_path / "b", ray=False)
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04junk")
    (tmp_path / "short.npy").write_bytes(npy((3, 3), b"")[:20])
    for name in ("junk.npz", "short.npy"):
        with pytest.raises(UserError, match="numpy file"):
            open_source(tmp_path / name)


def test_the_same_series_give_the_same_bytes_after_an_interruption(tmp_path):
    pq.write_table(long_table(), tmp_path / "t.parquet", row_group_size=50)
    settings = {"kind": "series", "rows_per_fragment": 4, "length": 8, "ray": False}
    prepare(tmp_path / "t.parquet", tmp_path / "a", **settings)

    def interrupt(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "t.parquet", tmp_path / "b", progress=interrupt, **settings)
    prepare(tmp_path / "t.parquet", tmp_path / "b", **settings)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("name", ["a.csv", "A_TRAIN.ts", "A_TRAIN.tsv", "a.npz", "a.npy"])
def test_damaged_files_are_refused_or_give_as_many_samples_as_they_listed(tmp_path, name):
    arrays = {"X": np.arange(180.0).reshape(9, 20), "y": np.arange(9)}
    whole = {".npz": io.BytesIO(), ".npy": io.BytesIO()}
    np.savez_compressed(whole[".npz"], **arrays)
    np.save(whole[".npy"], arrays["X"])
    texts = {
        ".csv": "series_id,time,v,label\n" + "".join(f"{n // 5},{n % 5},{n}.5,a\n" for n in range(50)),
        ".ts": "@classLabel true a b\n@data\n" + "".join(f"1,2,{n}:4,?,6:a\n" for n in range(20)),
        ".tsv": "a\t1\t2\nb\t3\t4\n" * 9,
    }
    path, rng = tmp_path / name, np.random.default_rng(0)
    data = whole[path.suffix].getvalue() if path.suffix in whole else texts[path.suffix].encode()
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, len(damaged), 4):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(UserError):
            source = open_source(path, "series")
            for fragment in source.fragments(7):
                assert len(list(source.read(fragment))) == fragment.rows


@pytest.mark.parametrize("name", ["a.csv", "A_TRAIN.ts", "a.npy"])
def test_a_file_that_goes_away_is_unreadable(tmp_path, name):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, np.ones((3, 8)))
    else:
        path.write_text("series_id,v\n1,2\n1,3\n" if name == "a.csv" else "@classLabel true a\n@data\n1,2:a\n")
    source = open_source(path, "series")
    (fragment,) = source.fragments(10)
    path.unlink()
    assert {sample.data.reason for sample in source.read(fragment)} == {"unreadable"}


def test_tables_need_a_kind_and_known_columns(tmp_path):
    pq.write_table(long_table(), tmp_path / "t.parquet")
    with pytest.raises(UserError):
        open_source(tmp_path / "t.parquet")
    for key in ("data_column", "label_column", "group_column", "time_column"):
        with pytest.raises(UserError, match=key):
            open_source(tmp_path / "t.parquet", "series", **{key: "nothing"})
    with pytest.raises(UserError, match="layout"):
        open_source(tmp_path / "t.parquet", "series", layout="tall")


def test_a_packed_table_without_a_header_and_one_with_equal_names(tmp_path):
    with gzip.open(tmp_path / "w.csv.gz", "wt") as file:
        file.write("".join(f"{row % 2},{row}.5,1e3,-.25,nan\n" for row in range(9)))
    manifest = prepare(tmp_path / "w.csv.gz", tmp_path / "out", kind="series", label_column="f0", ray=False)
    assert (manifest.shape, manifest.rows(), manifest.classes) == ((3, 1), 9, ("0", "1"))
    np.testing.assert_array_equal(read_rows(tmp_path / "out", "train", [4])["data"][0, :, 0], [4.5, 1000, -0.25])
    (tmp_path / "two.csv").write_text("a,a\n1,2\n")
    with pytest.raises(UserError, match="two columns of one name"):
        open_source(tmp_path / "two.csv", "series")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match="cannot be read as a table"):
        open_source(tmp_path / "empty.csv", "series")


def test_times_closer_than_a_microsecond_are_told_apart(tmp_path):
    times = np.datetime64("2026-01-01", "ns") + 100 * np.arange(40)
    pq.write_table(pa.table({"time": times, "v": np.sin(np.arange(40))}), tmp_path / "t.parquet")
    assert prepare(tmp_path / "t.parquet", tmp_path / "out", kind="series", ray=False).quarantined == {}


def test_of_several_archive_sets_the_one_called_like_the_folder_is_read(tmp_path):
    for name in ("W", "W_eq"):
        write_ts(tmp_path / "W" / f"{name}_TRAIN.ts", [wave(n, 20 + len(name)) for n in range(4)], list("abab"))
    assert prepare(tmp_path / "W", tmp_path / "out", ray=False).shape == (21, 2)
    (tmp_path / "W").rename(tmp_path / "V")
    with pytest.raises(UserError, match="the data sets W, W_eq"):
        open_source(tmp_path / "V")


@pytest.mark.parametrize("settings", [{"length": 0}, {"stride": 0}, {"max_missing": 2.0}, {"constant": "hide"}])
def test_impossible_settings_are_refused(tmp_path, settings):
    np.save(tmp_path / "x.npy", np.ones((3, 8)))
    with pytest.raises(UserError, match=next(iter(settings))):
        prepare(tmp_path / "x.npy", tmp_path / "out", ray=False, **settings)
