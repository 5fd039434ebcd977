"""Many sources side by side find what each finds alone by the search of one prompt."""

from __future__ import annotations

import numpy as np
import pytest

from rung.errors import UserError
from rung.generation.beam import BeamSettings, beam_search
from rung.generation.settings import Sampling
from rung.generation.source_beams import beams_of_sources
from rung.text.stream import TokenStream
from rung.text.tokenizers import train_tokenizer
from tests.models.test_translators import small


@pytest.mark.parametrize("rung", ["gru", "gpt", "encoder-decoder"])
@pytest.mark.parametrize("search", [BeamSettings(3, 3, 0.6), BeamSettings(2, 1, 1.0), BeamSettings(1)])
def test_as_alone(rung: str, search: BeamSettings) -> None:
    tokenizer = train_tokenizer("char", ["abcdefghijk"], None, vocabulary="closed")
    model = small(rung)
    assert tokenizer.vocab_size == model.vocab_size
    rows = [np.array(row, np.int64) for row in ([1, 2, 3], [], [4, 5, 6, 7, 1, 2], [9, 9, 0])]
    sources = TokenStream.of(rows, model.end)
    most = [5, 2, 9, 7]
    together = beams_of_sources(model.given(sources), tokenizer, most, search)
    for place, found in enumerate(together):
        view = model.given(sources.of_documents(np.array([place])))
        alone = beam_search(view, tokenizer, "", Sampling(max_tokens=most[place]), search)
        assert [one.token_ids for one in found] == [one.token_ids for one in alone]
        np.testing.assert_allclose(
            [one.score or 0 for one in found], [one.score or 0 for one in alone], atol=1e-5
        )


def test_groups_are_of_one_source() -> None:
    view = small("gru").given(TokenStream.of([np.array([1])], 11))
    with pytest.raises(UserError, match="--beam-groups"):
        beams_of_sources(view, train_tokenizer("char", ["ab"]), [3], BeamSettings(4, beam_groups=2))
