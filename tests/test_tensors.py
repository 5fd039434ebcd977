"""Our tensor files are safetensors files: the library reads what we write, and we read what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file, save_file

from rung.errors import UserError
from rung.tensors import load_tensors, save_tensors

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
tensors = st.dictionaries(
    st.text("abcdefgh.0", min_size=1, max_size=8),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0))
    ),
    max_size=5,
)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


@settings(deadline=None, max_examples=60)
@given(tensors)
def test_the_library_reads_what_we_write_and_we_what_it_writes(tmp_path_factory, values):
    folder: Path = tmp_path_factory.mktemp("tensors")
    save_tensors(folder / "ours", values, {"key": "value"})
    same(load_file(folder / "ours"), values)
    mapped, metadata = load_tensors(folder / "ours")
    same(mapped, values)
    assert metadata == {"key": "value"}
    save_file(values, folder / "theirs")
    same(load_tensors(folder / "theirs")[0], values)


def test_mapped_arrays_cannot_be_written_to(tmp_path: Path):
    save_tensors(tmp_path / "file", {"a": np.arange(4.0)})
    mapped, _ = load_tensors(tmp_path / "file")
    with pytest.raises(ValueError, match="read-only"):
        mapped["a"][0] = 1


@pytest.mark.parametrize("cut", [0, 4, 8, 30, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: int):
    save_tensors(tmp_path / "file", {"a": np.arange(40.0)})
    data = (tmp_path / "file").read_bytes()
    (tmp_path / "cut").write_bytes(data[:cut])
    with pytest.raises(UserError, match="cut"):
        load_tensors(tmp_path / "cut")
    with pytest.raises(UserError, match="missing"):
        load_tensors(tmp_path / "none")
