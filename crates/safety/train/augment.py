"""Variants of sentences that keep their labels: misspelt, as in chats, with fillers, beside harmless sentences."""

import re
import unicodedata

NEAR = {
    "a": "sq", "e": "wr", "i": "uo", "o": "ip", "s": "ad", "t": "ry", "n": "bm", "r": "et", "l": "k", "m": "n",
    "d": "sf", "c": "xv", "u": "yi",
}
FILLERS = {
    "es": "la verdad|bueno|mira|no se|che|ay|pues|es que|o sea|jaja|hola|de verdad|perdon|amigo|doctora".split("|"),
    "en": "honestly|ok|look|idk|hey|well|so|like|sorry|hi|lol|i mean|just|please|man".split("|"),
}
CHAT = {
    "es": [
        (r"\bque\b", "q", 0.5), (r"\bpor\b", "x", 0.3), (r"\bporque\b", "xq", 0.5), (r"qu(?=[ei])", "k", 0.5),
        (r"\btambien\b", "tmb", 0.5), (r"\bde\b", "d", 0.2), (r"\bte\b", "t", 0.15), (r"v", "b", 0.15),
        (r"ll", "y", 0.2), (r"\bh", "", 0.2), (r"z", "s", 0.3), (r"\bestoy\b", "toy", 0.2),
    ],
    "en": [
        (r"\byou\b", "u", 0.5), (r"\bare\b", "r", 0.3), (r"\bto\b", "2", 0.1), (r"\bgoing to\b", "gonna", 0.5),
        (r"\bwant to\b", "wanna", 0.5), (r"\bdon't\b", "dont", 0.6), (r"ing\b", "in", 0.15),
        (r"\bbecause\b", "cuz", 0.5), (r"\bplease\b", "pls", 0.5), (r"\btonight\b", "2nite", 0.2),
        (r"\bi am\b", "im", 0.5), (r"\bth", "d", 0.05), (r"\bmy\b", "ma", 0.05),
    ],
}


def misspelt(random, word):
    if len(word) < 4:
        return word
    at, kind = random.randrange(1, len(word) - 1), random.random()
    if kind < 0.35:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.55:
        return word[:at] + word[at] + word[at:]
    if kind < 0.85:
        return word[:at] + word[at + 1 :]
    return word[:at] + random.choice(NEAR.get(word[at], "e")) + word[at + 1 :]


def as_in_chats(random, text, lang):
    text = "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    for pattern, short, share in CHAT[lang]:
        if random.random() < share:
            text = re.sub(pattern, short, text)
    return text


def variant(random, sentence, harmless):
    """Returns a variant of `sentence`; `harmless` are texts without risk, by language."""
    words = sentence.text.split(" ")
    # A piece of a harmless sentence is harmless; models make much of a few words.
    if sentence.most == 0 and random.random() < 0.25 and len(words) > 3:
        cut = random.randrange(2, len(words) - 1)
        return " ".join(words[:cut] if random.random() < 0.6 else words[cut:])
    if random.random() < 0.55:
        for _ in range(1 + (random.random() < 0.4) + (random.random() < 0.2)):
            at = random.randrange(len(words))
            words[at] = misspelt(random, words[at])
    text = " ".join(words)
    if random.random() < 0.25:
        text = as_in_chats(random, text, sentence.lang)
    words = text.split(" ")
    if random.random() < 0.15:
        place = random.choice([0, len(words), random.randrange(len(words) + 1)])
        words.insert(place, random.choice(FILLERS[sentence.lang]))
    if random.random() < 0.08 and len(words) > 2:
        at = random.randrange(len(words) - 1)
        words[at : at + 2] = [words[at] + words[at + 1]]
    text = " ".join(words)
    beside = random.choice(harmless[sentence.lang])
    if random.random() < 0.3 and len(text) < 200 and len(beside) < 160:
        between = random.choice([". ", ", ", "\\n", " ", ". "])
        first, last = (beside, text) if random.random() < 0.5 else (text, beside)
        text = first.rstrip(".") + between + last
    return text
