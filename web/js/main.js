// Wires the session to the page. What a thing does is in its own module; this file says who talks to whom. What opens on demand is wired in
// `later.js`, a script of its own.

import { Announcer } from "./announcer.js";
import { Chat } from "./chat.js";
import { commandOf, languageNamed } from "./commands.js";
import { Composer } from "./composer.js";
import { forgetChoices, rememberChoice } from "./cookies.js";
import { byId, fillWords, label, refocus } from "./dom.js";
import { Drafts } from "./drafts.js";
import { EditLast } from "./edit-last.js";
import { Exit, removeTraces } from "./exit.js";
import { ExitView } from "./exit-view.js";
import { giveFile } from "./files.js";
import { Help } from "./help.js";
import { partOf, resourcesOf } from "./help-lines.js";
import { Intro, withGuides } from "./intro.js";
import { followKeyboard } from "./keyboard.js";
import { chooseLanguage, languageAfter, localeTag, regionOf } from "./locale.js";
import { LinesSocket } from "./lines-socket.js";
import { LogView } from "./log-view.js";
import { strip } from "./markdown.js";
import { Offline } from "./offline.js";
import { OwnPlan } from "./own-plan.js";
import { Pause } from "./pause.js";
import { Place, zoneOf } from "./place.js";
import { callNodes, spoken } from "./resource-view.js";
import { ResumeCookie } from "./resume-cookie.js";
import { planText } from "./safety-plan.js";
import { Scroll } from "./scroll.js";
import { Speech } from "./speech.js";
import { StatusView } from "./status-view.js";
import { Storage } from "./storage.js";
import { Texts } from "./strings.js";
import { Theme } from "./theme.js";
import { Title } from "./title.js";
import { CODE_IN_ADDRESS, Tokens } from "./tokens.js";
import { whereNode } from "./where.js";

const KNOWN_PROBLEMS = new Set(["rate_limited", "user_busy", "overloaded", "unavailable", "timeout", "text_too_long", "bad_frame"]);
/** To a person, a line that could not be read is a line that could not be read. */
const SAME_PROBLEM = { line_too_long: "bad_frame", invalid_utf8: "bad_frame" };

const storage = Storage.ofBrowser();
const region = regionOf(navigator.languages);
const words = byId("words");
const texts = new Texts(document.documentElement.lang, JSON.parse(words.textContent), loadWords);
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
const tab = Storage.ofTab();
const drafts = new Drafts(tab, wall);
const speech = new Speech();
const vibrate = (pattern) => navigator.vibrate?.(pattern);
const ownPlan = new OwnPlan(storage, () => help.render());
/** Menu, data, exercises…: null until the second script is there. */
let later = null;
let loadingLater = null;
let restoring = tokens.current !== null;
/** The newest card with help in the conversation. */
let card = null;

const io = {
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`,
  createSocket: (url, protocol) => new WebSocket(url, protocol),
  createLines: () => new LinesSocket((path, options) => fetch(path, options), clock),
  clock,
  wall,
  random: Math.random,
  leaveLines: (frames) => {
    const body = frames.map((frame) => `${JSON.stringify(frame)}\n`).join("");
    fetch("lines", { method: "POST", keepalive: true, headers: { "content-type": "application/x-ndjson" }, body }).catch(() => {});
  },
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
const place = new Place(storage, zoneOf(Intl), () => help.lines);
const help = new Help(texts, place, { say, chosen: choseCountry, loaded: () => log.render(), own: () => callNodes(ownPlan.person, texts) });
const scroll = new Scroll(texts);
const status = new StatusView(texts, { say, retry: () => chat.wake(), renew: () => offline.renew(), now: clock.now });
const log = new LogView(texts, {
  retry: (entry) => leaveButton(() => chat.retry(entry)),
  edit: (entry) => composer.putBack(chat.takeBack(entry)),
  editLast: (entry) => editLast.begin(entry),
  goOn: () => leaveButton(() => send(t("go_on_text"))),
  ask: (words) => leaveButton(() => send(words)),
  openExercise: (name) => withLater(({ exercises }) => exercises.open(name)),
  breath: (name, show) => withLater(({ breath }) => show(breath(name, (answer) => leaveButton(() => send(answer))))),
  speech,
  askAgain: (entry) => leaveButton(() => chat.askAgain(entry)),
  openHelp: (entry) => help.open(entry ?? card ?? {}),
  pause: () => pause.begin(),
  savePlan,
  resources: resourcesFor,
  where: ({ text }) => (place.chosen === null && help.lines.loaded ? whereNode(place, help.lines, texts, choseCountry, text) : null),
  say,
  leave: () => composer.focus(),
});
const chat = new Chat(io, tokens, drafts, {
  locale: () => localeTag(texts.language, region),
  place: () => place.hello,
  change: changed,
  turned: refresh,
  state: (state) => {
    status.connection(state);
    // The conversation comes first; what fails now is tried again when it is wanted.
    if (state.name === "connected") loadLater();
  },
  limits: (limits) => { composer.limit = limits?.max_text_chars ?? 8_000; },
  accepted: () => status.clearNotice(),
  problem: showProblem,
  happened,
  introduced,
  planned: () => { byId("save-plan").hidden = !chat.hasPlan; },
  kept,
  restored,
  older: offerOlder,
  switched: () => {
    later?.switched();
    exitView.render();
    editLast.withdraw();
    speech.stop();
  },
  gone: (why) => status.notice(() => t(`session_${why}`)),
  back: () => status.notice(() => t("session_back")),
});
const composer = new Composer(texts, { send: written, stop, say, draft: (text) => { drafts.text = text; } }, drafts.text);
const editLast = new EditLast(texts, {
  put: (text) => composer.replace(text), isLast: (entry) => entry === chat.lastMessage, forget: () => chat.forgetLast(), send,
  fail: (code) => showProblem({ code }), late: () => status.notice(() => t("editing_late")), leave: () => composer.focus(),
});
byId("composer").before(editLast.node);
const pause = new Pause(() => composer.focus());
const title = new Title(storage, texts, (words) => { document.title = words; });
const intro = new Intro(storage, { start: () => composer.focus(), person: () => help.open(), changed: refresh });
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("psicoia") : null;
const exit = new Exit({
  cover: () => {
    document.documentElement.hidden = true;
    document.title = t("title_neutral");
  },
  erases: erasesOnExit,
  erase: () => chat.eraseAndLeave(),
  storage,
  tab,
  cookie,
  removeTraces: () => {
    forgetChoices();
    return removeTraces({ serviceWorker: navigator.serviceWorker, caches: window.caches, indexedDB: window.indexedDB });
  },
  tellOthers: () => tabs?.postMessage("exit"),
  clock,
  go: () => location.replace(document.querySelector('meta[name="exit-url"]').content || "about:blank"),
});
const exitView = new ExitView(texts, {
  leave: () => exit.leave(),
  code: () => chat.code,
  erases: erasesOnExit,
  choose: (erases) => (erases ? storage.set("exit", "erase") : storage.remove("exit")),
  title,
  say,
  now: clock.now,
});
const offline = new Offline(navigator.serviceWorker, { ready: () => status.updateReady(), reload: () => location.reload() });
if (tabs !== null) tabs.onmessage = () => exit.leave({ told: true });

/** Whether a quick exit takes the conversation with it. */
function erasesOnExit() {
  return storage.get("exit") === "erase";
}

/** What the person wrote: done here if it is a command, so that it is neither stored nor read by a model. */
function written(text) {
  const command = commandOf(text);
  if (command !== null) commands[command.name](command.rest);
  else if (editLast.isEditing) editLast.send(text);
  else send(text);
}

const commands = {
  help: () => help.open(card ?? {}),
  plan: savePlan,
  country: (name) => {
    const code = help.lines.codeOf(name);
    if (code === null) {
      // The dialog asks which country it is.
      help.open(card ?? {});
      return;
    }
    setCountry(code);
    status.notice(() => t("country_set", help.lines.nameOf(code, texts.language)));
  },
  ai: () => status.notice(() => byId("ai-notice").textContent || t("notice_ai")),
  about: () => openGuide("acerca"),
  protection: () => openGuide("proteccion"),
  code: openWayBack,
  erase: () => withLater(({ startOver }) => startOver.ask()),
  language: (name) => chooseOther(languageNamed(name) ?? texts.language),
};

/** The second script, wired; it is loaded once. */
function loadLater() {
  loadingLater ??= import("./later.js").then(({ wire }) => {
    later = wire({ chat, composer, givePlan, log, ownPlan, placeChanged, say, scroll, send, speech, status, storage, texts, tokens, vibrate, wall });
    return later;
  });
  // What was not there may be at the next try.
  loadingLater.catch(() => { loadingLater = null; });
  return loadingLater;
}

/** Runs `use` with what the second script brings. */
function withLater(use) {
  return loadLater().then(use, () => status.partMissing());
}

function openWayBack(code) {
  withLater(({ wayBack }) => wayBack.open(code));
}

function openGuide(name) {
  document.querySelector(`[data-guide="${name}"]`).click();
}

function send(text) {
  intro.done();
  chat.send(text);
  scroll.toEnd();
}

/** The button goes away with what it does: the focus has to go somewhere. */
function leaveButton(action) {
  action();
  composer.focus();
}

/** Ends what is being answered; what had not gone out yet is in the field again. */
function stop() {
  const unsent = chat.takeBackUnsent();
  if (unsent !== "") composer.putBack(unsent);
  if (!chat.stop()) status.notice(() => t("error_disconnected"));
}

function changed(change) {
  log.change(change);
  if (change.kind === "placed" && !change.next) scroll.news();
  if (change.kind === "cleared" || change.entry.role === "support") lookForCard();
  refresh();
}

/** What depends on the conversation as a whole: cheap, because it follows every change. */
function refresh() {
  const empty = chat.conversation.entries.every(({ role }) => role === "note");
  byId("welcome").hidden = !empty || restoring;
  byId("intro").hidden = !intro.isDue;
  byId("restoring").hidden = !empty || !restoring;
  composer.canStop = chat.isAnswering;
}

function restored() {
  const count = chat.conversation.entries.filter(({ role }) => role !== "note").length;
  if (restoring && count > 0) say(t("restored", count));
  restoring = false;
  cookie.keep(tokens.kept);
  later?.restored();
  exitView.render();
  refresh();
}

/** Help that was shown once stays one press away. */
function lookForCard() {
  card = chat.conversation.entries.filter(({ role }) => role === "support").at(-1) ?? null;
  byId("see-help").hidden = card === null;
  byId("danger").hidden = card !== null;
}

function resourcesFor(entry) {
  const { chosen, known } = place;
  return resourcesOf(entry, help.lines, { chosen, known, language: texts.language });
}

function setCountry(code) {
  place.choose(code);
  rememberChoice("country", code);
  chat.setCountry(code);
  placeChanged();
}

function choseCountry(code) {
  setCountry(code);
  say(t("country_set", help.lines.nameOf(code, texts.language)));
}

function placeChanged() {
  log.render();
  help.render();
}

/** What the server says about itself stands at the head of the conversation. */
function introduced(text, lang) {
  const head = byId("ai-notice");
  const known = head.textContent === text;
  if (known) return;
  head.replaceChildren(...withGuides(text));
  Object.assign(head, { lang, hidden: false });
  say(text);
}

/** Gives the person a text file with the safety plan of the conversation. */
async function savePlan() {
  const plan = await chat.safetyPlan();
  if (plan === null) status.notice(() => t(chat.isConnected ? "plan_none" : "error_disconnected"));
  else givePlan(plan, t("plan_about"));
}

/** A text file with a plan and the help lines of the person's country. `about` says where else the plan is. */
function givePlan(plan, about) {
  const when = new Date().toLocaleDateString(texts.language, { dateStyle: "long" });
  const words = { made: t("plan_made", when), lines: t("plan_lines"), about };
  giveFile(`${t("plan_title").toLowerCase().replaceAll(" ", "-")}.txt`, planText(plan, resourcesFor(card ?? {}), words));
  say(t("plan_saved"));
}

function kept(isKept, asAsked) {
  byId("unkept").hidden = isKept;
  if (!asAsked) status.notice(() => t("unkept_refused"));
}

/** A code in the address, as a picture of one leads to: shown in its field, and only the person goes on with it. */
function codeInAddress() {
  const [name, code] = location.hash.slice(1).split("=");
  if (name !== CODE_IN_ADDRESS || !code) return;
  history.replaceState(null, "", location.pathname + location.search);
  openWayBack(decodeURIComponent(code));
}

/** The button goes away with the last page of entries; the focus it had moves to the log. */
function offerOlder(more) {
  const button = byId("older");
  const hadFocus = document.activeElement === button;
  button.hidden = !more;
  if (hadFocus && !more) byId("conversation").focus({ preventScroll: true });
}

/** An answer finished, help lines or another tab's message arrived: told to ears, eyes and the tab's title. */
function happened({ kind, entry }) {
  if (kind === "unanswered") {
    say(t("unanswered"));
    return;
  }
  if (entry.role === "support") scroll.keepVisible(log.nodeOf(entry));
  const contacts = entry.role === "support" ? partOf(resourcesFor(entry))[0].map((resource) => spoken(resource, texts)) : [];
  const text = strip(entry.text) || t(entry.finish === "stopped" ? "stopped_early" : "no_answer");
  const brokenOff = entry.finish === "error" && entry.text !== "" ? [t("broke_off")] : [];
  say([t(`who_${entry.role}`), text, ...brokenOff, ...contacts].join(" "));
  if (!document.hidden || entry.role === "user") return;
  title.unread += 1;
}

function showProblem({ code, message, retryMs, repeated }) {
  // Ours follow the language of the page and leave the seconds to the countdown; the server knows the others.
  const known = SAME_PROBLEM[code] ?? code;
  const words = () => (KNOWN_PROBLEMS.has(known) ? t(`error_${known}`) : message || t("error_other"));
  status.notice(words, { retryMs, repeated });
}

/** The words of another language, from the file that the page names. */
async function loadWords(language) {
  const answer = await fetch(words.dataset[language]);
  if (!answer.ok) throw new Error(`no words: ${answer.status}`);
  return answer.json();
}

/** The person has chosen this language. */
function chooseOther(language) {
  storage.set("language", language);
  rememberChoice("language", language);
  return setLanguage(language);
}

async function setLanguage(language) {
  try {
    await texts.speak(language);
  } catch {
    status.partMissing();
    return;
  }
  fillWords(texts);
  label(byId("theme"), t(theme.current === "dark" ? "to_light" : "to_dark"));
  for (const view of [log, status, composer, scroll, help, exitView, title]) view.render();
  later?.render();
  byId("older").textContent = t("older");
  chat.setLocale();
}

let loadingOlder = false;

async function loadOlder() {
  if (loadingOlder) return;
  loadingOlder = true;
  const older = byId("older");
  older.textContent = t("older_loading");
  try {
    await chat.loadOlder((apply) => scroll.keepPlace(apply));
  } catch (error) {
    showProblem({ code: error.code, message: t("error_disconnected") });
  }
  older.textContent = t("older");
  loadingOlder = false;
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
  if (exit.left || (!chat.hasUnsent && !drafts.wouldBeLost)) return;
  event.preventDefault();
  event.returnValue = "";
}

function seen() {
  if (document.hidden) return;
  title.unread = 0;
  chat.wake();
}

for (const chip of document.querySelectorAll("#chips .chip")) {
  chip.onclick = () => {
    send(t(`chip_${chip.dataset.topic}_text`));
    composer.focus();
  };
}
byId("language").onclick = () => chooseOther(languageAfter(texts.language));
byId("theme").onclick = () => theme.toggle();
byId("menu-open").onclick = () => withLater(({ menu }) => menu.open());
for (const button of document.querySelectorAll("[data-open-way-back]")) button.onclick = () => openWayBack();
byId("older").onclick = loadOlder;
scroll.onTop = () => {
  if (!byId("older").hidden && chat.isConnected) loadOlder();
};
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && chat.isAnswering && document.querySelector("dialog[open]") === null) stop();
});
byId("older").textContent = t("older");
addEventListener("online", () => chat.wake());
addEventListener("offline", () => chat.sleep());
addEventListener("pageshow", (event) => event.persisted && chat.wake());
addEventListener("storage", (event) => {
  if (storage.concerns(event, "resume")) chat.tokenChanged();
  if (storage.concerns(event, "country")) placeChanged();
});
addEventListener("beforeunload", leaving);
document.addEventListener("visibilitychange", seen);

if (window.visualViewport) followKeyboard(visualViewport, document.documentElement, () => scrollTo(0, 0));
for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", refocus);
byId("save-plan").onclick = savePlan;
byId("see-help").onclick = () => help.open(card ?? {});
help.load();
offline.start();
refresh();
const language = chooseLanguage(storage.get("language"), texts.language);
if (language !== texts.language) setLanguage(language);
codeInAddress();
// A pointer is a hint of a real keyboard; on a phone the focus would throw the on-screen one at the person.
if (matchMedia("(pointer: fine)").matches) composer.focus();
begin();
// The page works, from this time of its life on in milliseconds: early.js need not say that it does not.
document.documentElement.dataset.ready = Math.round(performance.now());
