"""A second-order hidden Markov model over candidate tags, sentence by sentence, compiled.

A state is a pair of tags, those of the word before and of the word. Word i has candidates tags[first[i]:first[i + 1]]
with weights w(t), which are P(word | t) but for a factor that all tags share. rows[a, b] says which row of the table
(R, K + 1) has P(. | a, b); K is the border of a sentence, both as a and as what follows.

Everything is kept in probabilities, scaled word by word; a border stands before a sentence, twice.
"""

from __future__ import annotations

import numpy as np

from rung.models.counting.compiled import compiled


@compiled
def forward_backward(
    counts: np.ndarray,
    first: np.ndarray,
    tags: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    table: np.ndarray,
    posteriors: np.ndarray,
    totals: np.ndarray,
) -> None:
    """Fill posteriors, P(tag | words) of each candidate of each word, and totals (S,), log of the sum over all paths.

    A sentence through which no path leads gets totals of -inf.
    """
    border = table.shape[1] - 1
    word = 0
    for s in range(len(counts)):
        n = counts[s]
        totals[s] = 0.0
        if n == 0:
            continue
        widest = 1
        for i in range(word, word + n):
            widest = max(widest, first[i + 1] - first[i])
        # alpha[i, x, y]: of candidate x of the word before and y of this one.
        alpha = np.zeros((n, widest, widest))
        log_scale = 0.0
        dead = False
        for i in range(n):
            at = word + i
            n_after = first[at + 1] - first[at]
            n_mid = 1 if i == 0 else first[at] - first[at - 1]
            n_before = 1 if i <= 1 else first[at - 1] - first[at - 2]
            total = 0.0
            for y in range(n_mid):
                b = border if i == 0 else tags[first[at - 1] + y]
                for x in range(n_before):
                    if i == 0:
                        mass = 1.0
                    else:
                        mass = alpha[i - 1, x, y]
                    if mass == 0.0:
                        continue
                    a = border if i <= 1 else tags[first[at - 2] + x]
                    row = rows[a, b]
                    for z in range(n_after):
                        alpha[i, y, z] += mass * table[row, tags[first[at] + z]]
            for y in range(n_mid):
                for z in range(n_after):
                    alpha[i, y, z] *= weights[first[at] + z]
                    total += alpha[i, y, z]
            if total <= 0.0:
                dead = True
                break
            for y in range(n_mid):
                for z in range(n_after):
                    alpha[i, y, z] /= total
            log_scale += np.log(total)
        if dead:
            totals[s] = -np.inf
            word += n
            continue
        beta = np.zeros((widest, widest))
        last = word + n - 1
        n_mid = 1 if n == 1 else first[last] - first[last - 1]
        closing = 0.0
        for y in range(n_mid):
            b = border if n == 1 else tags[first[last - 1] + y]
            for z in range(first[last + 1] - first[last]):
                beta[y, z] = table[rows[b, tags[first[last] + z]], border]
                closing += alpha[n - 1, y, z] * beta[y, z]
        if closing <= 0.0:
            totals[s] = -np.inf
            word += n
            continue
        totals[s] = log_scale + np.log(closing)
        for i in range(n - 1, -1, -1):
            at = word + i
            n_after = first[at + 1] - first[at]
            n_mid = 1 if i == 0 else first[at] - first[at - 1]
            total = 0.0
            for z in range(n_after):
                mass = 0.0
                for y in range(n_mid):
                    mass += alpha[i, y, z] * beta[y, z]
                posteriors[first[at] + z] = mass
                total += mass
            for z in range(n_after):
                posteriors[first[at] + z] /= total
            if i == 0:
                break
            n_before = 1 if i == 1 else first[at - 1] - first[at - 2]
            earlier = np.zeros((widest, widest))
            scale = 0.0
            for x in range(n_before):
                a = border if i == 1 else tags[first[at - 2] + x]
                for y in range(n_mid):
                    row = rows[a, tags[first[at - 1] + y]]
                    mass = 0.0
                    for z in range(n_after):
                        mass += table[row, tags[first[at] + z]] * weights[first[at] + z] * beta[y, z]
                    earlier[x, y] = mass
                    scale += mass
            for x in range(n_before):
                for y in range(n_mid):
                    earlier[x, y] /= scale
            beta = earlier
        word += n


@compiled
def path_log_probs(
    counts: np.ndarray,
    path: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    table: np.ndarray,
    out: np.ndarray,
) -> None:
    """The log of one path's share of the sum over all, before it is divided: out (S,); weights (W,) are of its tags."""
    border = table.shape[1] - 1
    word = 0
    for s in range(len(counts)):
        a, b = border, border
        total = 0.0
        for i in range(word, word + counts[s]):
            total += np.log(table[rows[a, b], path[i]]) + np.log(weights[i])
            a, b = b, path[i]
        if counts[s]:
            total += np.log(table[rows[a, b], border])
        out[s] = total
        word += counts[s]


@compiled
def best_paths(
    counts: np.ndarray,
    first: np.ndarray,
    tags: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    table: np.ndarray,
    allowed: np.ndarray,
    out: np.ndarray,
    alive: np.ndarray,
) -> None:
    """The likeliest path of each sentence (Viterbi) among allowed (K + 1, K + 1) steps: out (W,), tags.

    alive (S,): whether there is one; where there is none, out is not written.
    """
    border = table.shape[1] - 1
    word = 0
    for s in range(len(counts)):
        n = counts[s]
        alive[s] = True
        if n == 0:
            continue
        widest = 1
        for i in range(word, word + n):
            widest = max(widest, first[i + 1] - first[i])
        score = np.full((widest, widest), -np.inf)
        back = np.zeros((n, widest, widest), np.int32)
        for i in range(n):
            at = word + i
            n_after = first[at + 1] - first[at]
            n_mid = 1 if i == 0 else first[at] - first[at - 1]
            n_before = 1 if i <= 1 else first[at - 1] - first[at - 2]
            new = np.full((widest, widest), -np.inf)
            for y in range(n_mid):
                b = border if i == 0 else tags[first[at - 1] + y]
                for x in range(n_before):
                    mass = 0.0 if i == 0 else score[x, y]
                    if mass == -np.inf:
                        continue
                    a = border if i <= 1 else tags[first[at - 2] + x]
                    row = rows[a, b]
                    for z in range(n_after):
                        c = tags[first[at] + z]
                        if not allowed[b, c]:
                            continue
                        own = mass + np.log(table[row, c]) + np.log(weights[first[at] + z])
                        if own > new[y, z]:
                            new[y, z] = own
                            back[i, y, z] = x
            score = new
        last = word + n - 1
        best, best_y, best_z = -np.inf, -1, -1
        for y in range(1 if n == 1 else first[last] - first[last - 1]):
            b = border if n == 1 else tags[first[last - 1] + y]
            for z in range(first[last + 1] - first[last]):
                c = tags[first[last] + z]
                if not allowed[c, border]:
                    continue
                own = score[y, z] + np.log(table[rows[b, c], border])
                if own > best:
                    best, best_y, best_z = own, y, z
        if best_z < 0:
            alive[s] = False
            word += n
            continue
        y, z = best_y, best_z
        for i in range(n - 1, -1, -1):
            out[word + i] = tags[first[word + i] + z]
            x = back[i, y, z]
            y, z = x, y
        word += n
