// What the gateway must know before any script runs: the language and the country that the person chose. No other cookie is
// written here, and neither says anything about the person (resume-cookie.js has the one for the way back).

const YEAR_SECONDS = 31_536_000;
const NAMES = { language: "psicoia_lang", country: "psicoia_country" };

/** `choice` is `language` or `country`. */
export function rememberChoice(choice, value) {
  write(NAMES[choice], value, YEAR_SECONDS);
}

export function forgetChoices() {
  for (const name of Object.values(NAMES)) write(name, "", 0);
}

function write(name, value, age) {
  document.cookie = `${name}=${value}; max-age=${age}; samesite=lax`;
}
