// Wires what opens on demand: the menu and all it leads to, and the exercises. With what only they need it is a script of its own, loaded
// by `main.js` once the conversation is there.

import { BreathView } from "./breath-view.js";
import { byId } from "./dom.js";
import { Exercises } from "./exercises.js";
import { giveFile } from "./files.js";
import { Menu } from "./menu.js";
import { MoodView, moodWords } from "./mood-view.js";
import { Moods } from "./moods.js";
import { MyData } from "./my-data.js";
import { MyPlan } from "./my-plan.js";
import { Records } from "./records-view.js";
import { Search } from "./search.js";
import { StartOver } from "./start-over.js";
import { CODE_IN_ADDRESS } from "./tokens.js";
import { WayBack } from "./way-back.js";

/**
 * @param page what `main.js` has: {chat, composer, givePlan(plan, about), log, ownPlan, placeChanged(), say(words), scroll, send(text), speech,
 *   status, storage, texts, tokens, vibrate(pattern), wall()}
 */
export function wire(page) {
  const { chat, ownPlan, say, send, speech, texts, vibrate } = page;
  const moods = new Moods(page.storage, page.wall);
  const wayBack = wayBackOf(page);
  const startOver = new StartOver(texts, () => chat.startOver(), () => finished(page, "start_over_done"));
  const exercises = new Exercises(texts, { speech, vibrate, exercised: send });
  const myPlan = new MyPlan(texts, ownPlan, {
    told: () => chat.safetyPlan(), send, save: (plan) => page.givePlan(plan, texts.t("own_plan_about")), persist: keepStored, say,
  });
  const moodView = new MoodView(texts, moods, say);
  const search = new Search(texts, { everything: () => chat.everything(), go: (seq, ready) => goTo(page, seq, ready) });
  const records = recordsOf(page, myPlan, moods);
  const myData = new MyData(texts, {
    about: () => chat.about(), save: (kind) => records.save(kind), print: () => records.print(), link: () => chat.link(),
    address: (code) => `${location.origin}${location.pathname}#${CODE_IN_ADDRESS}=${code}`,
    enterCode: () => wayBack.open(), closeOthers: () => chat.closeElsewhere(), leave: () => leaveDevice(page, moods), wayBack: () => wayBack.open(),
    forgetLast: () => chat.forgetLast(), hasLast: () => chat.lastMessage !== undefined, eraseAll: () => startOver.ask(),
    summary: () => chat.summary(), forgetSummary: () => chat.forgetSummary(), isKept: () => chat.isKept, say,
  });
  const menu = new Menu(texts, [
    { name: "way_back_title", id: "way-back", open: () => wayBack.open() },
    { name: "search_title", id: "search-open", open: () => search.open() },
    { name: "exercises_title", id: "exercises-open", open: () => exercises.open() },
    { name: "plan_title", id: "my-plan-open", open: () => myPlan.open() },
    { name: "mood_title", id: "mood-open", open: () => moodView.open() },
    { name: "data_title", id: "my-data-open", open: () => myData.open() },
  ]);
  return {
    menu,
    exercises,
    startOver,
    wayBack,
    /** An exercise within the conversation. */
    breath: (name, exercised) => new BreathView(name, texts, { speech, vibrate, exercised }),
    /** Another conversation is on the page. */
    switched() {
      // The question was about the conversation that was there, and so is the code.
      startOver.withdraw();
      wayBack.render();
      myData.withdraw();
    },
    restored: () => wayBack.render(),
    /** The language is another. */
    render() {
      for (const view of [startOver, wayBack, exercises, myPlan, moodView, myData]) view.render();
    },
  };
}

function wayBackOf(page) {
  const { chat, tokens, texts, say } = page;
  const wayBack = new WayBack(texts, {
    code: () => chat.code,
    earlier: () => tokens.previous,
    goOn: (token) => chat.goOnWith(token),
    say,
    // What opened the dialog may be gone with the conversation that was there.
    done: () => finished(page, "code_done"),
  });
  byId("begin-another").onclick = () => beginAnother(page, wayBack, true);
  byId("begin-unkept").onclick = () => beginAnother(page, wayBack, false);
  return wayBack;
}

function finished({ composer, say, status, texts }, name) {
  status.clearNotice();
  say(texts.t(name));
  composer.focus();
}

/** Another conversation; what was not sent is in the field, for the person to send or not. */
function beginAnother(page, wayBack, keep) {
  const { chat, composer } = page;
  const unsent = chat.takeBackUnsent({ all: true });
  wayBack.close();
  chat.begin({ keep });
  if (unsent !== "") composer.putBack(unsent);
  finished(page, "begun");
}

function recordsOf({ chat, texts, wall }, myPlan, moods) {
  return new Records(texts, {
    everything: () => chat.everything(),
    // The steps for a professional: those of the page, and those of the conversation.
    plan: async () => [...myPlan.steps, ...((await chat.safetyPlan())?.steps ?? [])],
    moods: () => moods.notes.map((note) => moodWords(note, texts)),
    give: giveFile,
    wall,
  });
}

/** Whether the browser keeps what the page has stored, as far as it says so. */
async function keepStored() {
  try {
    return (await navigator.storage?.persist?.()) === true;
  } catch {
    return false;
  }
}

/** Takes everything off this device; the conversation stays where it is. */
function leaveDevice({ chat, composer, ownPlan, placeChanged, status, storage, texts }, moods) {
  ownPlan.erase();
  moods.erase();
  storage.remove("country");
  placeChanged();
  composer.replace("");
  chat.leave();
  status.notice(() => texts.t("data_left"));
}

/** Shows the entry of this `seq`, or the next one there is. */
async function goTo({ chat, log, scroll }, seq, ready) {
  await chat.loadUntil(seq, (apply) => scroll.keepPlace(apply));
  ready();
  const entry = chat.conversation.entries.find((held) => held.seq >= seq);
  if (entry) scroll.show(log.nodeOf(entry));
}
