"""What each of several processes scores of one stream, so that together they score it as one alone would."""

from __future__ import annotations

import numpy as np

from rung.text.stream import TokenStream


def share(stream: TokenStream, rank: int, size: int, context: int | None) -> tuple[TokenStream, int]:
    """What process `rank` of `size` scores of a stream, and how many scores at its beginning don't count.

    The stream is cut into equal lengths and each cut moved to where nothing changes by cutting: between two documents,
    or, where a model has a finite context C, between two windows of a long one. By the policy of
    `rung.models.networks.network` a document's windows begin S = C - C // 2 inputs apart and each but the first
    answers for its last S, so from a multiple of S on a document has the windows it would have had, save that the
    first of them answers for too much: its C scores are another's.
    """
    cuts = [_cut(stream, stream.n_tokens * r // size, context) for r in (rank, rank + 1)]
    (first, begin), (end, _) = cuts  # numbered like targets: 0 is ids[1]
    if first == end:
        return TokenStream(stream.ids[:1], np.array([1])), 0
    starts = np.asarray(stream.starts) - 1
    within = starts[(starts > begin) & (starts < end)]
    ids = np.concatenate([stream.ids[:1], stream.ids[begin + 1 : end + 1]])
    return TokenStream(ids, np.concatenate([[begin], within, [end]]) - begin + 1), first - begin


def _cut(stream: TokenStream, at: int, context: int | None) -> tuple[int, int]:
    """Where to cut near `at`, and from where on one has to read to go on from there."""
    if at == stream.n_tokens:
        return at, at
    document = int(np.searchsorted(stream.starts, at + 1, side="right")) - 1
    first, last = int(stream.starts[document]) - 1, int(stream.starts[document + 1]) - 1
    if context is None or last - first < 4 * context or at - first < context:
        nearest = first if at - first <= last - at else last
        return nearest, nearest
    stride = max(context - context // 2, 1)
    begin = first + (at - first - context) // stride * stride
    return begin + context, begin
