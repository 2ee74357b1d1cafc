// Wires the session to the page. What a thing does is in its own module; this file says who talks to whom.

import { Announcer } from "./announcer.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { byId, fillWords, label } from "./dom.js";
import { Drafts } from "./drafts.js";
import { Help } from "./help.js";
import { chooseLanguage, localeTag, regionOf } from "./locale.js";
import { LogView } from "./log-view.js";
import { ResumeCookie } from "./resume-cookie.js";
import { Scroll } from "./scroll.js";
import { StartOver } from "./start-over.js";
import { StatusView } from "./status-view.js";
import { Storage } from "./storage.js";
import { Texts } from "./strings.js";
import { Theme } from "./theme.js";
import { Tokens } from "./tokens.js";
import { WayBack } from "./way-back.js";

const KNOWN_PROBLEMS = new Set(["rate_limited", "user_busy", "overloaded", "unavailable", "timeout", "text_too_long", "bad_frame"]);
/** To a person, a line that could not be read is a line that could not be read. */
const SAME_PROBLEM = { line_too_long: "bad_frame", invalid_utf8: "bad_frame" };

const storage = Storage.ofBrowser();
const region = regionOf(navigator.languages);
const texts = new Texts(chooseLanguage(storage.get("language"), navigator.languages));
const t = texts.t.bind(texts);
const announcer = new Announcer(byId("announcer"));
const say = (words) => announcer.say(words);
const wall = () => Date.now();
const clock = {
  // Waits and time-outs must not follow a wall clock that is set.
  now: () => performance.now(),
  setTimeout: (action, ms) => setTimeout(action, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};
const cookie = new ResumeCookie((path, options) => fetch(path, options), clock, storage, (found) => tokens.found(found));
const tokens = new Tokens(storage, wall, (kept) => cookie.keep(kept));
const drafts = new Drafts(Storage.ofTab(), wall);
let restoring = tokens.current !== null;
let unread = 0;

const io = {
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`,
  createSocket: (url, protocol) => new WebSocket(url, protocol),
  clock,
  wall,
  random: Math.random,
  isOnline: () => navigator.onLine,
  isSeen: () => !document.hidden,
  isServed: async () => {
    try {
      return (await fetch("readyz", { cache: "no-store" })).ok;
    } catch {
      return false;
    }
  },
};

fillWords(texts);
const theme = new Theme(storage, (current) => label(byId("theme"), t(current === "dark" ? "to_light" : "to_dark")));
const help = new Help(texts, region);
const scroll = new Scroll(texts);
const status = new StatusView(texts, { say, retry: () => chat.wake(), now: clock.now });
const log = new LogView(texts, {
  retry: (entry) => leaveButton(() => chat.retry(entry)),
  edit: (entry) => composer.putBack(chat.takeBack(entry)),
  goOn: () => leaveButton(() => send(t("go_on_text"))),
  askAgain: (entry) => leaveButton(() => chat.askAgain(entry)),
  openHelp: () => help.open(),
  leave: () => composer.focus(),
});
const chat = new Chat(io, tokens, drafts, {
  locale: () => localeTag(texts.language, region),
  change: changed,
  turned: refresh,
  state: (state) => status.connection(state),
  limits: (limits) => { composer.limit = limits?.max_text_chars ?? 8_000; },
  accepted: () => status.clearNotice(),
  problem: showProblem,
  happened,
  restored,
  older: offerOlder,
  switched: () => {
    // The question was about the conversation that was there, and so is the code.
    startOver.withdraw();
    wayBack.render();
  },
  gone: (why) => status.notice(() => t(`session_${why}`)),
  back: () => status.notice(() => t("session_back")),
});
const composer = new Composer(texts, { send, stop, say, draft: (text) => { drafts.text = text; } }, drafts.text);
const wayBack = new WayBack(texts, {
  code: () => chat.code,
  earlier: () => tokens.previous,
  goOn: (token) => chat.goOnWith(token),
  say,
  done: () => {
    status.clearNotice();
    say(t("code_done"));
    // What opened the dialog may be gone with the conversation that was there.
    composer.focus();
  },
});
const startOver = new StartOver(texts, () => chat.startOver(), () => {
  status.clearNotice();
  say(t("start_over_done"));
  composer.focus();
});

function send(text) {
  chat.send(text);
  scroll.toEnd();
}

/** The button goes away with what it does: the focus has to go somewhere. */
function leaveButton(action) {
  action();
  composer.focus();
}

function stop() {
  if (!chat.stop()) status.notice(() => t("error_disconnected"));
}

function changed(change) {
  log.change(change);
  if (change.kind === "placed" && !change.next) scroll.news();
  refresh();
}

/** What depends on the conversation as a whole: cheap, because it follows every change. */
function refresh() {
  const empty = chat.conversation.entries.length === 0;
  byId("welcome").hidden = !empty || restoring;
  byId("restoring").hidden = !empty || !restoring;
  composer.canStop = chat.isAnswering;
}

function restored() {
  const count = chat.conversation.entries.length;
  if (restoring && count > 0) say(t("restored", count));
  restoring = false;
  cookie.keep(tokens.kept);
  wayBack.render();
  refresh();
}

/** The button goes away with the last page of entries; the focus it had moves to the log. */
function offerOlder(more) {
  const button = byId("older");
  const hadFocus = document.activeElement === button;
  button.hidden = !more;
  if (hadFocus && !more) byId("scroller").focus({ preventScroll: true });
}

/** An answer finished, help lines or another tab's message arrived: told to ears, eyes and the tab's title. */
function happened({ kind, entry }) {
  if (kind === "unanswered") {
    say(t("unanswered"));
    return;
  }
  if (entry.role === "support") scroll.keepVisible(log.nodeOf(entry));
  const contacts = (entry.resources ?? []).map(({ name, contact }) => `${name}: ${contact}.`);
  const text = entry.text || t(entry.finish === "stopped" ? "stopped_early" : "no_answer");
  const brokenOff = entry.finish === "error" && entry.text !== "" ? [t("broke_off")] : [];
  say([t(`who_${entry.role}`), text, ...brokenOff, ...contacts].join(" "));
  if (!document.hidden || entry.role === "user") return;
  unread += 1;
  document.title = t("left_title", unread);
}

function showProblem({ code, message, retryMs, repeated }) {
  // Ours follow the language of the page and leave the seconds to the countdown; the server knows the others.
  const known = SAME_PROBLEM[code] ?? code;
  const words = () => (KNOWN_PROBLEMS.has(known) ? t(`error_${known}`) : message || t("error_other"));
  status.notice(words, { retryMs, repeated });
}

function setLanguage(language) {
  texts.language = language;
  storage.set("language", language);
  fillWords(texts);
  label(byId("theme"), t(theme.current === "dark" ? "to_light" : "to_dark"));
  for (const view of [log, status, composer, scroll, help, startOver, wayBack]) view.render();
  byId("older").textContent = t("older");
  chat.setLocale();
}

async function loadOlder() {
  const button = byId("older");
  button.textContent = t("older_loading");
  try {
    await chat.loadOlder((apply) => scroll.keepPlace(apply));
  } catch (error) {
    showProblem({ code: error.code, message: t("error_disconnected") });
  }
  button.textContent = t("older");
}

/** Connects; where this browser has forgotten everything, the page first waits a moment for what the cookie holds. */
async function begin() {
  if (tokens.kept.length === 0 && !(cookie.heard && tokens.current !== null)) {
    const kept = await cookie.recall();
    tokens.recall(kept);
    // Where an earlier page of this browser could not read the cookie, an empty session may have been begun since.
    tokens.found(kept);
    restoring = tokens.current !== null;
    refresh();
  }
  chat.start();
}

/** Asks before something is lost that was sent but has not arrived. A draft survives a reload, unless it could not be kept. */
function leaving(event) {
  if (!chat.hasUnsent && !drafts.wouldBeLost) return;
  event.preventDefault();
  event.returnValue = "";
}

function seen() {
  if (document.hidden) return;
  unread = 0;
  document.title = "PsicoIA";
  chat.wake();
}

for (const chip of document.querySelectorAll("#chips .chip")) {
  chip.onclick = () => {
    send(t(`chip_${chip.dataset.topic}_text`));
    composer.focus();
  };
}
byId("language").onclick = () => setLanguage(texts.language === "es" ? "en" : "es");
byId("theme").onclick = () => theme.toggle();
byId("start-over").onclick = () => startOver.ask();
byId("older").onclick = loadOlder;
byId("older").textContent = t("older");
addEventListener("online", () => chat.wake());
addEventListener("offline", () => chat.sleep());
addEventListener("pageshow", (event) => event.persisted && chat.wake());
addEventListener("storage", (event) => storage.concerns(event, "resume") && chat.tokenChanged());
addEventListener("beforeunload", leaving);
document.addEventListener("visibilitychange", seen);

refresh();
// A pointer is a hint of a real keyboard; on a phone the focus would throw the on-screen one at the person.
if (matchMedia("(pointer: fine)").matches) composer.focus();
begin();
