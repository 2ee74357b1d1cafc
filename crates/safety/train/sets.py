"""Sentences of the sets, and their features."""

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LEVELS = ["none", "concern", "high", "imminent"]
# In the order of `Kind`.
KINDS = [
    "medical", "suicide", "sexual_violence", "abuse", "harm_to_others", "self_harm", "substance", "eating", "psychosis",
]
HEADS = 4 + len(KINDS)
# Longest piece, as `score::PIECE`.
LENGTH = 48
MAX_PARTS = 12


@dataclass
class Sentence:
    text: str
    least: int
    most: int
    subject: str
    kinds: list
    lang: str
    cls: str
    family: str
    source: str


def read(folder):
    """Reads the sentences of a folder's `.txt` files, those of answers left out."""
    found = []
    for path in sorted(Path(folder).glob("*.txt")):
        if path.name.startswith("answers"):
            continue
        labels = {}
        for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
            if not line or line.startswith("# "):
                continue
            if line.startswith("@ "):
                labels = dict(pair.split("=", 1) for pair in line[2:].split() if "=" in pair)
                continue
            levels = [LEVELS.index(name) for name in labels["level"].split("|")]
            kinds = [kind for kind in labels["kind"].split("+") if kind in KINDS]
            found.append(
                Sentence(
                    line, min(levels), max(levels), labels["subject"], kinds, labels["lang"], labels["class"],
                    labels["family"], path.stem.rstrip("0123456789_"),
                )
            )
    return found


def labels(sentences):
    """Returns the truth of every head, and how much it counts: not at all where the labels leave it open."""
    truth = np.zeros((len(sentences), HEADS), np.float32)
    counts = np.zeros((len(sentences), HEADS), np.float32)
    for at, sentence in enumerate(sentences):
        for level in (1, 2, 3):
            if sentence.least >= level:
                truth[at, level - 1] = counts[at, level - 1] = 1
            elif sentence.most < level:
                counts[at, level - 1] = 1
            elif sentence.least == 0 and sentence.cls in ("past", "denied") and level == 1:
                counts[at, 0] = 0.15
        if sentence.least >= 1 or sentence.subject == "other":
            counts[at, 3] = 1
            truth[at, 3] = sentence.subject == "other"
        for kind in sentence.kinds:
            truth[at, 4 + KINDS.index(kind)] = 1
        if sentence.kinds or sentence.most == 0:
            counts[at, 4:] = 0.3
    return truth, counts


@dataclass
class Findings:
    """Findings of the rules in texts: atoms as bits, and their decision."""

    own: np.ndarray
    other: np.ndarray
    level: np.ndarray
    subject: np.ndarray
    kinds: np.ndarray
    # The text is about people in general.
    general: np.ndarray
    # Words, as the model counts them, up to LENGTH.
    lengths: np.ndarray


class Features:
    """Output of `examples/features` on texts: the words of the model, and the findings of the rules."""

    def __init__(self, program, texts):
        lines = "\n".join(text.replace("\n", "\\n").replace("\r", " ") for text in texts) + "\n"
        data = subprocess.run([program], input=lines.encode(), capture_output=True, check=True).stdout
        count = len(texts)
        self.keys = np.zeros((count, LENGTH), np.uint32)
        self.marks = np.zeros((count, LENGTH), np.int32)
        self.parts = np.full((count, LENGTH, MAX_PARTS), -1, np.int16)
        self.lengths = np.zeros(count, np.int32)
        self.own, self.other = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
        self.level, self.subject = np.zeros(count, np.int8), np.zeros(count, np.int8)
        self.kinds, self.general = np.zeros(count, np.uint16), np.zeros(count, bool)
        rows, self.begins, at = [], [0], 0
        for text in range(count):
            own, other, level, subject, general, kinds, words = struct.unpack_from("<QQBBBHH", data, at)
            at += 23
            self.own[text], self.other[text] = own, other
            self.level[text], self.subject[text], self.kinds[text] = level, subject, kinds
            self.general[text] = general
            total = self.begins[-1]
            for word in range(words):
                key, mark, parts = struct.unpack_from("<IBB", data, at)
                at += 6
                if word < LENGTH:
                    self.keys[text, word], self.marks[text, word] = key, mark
                    self.parts[text, word, :parts] = np.frombuffer(data, np.uint16, parts, at).astype(np.int16)
                at += 2 * parts
                sequences = data[at]
                rows.append(np.frombuffer(data, np.uint32, sequences, at + 1))
                at += 1 + 4 * sequences
                total += sequences
            self.lengths[text] = min(words, LENGTH)
            self.begins.append(total)
        assert at == len(data), "the program and this reader differ"
        self.rows = (np.concatenate(rows) if rows else np.zeros(0)).astype(np.int32)
        self.begins = np.array(self.begins)

    def only(self, chosen):
        """Returns the findings of the rules in the chosen texts."""
        names = ("own", "other", "level", "subject", "kinds", "general", "lengths")
        return Findings(*(getattr(self, name)[chosen] for name in names))

    def known_keys(self):
        """Returns the keys of all words."""
        return self.keys[np.arange(LENGTH)[None] < self.lengths[:, None]]
