"""What a model has to beat: perplexities of unigram, bigram and trigram counts.

Smoothing is Witten and Bell's, interpolated: it has no number to choose. With c(h w) the count of w after the context h, d(h)
the number of different characters seen after h, and h' the context without its oldest character,

    p(w | h) = (c(h w) + d(h) p(w | h')) / (c(h) + d(h)),     p(w | no context left) = 1 / V
"""

import math

import numpy as np


def ngram_perplexities(train, validation, size, orders=(1, 2, 3)):
    """The perplexity of validation[1:] under counts of `train`, by order.

    `train` and `validation` are tokens below `size`, and stand one after the other in the text.
    """
    text = np.concatenate([train[-max(orders) :], validation])
    ends = np.arange(len(text) - len(validation) + 1, len(text))
    p = np.full(len(ends), 1.0 / size)
    result = {}
    for order in range(1, max(orders) + 1):
        p = _witten_bell(train, text, ends, size, order, p)
        result[order] = math.exp(-np.log(p).mean())
    return {order: result[order] for order in orders}


def _codes(tokens, ends, size, length):
    """Each stretch of `length` tokens before an end, as one number."""
    code = np.zeros(len(ends), np.int64)
    for back in range(length, 0, -1):
        code = code * size + tokens[ends - back]
    return code


def _witten_bell(train, text, ends, size, order, shorter):
    """p(w | h) at each end, from that of the shorter context."""
    positions = np.arange(order - 1, len(train))
    seen = _codes(train, positions, size, order - 1) * size + train[positions]
    grams, counts = np.unique(seen, return_counts=True)
    contexts, first, different = np.unique(grams // size, return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first)
    context = _codes(text, ends, size, order - 1)
    gram = context * size + text[ends]
    c_gram = _lookup(grams, counts, gram)
    c_context = _lookup(contexts, totals, context)
    d = _lookup(contexts, different, context)
    # A context that was never seen says nothing: the shorter one decides.
    d = np.where(c_context == 0, 1, d)
    return (c_gram + d * shorter) / (c_context + d)


def _lookup(keys, values, wanted):
    """values of the wanted keys; 0 for those that are not there. `keys` is sorted."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
