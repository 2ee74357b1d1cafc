"""The filters over words: vectors of words and of their parts, filters of three words, the highest of each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sets import HEADS, LENGTH

WIDTH, FILTERS, HIDDEN, WINDOW = 24, 32, 32, 3
PARTS = 1 << 14
# Numbers of a sentence vector that the network also learns to tell.
TAUGHT = 48
LENGTHS = (12, 18, 26, LENGTH)


class Vocabulary:
    def __init__(self, keys):
        self.keys = np.unique(keys)

    def rows(self, keys):
        """Returns the rows of words; 0 is for unknown ones."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places + 1, 0).astype(np.int32)


def start(seed, rows):
    random = np.random.default_rng(seed)

    def normal(scale, *shape):
        return (random.normal(0, 1, shape) * scale).astype(np.float32)

    pooled = FILTERS + WIDTH
    return {
        "rows": rows.astype(np.float32), "parts": normal(0.02, PARTS + 1, WIDTH), "marks": normal(0.05, 4, WIDTH),
        "before": normal(0.05, WIDTH), "filters": normal(np.sqrt(2 / (WINDOW * WIDTH)), WINDOW, WIDTH, FILTERS),
        "filter_bias": np.zeros(FILTERS, np.float32),
        "first": normal(np.sqrt(1 / pooled), pooled, HIDDEN), "first_bias": np.zeros(HIDDEN, np.float32),
        "second": normal(np.sqrt(1 / HIDDEN), HIDDEN, HEADS), "second_bias": np.zeros(HEADS, np.float32),
        "taught": np.zeros((pooled, TAUGHT), np.float32),
    }


def run(weights, rows, parts, marks, lengths, key=None, dropped=0.4, words_dropped=0.1):
    """Returns the scores of sentences, and the network's estimate of their vectors; with `key`, for training."""
    mask = (jnp.arange(rows.shape[1])[None] < lengths[:, None]).astype(jnp.float32)
    keys = None if key is None else jax.random.split(key, 4)
    if keys is not None:
        # Words without a row teach the parts, parts left out teach the rows.
        rows = jnp.where(jax.random.bernoulli(keys[0], words_dropped, rows.shape), 0, rows)
        without = jax.random.bernoulli(keys[1], words_dropped / 2, rows.shape) & (rows > 0)
        parts = jnp.where(without[..., None], -1, parts)
    count = (parts >= 0).sum(-1, keepdims=True)
    of_parts = (weights["parts"][parts] * (parts >= 0)[..., None]).sum(2) / jnp.sqrt(jnp.maximum(count, 1))
    numbers = weights["rows"][rows] * (rows > 0)[..., None] + of_parts + weights["marks"][marks]
    numbers = numbers * mask[..., None]
    if keys is not None:
        kept = 1 - dropped / 2
        numbers = numbers * jax.random.bernoulli(keys[2], kept, numbers.shape) / kept
    line = jnp.pad(numbers, ((0, 0), (1, 1), (0, 0))).at[:, 0].set(weights["before"])
    seen = [line[:, at : at + rows.shape[1]] for at in range(WINDOW)]
    found = sum(jnp.einsum("btd,df->btf", words, weights["filters"][at]) for at, words in enumerate(seen))
    found = jax.nn.relu(found + weights["filter_bias"])
    highest = jnp.where(mask[..., None] > 0, found, 0).max(1)
    mean = numbers.sum(1) / jnp.sqrt(jnp.maximum(lengths, 1))[:, None]
    pooled = jnp.concatenate([highest, mean], 1)
    if keys is not None:
        pooled = pooled * jax.random.bernoulli(keys[3], 1 - dropped, pooled.shape) / (1 - dropped)
    hidden = jax.nn.relu(pooled @ weights["first"] + weights["first_bias"])
    return hidden @ weights["second"] + weights["second_bias"], pooled @ weights["taught"]


def width_of(lengths):
    longest = int(lengths.max())
    return next(length for length in LENGTHS if length >= longest)


def batch(features, rows, chosen):
    width = width_of(features.lengths[chosen])
    parts = features.parts[chosen, :width].astype(np.int32)
    return rows[chosen, :width], parts, features.marks[chosen, :width], features.lengths[chosen]


def train(variants, chosen, truth, counts, vectors, weights, epochs=9, size=128, rate=1e-2, seed=0):
    """Trains on the `chosen` sentences. `variants` are features and rows of the same sentences: as written, then
    changed; `vectors` are their sentence vectors, zero where there is none."""
    steps = epochs * -(-len(chosen) // size)
    schedule = optax.warmup_cosine_decay_schedule(0, rate, steps // 10, steps, rate * 0.02)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.99, weight_decay=1e-4))
    weights = jax.tree.map(jnp.asarray, weights)
    state = optimiser.init(weights)

    @jax.jit
    def step(weights, state, key, inputs, truth, counts, vector):
        def loss(weights):
            scores, told = run(weights, *inputs, key)
            wrong = optax.sigmoid_binary_cross_entropy(scores, truth * 0.98 + 0.01)
            is_taught = (jnp.abs(vector).sum(1) > 0).astype(jnp.float32)
            return (wrong * counts).sum(1).mean() + 2 * (((told - vector) ** 2).mean(1) * is_taught).mean()

        updates, state = optimiser.update(jax.grad(loss)(weights), state, weights)
        return optax.apply_updates(weights, updates), state

    random, key = np.random.default_rng(seed), jax.random.PRNGKey(seed)
    for epoch in range(epochs):
        as_written, changed = variants[0], variants[1 + epoch % (len(variants) - 1)]
        order = random.permutation(chosen)
        order = np.concatenate([order, order[: -len(order) % size]])
        for begin in range(0, len(order), size * 8):
            some = order[begin : begin + size * 8]
            some = some[np.argsort(as_written[0].lengths[some], kind="stable")]
            for first in range(0, len(some), size):
                these = some[first : first + size]
                inputs = batch(*(changed if random.random() < 0.5 else as_written), these)
                key, now = jax.random.split(key)
                weights, state = step(weights, state, now, inputs, truth[these], counts[these], vectors[these])
    return jax.tree.map(np.asarray, weights)


_run = jax.jit(lambda weights, inputs: run(weights, *inputs)[0])


def scores(weights, features, rows, size=512):
    found = np.zeros((len(rows), HEADS), np.float32)
    order = np.argsort(features.lengths)
    for begin in range(0, len(order), size):
        these = order[begin : begin + size]
        filled = np.concatenate([these, np.repeat(these[-1:], size - len(these))])
        found[these] = np.asarray(_run(weights, batch(features, rows, filled)))[: len(these)]
    return found
