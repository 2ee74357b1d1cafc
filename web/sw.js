// Service worker: the page, the lines and the exercises without a connection. The gateway puts in its version and the
// names of the page's parts. It keeps the files of one version together, and gives the page only those: a new version is fetched
// whole beside the old one, and used once the page says so or all its tabs are closed. It neither reads nor keeps
// anything of a conversation, and shows no notifications.
"use strict";

const CACHE = "psicoia-{version}";
/** The page's scripts, the first one first, and the words of all languages. */
const PARTS = "{parts}".split(" ");
/** The page, its parts, and what they load. */
const PAGE = "./";
const SHELL = [PAGE, ...PARTS, "help-lines.json", "favicon.svg", "manifest.webmanifest", "icons/192.png"];
/** Pages that are fetched first, since their lines may have changed, and kept for the time without a connection. */
const FRESH = ["ayuda", "help", "acerca", "about", "proteccion", "protection"];

/** One language of a page is kept: any will do without a connection. */
const ANY = { ignoreVary: true };

const addressOf = (path) => new URL(path, self.registration.scope).href;

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) => event.waitUntil(removeOthers()));
addEventListener("message", ({ data }) => {
  if (data === "skip-waiting") self.skipWaiting();
});
addEventListener("fetch", (event) => {
  const answer = event.request.method === "GET" ? answerTo(event.request) : null;
  if (answer !== null) event.respondWith(answer);
});

/** All files or none. The page of another version, from a gateway that is not upgraded yet, is not taken: the browser tries again later. */
async function install() {
  const cache = await caches.open(CACHE);
  await cache.addAll([...SHELL, "ayuda"].map((path) => new Request(addressOf(path), { cache: "no-cache" })));
  const page = await cache.match(addressOf(PAGE), ANY);
  if (!(await page.text()).includes(PARTS[0])) {
    await caches.delete(CACHE);
    throw new Error("the page is of another version");
  }
}

async function removeOthers() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith("psicoia-") && name !== CACHE).map((name) => caches.delete(name)));
}

/** The answer to a request; null: the browser asks the network as without a worker. */
function answerTo(request) {
  const { href, origin, pathname } = new URL(request.url);
  if (origin !== self.location.origin) return null;
  if (SHELL.map(addressOf).includes(href)) return kept(request, href);
  return FRESH.some((path) => new URL(addressOf(path)).pathname === pathname) ? fresh(request) : null;
}

async function kept(request, href) {
  const cache = await caches.open(CACHE);
  return (await cache.match(href, ANY)) ?? fetch(request);
}

/** The page from the network and, without one, the same page as it was last time, or the lines of all countries' directory. */
async function fresh(request) {
  const cache = await caches.open(CACHE);
  try {
    const answer = await fetch(request);
    if (answer.ok) await cache.put(request, answer.clone());
    return answer;
  } catch (error) {
    const held = (await cache.match(request, ANY)) ?? (await cache.match(request, { ...ANY, ignoreSearch: true })) ?? (await cache.match(addressOf("ayuda"), ANY));
    if (held === undefined) throw error;
    return held;
  }
}
