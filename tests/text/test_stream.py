"""Token streams: marks where the docstring says, and the same from disk."""

from pathlib import Path

import numpy as np
import pytest

from rung.errors import UserError
from rung.text.stream import TokenStream


def test_layout_of_three_documents() -> None:
    stream = TokenStream.of([np.array([1, 2]), np.array([], np.int64), np.array([3])], end=9)
    assert stream.ids.tolist() == [9, 1, 2, 9, 9, 3, 9]
    assert stream.starts.tolist() == [1, 4, 5, 7]
    assert (stream.n_tokens, stream.n_documents) == (6, 3)
    assert [stream.document(i).tolist() for i in range(3)] == [[1, 2, 9], [9], [3, 9]]


def test_saved_and_loaded(tmp_path: Path) -> None:
    stream = TokenStream.of([np.arange(5), np.arange(3)], end=7)
    stream.save(tmp_path / "train")
    again = TokenStream.load(tmp_path / "train")
    np.testing.assert_array_equal(again.ids, stream.ids)
    np.testing.assert_array_equal(again.starts, stream.starts)
    assert isinstance(again.ids, np.memmap)


def test_what_is_missing_or_cut_short_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.npy is missing"):
        TokenStream.load(tmp_path / "train")
    TokenStream.of([np.arange(50)], end=7).save(tmp_path / "train")
    path = tmp_path / "train.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"train\.npy is damaged"):
        TokenStream.load(tmp_path / "train")
