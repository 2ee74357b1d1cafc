// Reads aloud with the voices of the device. Voices that would send the text elsewhere are not used.

const MAX_CHARS = 200;

export class Speech {
  #synth;
  #make;
  /** What is being read, null if nothing is. */
  #reading = null;

  /** @param synth the browser's `speechSynthesis`, undefined where there is none; `make(text)` a `SpeechSynthesisUtterance` */
  constructor(synth = globalThis.speechSynthesis, make = (text) => new SpeechSynthesisUtterance(text)) {
    this.#synth = synth;
    this.#make = make;
  }

  /** Whether this device has a voice of its own for `language`. Browsers load their voices late: to be asked when it matters. */
  speaks(language) {
    return this.#voice(language) !== undefined;
  }

  get isSpeaking() {
    return this.#reading !== null;
  }

  /** Reads `text` in place of what is being read; `done()` runs at its end, however it ends. */
  say(text, language, done = () => {}) {
    this.stop();
    const voice = this.#voice(language);
    const parts = sentences(text);
    if (voice === undefined || parts.length === 0) {
      done();
      return;
    }
    const reading = { done };
    this.#reading = reading;
    const ended = () => {
      if (this.#reading === reading) this.stop();
    };
    // One at a time, not too long: Chromium falls silent in the middle of a long text.
    const pieces = parts.map((part) => Object.assign(this.#make(part), { voice, lang: voice.lang, onerror: ended }));
    pieces.at(-1).onend = ended;
    for (const piece of pieces) this.#synth.speak(piece);
  }

  stop() {
    const reading = this.#reading;
    this.#reading = null;
    if (reading === null) return;
    this.#synth.cancel();
    reading.done();
  }

  #voice(language) {
    const own = (this.#synth?.getVoices() ?? []).filter(({ lang, localService }) => localService && lang.slice(0, 2).toLowerCase() === language);
    return own.find((voice) => voice.default) ?? own[0];
  }
}

/** `text` in pieces that a voice reads in one go, parted where a voice rests. */
export function sentences(text) {
  const rests = text.match(/[^.!?…\n]+[.!?…]*|[.!?…]+/g) ?? [];
  return rests.flatMap((part) => cut(part.trim())).filter((part) => /[\p{L}\p{N}]/u.test(part));
}

function cut(part) {
  if (part.length <= MAX_CHARS) return [part];
  const space = part.lastIndexOf(" ", MAX_CHARS);
  const end = space > 0 ? space : MAX_CHARS;
  return [part.slice(0, end), ...cut(part.slice(end).trim())];
}
