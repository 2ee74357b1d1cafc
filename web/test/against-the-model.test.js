// Anything that may happen, in any order: what the page shows at the end is what the model of the server has stored,
// and at no time do its parts disagree about what is open. After crates/client/src/conversation/tests/matches_model.rs.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Chat } from "../js/chat.js";
import { Drafts } from "../js/drafts.js";
import { Storage } from "../js/storage.js";
import { Tokens } from "../js/tokens.js";
import { Model } from "./model.js";
import { fakeIo, fakeStore } from "./peer.js";

const CASES = 2_000;
const STEPS = 60;

/** mulberry32: the same numbers for the same seed. */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

class World {
  #stores = { store: fakeStore(), tab: fakeStore() };
  said = [];
  poisoned = [];
  elsewhere = 0;

  constructor(random) {
    this.random = random;
    this.model = new Model(this.below(4) === 0 ? 3 : Infinity, this.below(2) === 0);
    // An error without an id is of the oldest message without `accepted`: true as long as none is swallowed.
    this.swallows = this.below(2) === 0;
    this.clock = fakeIo().clock;
    this.open();
  }

  below(count) {
    return Math.floor(this.random() * count);
  }

  /** Opens the page, for the first time or again. */
  open() {
    this.io?.sockets.forEach((socket) => Object.assign(socket, { onopen: null, onmessage: null, onclose: null }));
    this.model.wire = null;
    // The timers of a page that is closed are gone; the time goes on.
    const { clock } = fakeIo();
    clock.advance(this.clock.now() - clock.now());
    this.clock = clock;
    this.io = Object.assign(fakeIo({ random: this.random }), { clock });
    this.dead = new Set();
    const { io } = this;
    const [storage, tab] = [new Storage(this.#stores.store), new Storage(this.#stores.tab)];
    const nothing = () => {};
    this.chat = new Chat(io, new Tokens(storage, io.wall), new Drafts(tab, io.wall), {
      locale: () => "es", place: () => ({}), introduced: nothing, kept: nothing, change: nothing, turned: nothing, state: nothing, limits: nothing, accepted: nothing, problem: nothing,
      happened: nothing, restored: nothing, older: nothing, switched: nothing, gone: nothing, back: nothing,
    });
    this.chat.start();
  }

  /** Lets the newest socket of the page reach the server. */
  connect() {
    if (this.io.socket.readyState !== 0) return;
    this.read = 0;
    this.model.connect();
    this.io.socket.accept();
  }

  cut() {
    this.model.wire = null;
    if (this.io.socket.readyState === 1) this.io.socket.drop(1012);
  }

  /** So many frames of the page reach the server. */
  up(count) {
    const { socket } = this.io;
    if (socket.readyState !== 1 || this.model.wire === null) return;
    for (let taken = 0; taken < count && this.read < socket.sent.length; taken += 1) this.model.receive(socket.sent[this.read++]);
  }

  /** So many frames of the server reach the page; `lossy`: an `accepted` may go missing. */
  down(count, lossy = false) {
    for (let taken = 0; taken < count; taken += 1) {
      const frame = this.model.wire?.shift();
      if (frame === undefined) return;
      if (lossy && frame.type === "accepted") continue;
      this.io.socket.say(frame);
      if (this.io.socket.readyState !== 1) return;
    }
  }

  say(text) {
    this.chat.send(text);
    this.said.push(this.chat.conversation.entries.findLast(({ role, text: held }) => role === "user" && held === text).id);
  }

  step() {
    const { model } = this;
    const steps = [
      [3, () => this.say(`m${this.said.length}`)],
      [this.swallows ? 0 : 1, () => {
        this.say(`poison ${this.said.length}`);
        this.poisoned.push(this.said.at(-1));
      }],
      [1, () => model.elsewhere(`x${this.elsewhere++}`)],
      [1, () => model.forgetElsewhere()],
      // Without a connection, or when it is cut, nothing is changed.
      [1, () => this.chat.forgetLast().catch(() => {})],
      [6, () => this.up(1 + this.below(3))],
      [6, () => this.down(1 + this.below(5))],
      [this.swallows ? 1 : 0, () => this.down(1 + this.below(3), true)],
      // Other lives, other words; some of them begin in the same way.
      [6, () => model.piece(this.below(2) === 0 ? ["a", "ño", "🙂b", "a\u0301"][this.below(4)] : ["é", "z", "aa"][model.lives % 3])],
      [1, () => model.support()],
      [3, () => model.finish()],
      [1, () => model.refuse(["overloaded", "unavailable"][this.below(2)])],
      [1, () => { model.away = [null, "unavailable", "rate_limited", "overloaded"][this.below(4)]; }],
      [3, () => this.cut()],
      [1, () => {
        model.die();
        this.cut();
      }],
      [4, () => this.connect()],
      [4, () => this.clock.advance(this.below(4_000))],
      [1, () => this.clock.advance(25_000)],
      [1, () => this.open()],
    ];
    let place = this.below(steps.reduce((sum, [weight]) => sum + weight, 0));
    steps.find(([weight]) => (place -= weight) < 0)[1]();
  }

  /** Never two opinions about what is open, and nothing stored that still counts as unsent. */
  check() {
    const { chat, model } = this;
    const streaming = chat.conversation.entries.filter((entry) => entry.role === "assistant" && entry.streaming).map(({ id }) => id);
    assert.equal(chat.isAnswering, streaming.length > 0, `answering ${chat.isAnswering}, shown ${streaming}`);
    const onWire = this.io.socket.sent.filter(({ type }) => type === "message");
    assert.ok(onWire.length <= 400, "a flood");
    for (const id of this.said) {
      const stored = model.entries.filter((entry) => entry.id === id && entry.role === "user");
      assert.ok(stored.length <= 1, `${id} is stored ${stored.length} times`);
    }
  }

  /** Lets everything come to its end: what the server can do for it, it does. */
  async settle() {
    this.model.away = null;
    const rounds = 80 + 8 * this.said.length;
    for (let round = 0; round < rounds; round += 1) {
      // One that no word came about for three times is left to the person.
      const left = this.chat.conversation.entries.filter(({ state, error }) => state === "failed" && error === "timeout");
      if (round === 40) left.forEach((entry) => this.chat.retry(entry));
      // The `seq` of a message whose `accepted` was swallowed comes with the next connection.
      if (round === rounds - 40) this.cut();
      this.clock.advance(1_000);
      this.connect();
      for (let turn = 0; turn < 4; turn += 1) {
        this.up(Infinity);
        this.down(Infinity);
        this.model.piece("fin");
        this.model.finish();
        this.down(Infinity);
        // Requests are answered in promises.
        await null;
        await null;
      }
    }
  }
}

test("nothing is lost, doubled, reordered or stuck, whatever the server and the network do", async () => {
  for (let seed = 1; seed <= CASES; seed += 1) {
    const random = numbers(seed);
    const world = new World(random);
    try {
      for (let count = Math.floor(random() * STEPS); count > 0; count -= 1) {
        world.step();
        world.check();
        await null;
      }
      await world.settle();
      world.check();
      finalCheck(world);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
});

function finalCheck({ chat, model, said, poisoned }) {
  const shown = chat.conversation.entries;
  assert.equal(chat.isAnswering, false, "something is awaited for ever");
  for (const id of said) {
    if (poisoned.includes(id)) continue;
    if (model.erasures.some((erasure) => erasure.id === id)) {
      assert.ok(!shown.some((entry) => entry.id === id), `${id} is erased and still shown`);
      continue;
    }
    assert.ok(model.entryOf(id, "user"), `${chat.conversation.get("user", id)?.text} never reached the server: ${chat.conversation.get("user", id)?.state}`);
    // A page that was opened again has only the newest entries.
    if (model.entryOf(id, "user").seq >= chat.conversation.firstSeq) assert.equal(chat.conversation.get("user", id)?.state, "sent", id);
  }
  for (const id of poisoned) assert.equal(chat.conversation.get("user", id).state, "failed");
  // With what was replayed, or fetched for a gap, all that is on the page is as it is stored.
  const stored = model.entries.filter(({ seq }) => chat.conversation.entries.some((entry) => entry.seq === seq));
  assert.deepEqual(
    shown.filter(({ seq }) => seq !== null).map(({ seq, role, text }) => [seq, role, text]).sort(([a], [b]) => a - b),
    stored.map(({ seq, role, text }) => [seq, role, text]),
  );
  assert.equal(chat.conversation.lastSeq, model.seq, "a hole");
  // What was answered together with the next message is not offered an answer of its own, once the page has heard of that.
  for (const { id, finish } of model.entries) {
    if (finish === "merged" && chat.conversation.get("user", id)?.merged) assert.ok(!shown.some((entry) => entry.role === "assistant" && entry.id === id), `${id} has no answer of its own`);
  }
  // In the order of the server, each answer below its question.
  const questions = shown.filter(({ role, seq }) => role === "user" && seq !== null).map(({ seq }) => seq);
  assert.deepEqual(questions, [...questions].sort((a, b) => a - b));
}
