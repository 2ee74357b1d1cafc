// Which language to speak and which country to think of. Pure.

export const LANGUAGES = ["es", "en"];

/** The remembered language, else that of the page: the gateway has chosen it by the browser's preferences. */
export function chooseLanguage(remembered, served) {
  return LANGUAGES.includes(remembered) ? remembered : served;
}

/** The language after this one: the button offers one at a time. */
export function languageAfter(language, languages = LANGUAGES) {
  return languages[(languages.indexOf(language) + 1) % languages.length];
}

/** The country in the browser's languages, or null. A macro-region (`es-419`) names no country. */
export function regionOf(preferred) {
  for (const tag of preferred) {
    const region = tag.split("-").slice(1).find((part) => /^[a-z]{2}$/i.test(part));
    if (region) return region.toUpperCase();
  }
  return null;
}

/** The tag sent to the server: the language on the page and the person's country, which picks help lines. */
export function localeTag(language, region) {
  return region ? `${language}-${region}` : language;
}
