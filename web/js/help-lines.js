// The help lines of all countries, for a page without a connection: help-lines.json, which scripts/help-lines makes of
// the same data as the server's. Pure.

import { fold } from "./commands.js";

const DIRECTORY = "https://findahelpline.com";

/** Kinds of lines that are made for a kind of need; every need is also served by a suicide line. */
const MADE_FOR = { abuse: "violence", sexual_violence: "violence", eating: "eating" };

/** The order of the sections where nothing is known of the need. */
const SECTIONS = ["suicide", "emergency", "youth", "violence", "eating", "helper", "directory"];

export class HelpLines {
  #countries = new Map();
  #zones = {};

  /** @param data the content of help-lines.json; null: not loaded */
  constructor(data = null) {
    for (const country of data?.countries ?? []) this.#countries.set(country.code, country);
    this.#zones = data?.zones ?? {};
    this.reviewedOn = data?.reviewed_on ?? null;
  }

  get loaded() {
    return this.#countries.size > 0;
  }

  has(code) {
    return this.#countries.has(code);
  }

  /** The country that keeps an IANA time zone, null if there is none (`UTC`). */
  countryOfZone(zone) {
    return Object.hasOwn(this.#zones, zone) ? this.#zones[zone] : null;
  }

  /** The code of the country that a person names, by its code or its name in either language; null if there is none. */
  codeOf(text) {
    const wanted = fold(text);
    const bare = wanted.replace(/^(?:la|el|los|las|the) /, "");
    const named = ({ code, name }) => [code, ...(typeof name === "object" ? Object.values(name) : [name])].map(fold);
    return [...this.#countries.values()].find((country) => [wanted, bare].some((name) => named(country).includes(name)))?.code ?? null;
  }

  nameOf(code, language) {
    return inLanguage(this.#countries.get(code)?.name ?? code, language);
  }

  /** `[{code, name}]` by name. */
  countries(language) {
    const all = [...this.#countries.keys()].map((code) => ({ code, name: this.nameOf(code, language) }));
    return all.sort((a, b) => a.name.localeCompare(b.name, language));
  }

  /** Everything there is for a country, as resources of the wire; only the directory where the country is not known. */
  of(code, language) {
    const country = this.#countries.get(code);
    const resources = (country?.resources ?? []).map((row) => resource(row, country, language));
    return [...resources, directory(country ? code : null)];
  }

  /** The lines for a need, in the order of the server: `need` is `{level?, subject?, kind?}`, as in `support`. */
  select(code, language, need) {
    const wanted = wantedBy(need);
    const all = this.of(code, language);
    const lines = all.filter(({ kind, url }) => wanted.includes(kind) && !isDirectory(url));
    lines.sort((a, b) => Number(isUnsure(a)) - Number(isUnsure(b)) || wanted.indexOf(a.kind) - wanted.indexOf(b.kind));
    const emergency = all.filter(({ kind }) => kind === "emergency");
    const rest = all.filter(({ url }) => isDirectory(url));
    const leads = isEmergency(need) || !lines.some((line) => !isUnsure(line));
    return leads ? [...emergency, ...lines, ...rest] : [...lines, ...emergency, ...rest];
  }
}

/**
 * The lines of a card for a person in `chosen` (null: not known): those that came with it, unless they are of another
 * country, as on a card from before the person said where they are.
 */
export function resourcesOf(card, lines, { chosen, known, language }) {
  const came = card.resources ?? [];
  const country = came.map((resource) => resource.country).find((code) => code);
  const elsewhere = chosen !== null && lines.has(chosen) && country !== chosen;
  return came.length > 0 && !elsewhere ? came : lines.select(known, language, card);
}

/** At first a card shows this many lines, and the emergency number. */
const SHOWN = 3;

/**
 * `[those to be seen at once, the others]`: few enough that what is said below the card is not pushed out of sight, and
 * always with an emergency number, in the order they came.
 */
export function partOf(resources) {
  const first = resources.slice(0, SHOWN);
  const emergency = first.some(({ kind }) => kind === "emergency") ? undefined : resources.find(({ kind }) => kind === "emergency");
  const shown = emergency ? [...first, emergency] : resources.slice(0, SHOWN + 1);
  return [shown, resources.filter((resource) => !shown.includes(resource))];
}

/** Minutes count: the emergency number comes first. */
export function isEmergency({ level, kind } = {}) {
  return level === "imminent" || kind === "medical" || (kind === "substance" && level !== "concern");
}

/** The sections of a list, `[{section, resources}]`, those for the need first. */
export function sections(resources, need = {}) {
  const made = wantedBy(need);
  const order = [isEmergency(need) ? "emergency" : null, ...made, ...SECTIONS].filter((name) => name !== null);
  const names = [...new Set([...order, ...resources.map(sectionOf)])];
  const filled = names.map((section) => ({ section, resources: resources.filter((line) => sectionOf(line) === section) }));
  return filled.filter(({ resources: lines }) => lines.length > 0);
}

function sectionOf({ kind, url }) {
  return isDirectory(url) ? "directory" : kind;
}

function wantedBy({ subject, kind } = {}) {
  const wanted = [MADE_FOR[kind], subject === "other" ? "helper" : null, "suicide"];
  return wanted.filter((name) => name);
}

function isUnsure({ unverified }) {
  return unverified === true;
}

/** Whether an address is that of the directory of all countries' lines. */
export function isDirectory(url) {
  return url?.startsWith(DIRECTORY) ?? false;
}

/** What the file takes for granted is filled in. */
function resource(row, country, language) {
  const { sms, ...rest } = row;
  const texts = ["name", "contact", "hours", "area"].filter((name) => name in row);
  const said = Object.fromEntries(texts.map((name) => [name, inLanguage(row[name], language)]));
  const message = sms ? { sms: { to: sms.to, body: inLanguage(sms.body, language) || undefined } } : {};
  const region = inLanguage(country.name, language);
  return { contact: row.dial, hours: "24 h", languages: [], country: country.code, region, ...rest, ...said, ...message };
}

function directory(code) {
  const url = code === null ? DIRECTORY : `${DIRECTORY}/countries/${code.toLowerCase()}`;
  return { name: "Find A Helpline", contact: url.slice("https://".length), url, kind: "suicide", country: code ?? "", region: "", hours: "", languages: ["en", "es"] };
}

/** A text that is the same in all languages, or one of each. */
function inLanguage(text, language) {
  return typeof text === "object" ? text[language] : text;
}
