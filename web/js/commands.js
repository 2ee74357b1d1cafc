// What the plain face takes for a command is one here, too: the texts of the service name some ("/crisis"), and none of them is a
// message. Pure.

/** Names without accents, in lower case. */
const NAMES = {
  help: ["crisis", "emergencia", "emergency", "urgencia", "urgency", "ayuda", "help"],
  plan: ["plan"],
  country: ["pais", "country"],
  ai: ["ia", "ai"],
  about: ["acerca", "about"],
  protection: ["proteccion", "protection"],
  code: ["sesion", "session", "reanudar", "resume"],
  erase: ["borrar", "erase"],
  language: ["idioma", "language"],
};
const LANGUAGES = { es: ["es", "espanol", "spanish"], en: ["en", "ingles", "english"] };

/**
 * The command that a line is, `{name, rest}`; null if it is a message. An unknown word behind a slash is a message: to a person
 * the page shows no list of commands.
 */
export function commandOf(line) {
  const [, word, rest] = /^\/(\p{L}[^\s.,;:!?…]*)[.,;:!?…]*(?:\s+([\s\S]*))?$/u.exec(line.trim()) ?? [];
  if (word === undefined) return null;
  const name = keyOf(NAMES, word);
  return name === null ? null : { name, rest: (rest ?? "").trim() };
}

/** The language that the person names, null if there is none of that name. */
export function languageNamed(text) {
  return keyOf(LANGUAGES, text);
}

function keyOf(lists, word) {
  const folded = fold(word);
  return Object.keys(lists).find((key) => lists[key].includes(folded)) ?? null;
}

/** `text` without accents, in lower case, as names are compared. */
export function fold(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().trim();
}
