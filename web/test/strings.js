// The words of all languages, as the page is given them one at a time.

import { readdirSync, readFileSync } from "node:fs";

import { Texts } from "../js/strings.js";

const folder = new URL("../words/", import.meta.url);
const files = readdirSync(folder).filter((file) => file.endsWith(".json"));

export const strings = Object.fromEntries(files.map((file) => [file.replace(".json", ""), JSON.parse(readFileSync(new URL(file, folder), "utf8"))]));

export const textsIn = (language) => new Texts(language, strings[language], async (other) => strings[other]);
