"""Trains the model of `src/assess/score.rs` and writes `data/weights.bin`. Started by `scripts/train-safety`.

    train.py FEATURES CACHE [--quick]

FEATURES is the program `examples/features`, CACHE a folder for vectors; with `--quick`, words and sentences whose vectors are
not in it go without. Three models are trained without a third of the
families each: the last layer, which sorts what rules find, and the marks are learned from what those make of the
families they have not seen. Rules were fitted to `sets/dev`, so the last layer learns from `sets/train` alone.
"""

import hashlib
import os
import pickle
import random
import struct
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
import numpy as np  # noqa: E402
import scipy.sparse as sparse  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

import network  # noqa: E402
from augment import variant  # noqa: E402
from sets import HEADS, LEVELS, Features, labels, read  # noqa: E402
from vectors import Cache, main_directions, words_of  # noqa: E402

CRATE = Path(__file__).parents[1]
# Parts that are held out in turn: whole authors, of both languages and all levels each.
PARTS = [
    "a_en_concern a_en_high a_en_safe b_es_risk b_es_safe d_es_short e_en_other",
    "a_es_concern a_es_high a_es_safe b_en_risk b_en_safe d_en_short e_es_other",
    "c_mix f_en_mix f_es_mix",
]
PART_OF = {author: number for number, authors in enumerate(PARTS) for author in authors.split()}
FOLDS = len(PARTS)
PROCESSES = 2
VARIANTS = 4
SEQUENCES = 1 << 18
LINEAR = 4
# Share of harmless sentences of unseen families that may be flagged: half of them are written to mislead.
FLAGGED = 0.04
# Shares of them that the scores of high and imminent may flag by themselves.
ALONE_HIGH, ALONE_IMMINENT = 0.4, 0.3
# Shares of unseen sentences that may be taken for a graver level.
CONCERN_AS_HIGH, HIGH_AS_IMMINENT = 0.2, 0.15
# Added to a threshold where the rules found nothing: in the sets risk is far more frequent than in real messages. At
# this margin, ordinary text that the sets have nothing of (proverbs, quotations) is raised half as often.
QUIET = 0.4
# Likewise where a text is about people in general, and where it has few words.
GENERAL, FEW_CAUTION, FEW = 1.5, 0.5, 4
MARKS = (
    "concern", "high", "imminent", "harmless", "other", "gate", "quiet", "sure", "general", "few", "as_high", "as_imminent",
)
# Plain words of the person in a message of so many words are never dropped.
SHORT = 6
# Share of grave sentences, of those that rules find, that the model may drop though their words are plain.
LOST = 0.003
# Share of unseen sentences of risk that the gate may hold back from the filters.
GATED = 0.01


def table(features):
    """Returns the sequences of sentences as rows of a matrix, each of the same length."""
    shape = (len(features.lengths), SEQUENCES)
    counts = (np.ones(len(features.rows), np.float32), features.rows.copy(), features.begins.copy())
    lengths = np.sqrt(np.maximum(np.diff(features.begins), 1))
    found = sparse.diags(1 / lengths).dot(sparse.csr_matrix(counts, shape=shape)).tocsr()
    found.sum_duplicates()
    return found


def rarity(rows):
    """Returns by how much rare sequences count more."""
    seen = np.bincount(rows.indices, minlength=SEQUENCES)
    return ((np.log((1 + rows.shape[0]) / (1 + seen)) + 1) / 8).astype(np.float32)


def train_linear(as_written, changed, truth, counts):
    rare = rarity(as_written)
    both = sparse.vstack([as_written, changed]).tocsr().dot(sparse.diags(rare)).tocsr()
    weight = np.repeat([1.0, 0.4], len(truth))
    found = []
    for head in range(LINEAR):
        sure = np.tile(counts[:, head] > 0.5, 2)
        model = LogisticRegression(C=30, solver="liblinear", max_iter=60, tol=1e-3)
        model.fit(both[sure], np.tile(truth[:, head], 2)[sure], sample_weight=weight[sure])
        found.append((model.coef_[0] * rare, model.intercept_[0]))
    return np.array([weights for weights, _ in found], np.float32).T, np.array([bias for _, bias in found], np.float32)


def inputs(linear, filtered, features, atoms):
    """Returns the inputs of the last layer."""
    bits = [(found[:, None] >> np.arange(atoms, dtype=np.uint64)) & 1 for found in (features.own, features.other)]
    return np.concatenate([linear, filtered, *bits, np.eye(4)[features.level]], 1).astype(np.float32)


def train_last(seen, truth, counts):
    """Trains the last layer: of the kinds, each sees its own score only."""
    scale = np.where(np.arange(seen.shape[1]) < LINEAR + HEADS, 0.5, 1.0)
    weights, bias = np.zeros((seen.shape[1], HEADS)), np.zeros(HEADS)
    for head in range(HEADS):
        used = np.arange(seen.shape[1])
        if head >= 4:
            used = np.r_[LINEAR + head, LINEAR + HEADS : seen.shape[1]]
        sure = counts[:, head] > 0.1
        model = LogisticRegression(C=0.3, max_iter=500)
        model.fit(seen[sure][:, used] * scale[used], truth[sure, head])
        weights[used, head], bias[head] = model.coef_[0] * scale[used], model.intercept_[0]
    return weights.astype(np.float32), bias.astype(np.float32)


def decide(scores, features, marks, plain):
    """Returns level and flag as `assess::settle` decides."""
    atoms = features.own | features.other
    caution = np.where((atoms > 0) | (features.level > 0), 0, marks["quiet"])
    caution = caution + features.general * marks["general"] + (features.lengths < FEW) * marks["few"]
    alone = [scores[:, at] >= marks[name] + caution for at, name in enumerate(("concern", "high", "imminent"))]
    at_all = alone[0] | alone[1] | alone[2]
    imminent = alone[2] | (at_all & (scores[:, 2] >= marks["as_imminent"]))
    level = np.select([imminent, alone[1] | (at_all & (scores[:, 1] >= marks["as_high"])), at_all], [3, 2, 1])
    level = np.where((scores[:, 3] >= marks["other"]) & (level == 2), 1, level)
    found = (features.level > 0) | (features.kinds > 0)
    raised = level > features.level
    kept = ((features.own & plain) > 0) & (features.lengths <= SHORT)
    mark = np.where((atoms & plain) > 0, marks["sure"], marks["harmless"])
    dropped = ~raised & found & ~kept & (scores[:, 0] < mark)
    level = np.where(raised, level, np.where(dropped, 0, features.level))
    return level, (level > 0) | (found & ~dropped)


def choose_marks(sentences, scores, features, plain, linear):
    least = np.array([sentence.least for sentence in sentences])
    most = np.array([sentence.most for sentence in sentences])
    everyday = (most == 0) & np.array([sentence.cls != "sad" for sentence in sentences])
    never = np.inf
    marks = {"other": 0.0, "quiet": QUIET, "general": GENERAL, "few": FEW_CAUTION, "as_high": never, "as_imminent": never}
    by_rules = (least >= 2) & (features.level > 0)
    plainly = by_rules & (((features.own | features.other) & plain) > 0)
    plainly &= ((features.own & plain) == 0) | (features.lengths > SHORT)
    marks["sure"] = np.sort(scores[plainly, 0])[int(LOST * by_rules.sum())]
    for head, name, share in ((1, "high", ALONE_HIGH), (2, "imminent", ALONE_IMMINENT)):
        marks[name] = np.quantile(scores[most == 0, head], 1 - FLAGGED * share)
    for concern in np.arange(-3, 8, 0.05):
        marks["concern"] = marks["harmless"] = concern
        if decide(scores, features, marks, plain)[1][everyday].mean() <= FLAGGED:
            break
    marks["sure"] = min(marks["sure"], marks["harmless"])
    # Which level it is of those that are flagged at all is a question of its own.
    for level, name, share in ((1, "as_high", CONCERN_AS_HIGH), (2, "as_imminent", HIGH_AS_IMMINENT)):
        of = (least == level) & (most == level)
        for mark in np.arange(-5, 5, 0.05):
            marks[name] = mark
            if (decide(scores, features, marks, plain)[0] > level)[of].mean() <= share:
                break
    raised = (least > 0) & (decide(scores, features, marks, plain)[0] > 0) & (features.own == 0) & (features.other == 0)
    marks["gate"] = np.quantile(linear[raised, 0], GATED)
    return marks


def report(sentences, level, flagged):
    least = np.array([sentence.least for sentence in sentences])
    most = np.array([sentence.most for sentence in sentences])
    sad = np.array([sentence.cls == "sad" for sentence in sentences])
    own = np.array([sentence.subject == "self" for sentence in sentences])
    for lang in ("es", "en"):
        of = np.array([sentence.lang == lang for sentence in sentences])
        measures = {
            "high and imminent as at least high": (own & (least >= 2), level >= 2),
            "imminent as imminent": (own & (least == 3), level == 3),
            "concern as at least concern": (own & (least == 1) & (most == 1), level >= 1),
            "somebody else as at least concern": (~own & (least >= 1), level >= 1),
            "false alarms, everyday": ((most == 0) & ~sad, flagged),
            "false alarms, sad": ((most == 0) & sad, flagged),
        }
        for name, (chosen, hit) in measures.items():
            chosen = chosen & of
            print(f"{lang} {name:38} {int((chosen & hit).sum()):6}/{int(chosen.sum()):<6} {hit[chosen].mean():.3f}")


def steps(table, share=0.9995, axis=0):
    """Returns a table in steps of a byte, and the value of a step."""
    step = np.maximum(np.quantile(np.abs(table), share, axis=axis), 1e-6) / 127
    return np.clip(np.round(table / step), -127, 127).astype(np.int8), step


def short(values):
    values = np.round(values)
    assert np.abs(values).max() < 1 << 15, "too large for fixed point"
    return values.astype("<i2").tobytes()


def floats(values):
    return np.asarray(values, "<f4").tobytes()


def write(path, atoms, marks, vocabulary, net, linear, last):
    """Writes the file that `score/net.rs` reads."""
    names = "\n".join(atoms).encode()
    out = bytearray(struct.pack("<H", len(names)) + names)
    out += floats([marks[name] for name in MARKS])
    hashes = (vocabulary.keys.astype(np.uint64) * 0x9E3779B1 & 0xFFFFFFFF).astype(np.uint32)
    order = np.argsort(hashes)
    out += struct.pack("<H", len(order))
    out += np.searchsorted(hashes[order], np.arange(4097, dtype=np.uint64) << 20).astype("<u2").tobytes()
    out += hashes[order].astype("<u4").tobytes()
    rows, row_step = steps(net["rows"][1:])
    parts, part_step = steps(net["parts"][: network.PARTS])
    out += rows[order].tobytes() + parts.tobytes() + short(row_step * 2**16)
    for count in range(13):
        out += short(part_step * 2**20 / np.sqrt(max(count, 1)))
    out += short(net["marks"] * 2**8) + short(net["before"] * 2**8)
    filters = np.round(net["filters"].reshape(-1, network.FILTERS) * 2**10)
    assert np.abs(filters).sum(0).max() * 12_000 < 2**31, "a filter may overflow"
    out += short(filters.reshape(-1, 2, network.FILTERS).transpose(0, 2, 1))
    for name in ("filter_bias", "first", "first_bias", "second", "second_bias"):
        out += floats(net[name])
    weights, bias = linear
    used = weights[np.abs(weights).sum(1) > 0]
    step = np.quantile(np.abs(used), 0.9998, axis=0) / 127
    out += np.clip(np.round(weights / step), -127, 127).astype(np.int8).tobytes() + floats(step) + floats(bias)
    out += floats(last[0]) + floats(last[1])
    path.write_bytes(bytes(out))
    print(f"{path}: {len(out)} bytes")


def folds(sentences):
    """Returns the part of every sentence: that of its author, so that models judge authors that they have not read.
    Both languages of a translated set are in the same part. Sentences of `sets/dev` are in none: all models learn
    from them."""
    return np.array([PART_OF.get(each.source, -1) for each in sentences])


class Material:
    """Sentences and their labels, without the findings of the rules."""

    def __init__(self, program, cache, complete, sentences):
        self.sentences = sentences
        texts = [sentence.text for sentence in sentences]
        self.truth, self.counts = labels(sentences)
        self.features = Features(program, texts)
        chance = random.Random(1)
        harmless = {lang: [each.text for each in sentences if each.lang == lang and each.most == 0] for lang in ("es", "en")}
        variants = [self.features]
        for _ in range(VARIANTS):
            variants.append(Features(program, [variant(chance, sentence, harmless) for sentence in sentences]))
        words = words_of(texts)
        of_words = Features(program, words)
        single = of_words.lengths == 1
        self.vocabulary = network.Vocabulary(np.concatenate([self.features.known_keys(), of_words.keys[single, 0]]))
        directions = main_directions(Cache(cache / "words.pickle").of(words, complete)[single], network.WIDTH, 15_000)
        self.start = np.zeros((len(self.vocabulary.keys) + 1, network.WIDTH))
        # Of words with the same key, the most frequent one counts.
        places = self.vocabulary.rows(of_words.keys[single, 0])[::-1]
        self.start[places] = directions[::-1] / np.sqrt((directions**2).sum(1).mean())
        vectors = Cache(cache / "sentences.pickle").of(texts, complete)
        self.taught = main_directions(vectors, network.TAUGHT, 8_000).astype(np.float32)
        self.variants = [(each, self.vocabulary.rows(each.keys)) for each in variants]
        self.tables = [table(each) for each in variants[:2]]

    def models(self, chosen):
        truth, counts = self.truth[chosen], self.counts[chosen]
        linear = train_linear(self.tables[0][chosen], self.tables[1][chosen], truth, counts)
        start = network.start(0, self.start)
        net = network.train(self.variants, chosen, self.truth, self.counts, self.taught, start)
        return linear, net

    def part(self, number):
        """Returns models trained without a part, and their scores of it; of all for -1."""
        held = folds(self.sentences) == number if number >= 0 else np.zeros(len(self.sentences), bool)
        (weights, bias), net = self.models(np.flatnonzero(~held))
        print(f"trained {'without part ' + str(number) if number >= 0 else 'with all'}", flush=True)
        if number < 0:
            return (weights, bias), net
        seen, rows = self.variants[0]
        return self.tables[0][held].dot(weights) + bias, network.scores(net, seen, rows)[held]


MATERIAL = None


def train_part(number):
    return MATERIAL.part(number)


def trained(program, cache, complete, sentences):
    """Returns the vocabulary, scores of sentences by models that have not read their authors, and models of all. They
    do not depend on the rules, so they are kept in `cache` until sentences change."""
    digest = hashlib.sha256(repr([vars(each) for each in sentences]).encode())
    for name in ("network.py", "augment.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    kept = cache / f"models-{digest.hexdigest()[:16]}.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    # Forked processes share it.
    global MATERIAL
    MATERIAL = Material(program, cache, complete, sentences)
    with ProcessPoolExecutor(PROCESSES, get_context("fork")) as pool:
        # The longest one first.
        whole, *parts = pool.map(train_part, [-1, *range(FOLDS)])
    linear = np.zeros((len(sentences), LINEAR), np.float32)
    filtered = np.zeros((len(sentences), HEADS), np.float32)
    for number, (of_linear, of_net) in enumerate(parts):
        held = folds(sentences) == number
        linear[held], filtered[held] = of_linear, of_net
    found = MATERIAL.vocabulary, linear, filtered, whole
    kept.write_bytes(pickle.dumps(found))
    return found


def judge_and_write(program, atoms, sentences, fitted, trained):
    """Trains the last layer and chooses the thresholds, by today's findings of the rules; reports the scores on unseen authors."""
    vocabulary, linear, filtered, (whole_linear, whole_net) = trained
    levels = (CRATE / "data/levels.common.toml").read_text(encoding="utf-8")
    listed = levels.split("plain = [", 1)[1].split("]", 1)[0].replace('"', "").replace(",", " ").split()
    plain = np.uint64(sum(1 << atoms.index(name) for name in listed))
    features = Features(program, [sentence.text for sentence in sentences])
    truth, counts = labels(sentences)
    part = folds(sentences)
    honest = np.arange(len(sentences)) >= fitted
    seen = inputs(linear, filtered, features, len(atoms))
    scores = np.zeros((len(sentences), HEADS), np.float32)
    for number in range(FOLDS):
        weights, bias = train_last(*(of[honest & (part != number)] for of in (seen, truth, counts)))
        scores[part == number] = seen[part == number] @ weights + bias
    last = train_last(*(of[honest] for of in (seen, truth, counts)))

    unseen = features.only(honest)
    judged = [sentence for sentence, is_honest in zip(sentences, honest) if is_honest]
    marks = choose_marks(judged, scores[honest], unseen, plain, linear[honest])
    print({name: round(float(mark), 2) for name, mark in marks.items()})
    report(judged, *decide(scores[honest], unseen, marks, plain))
    write(CRATE / "data/weights.bin", atoms, marks, vocabulary, whole_net, whole_linear, last)


def main():
    program, cache, complete = sys.argv[1], Path(sys.argv[2]), "--quick" not in sys.argv
    cache.mkdir(parents=True, exist_ok=True)
    atoms = subprocess.run([program, "--atoms"], capture_output=True, text=True, check=True).stdout.split()

    sentences = read(CRATE / "sets/dev")
    fitted = len(sentences)
    sentences += read(CRATE / "sets/train")
    print(f"{fitted} sentences to which rules were fitted, {len(sentences) - fitted} others", flush=True)
    judge_and_write(program, atoms, sentences, fitted, trained(program, cache, complete, sentences))


if __name__ == "__main__":
    main()
