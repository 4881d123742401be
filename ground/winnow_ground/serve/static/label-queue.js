// Answers on their way to the server. Each is kept in the browser's own storage until the server
// has said that it is on its disk; a page that is closed, a server that dies, lose none of them.
import { change } from "/static/change.js";

const MOST = 200; // answers of one request
const WAIT = [300, 5000]; // milliseconds before a further try, the first and the longest

export class Queue {
  #prefix; #aside; #told; #memory = new Map(); #count = 0; #busy = false; #wait = WAIT[0]; #idle = [];

  /** Answers of `person` in the set of that number, made then; `told` is called with ("saved" | "saving" | "away", how many, why), `net` with what
   *  the net said of tiles that are kept, `refused` with an answer that the server will not have.
   *  Such an answer is put aside, in the browser's storage too, until it is tried again or dropped. */
  constructor(person, set, made, { told, net = () => {}, refused = () => {} }) {
    // Another catalogue may be served at this address some day: its pages leave these answers alone.
    this.#prefix = `winnow-answer:${encodeURIComponent(person)}:${set}:${made}:`;
    this.#aside = `winnow-refused:${encodeURIComponent(person)}:${set}:${made}:`;
    this.#told = { told, net, refused };
    if (this.waiting().length) this.#send();
  }

  /** Keep an answer and send it; its name. */
  put(answer) {
    const order = `${String(Date.now()).padStart(15, "0")}-${String(this.#count++).padStart(6, "0")}`;
    const client = `${order}-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    this.#keep(this.#prefix + client, JSON.stringify({ ...answer, client }));
    this.#send();
    return client;
  }

  #keep(key, text) {
    try {
      localStorage.setItem(key, text);
    } catch {
      this.#memory.set(key, text); // no storage, or no room in it
    }
  }

  /** All that is not on the server's disk yet, in order. */
  waiting() {
    return this.#kept(this.#prefix);
  }

  #kept(prefix) {
    const found = new Map([...this.#memory].filter(([key]) => key.startsWith(prefix)));
    try {
      for (let i = 0; i < localStorage.length; i++) {
        const key = localStorage.key(i);
        if (key.startsWith(prefix)) found.set(key, localStorage.getItem(key));
      }
    } catch {
      // no storage
    }
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** The same as answers; what is damaged is dropped. */
  pending() {
    return this.#read(this.#prefix);
  }

  /** Answers that the server would not have, each with the reason as `why`. */
  refused() {
    return this.#read(this.#aside).map(([, one]) => one);
  }

  /** Send those that were refused once more. */
  retry() {
    for (const [key, { why, ...answer }] of this.#read(this.#aside)) {
      this.#keep(this.#prefix + answer.client, JSON.stringify(answer));
      this.#drop(key);
    }
    this.#send();
  }

  /** Let those that were refused go. */
  forget() {
    for (const [key] of this.#kept(this.#aside)) this.#drop(key);
  }

  #read(prefix) {
    const found = [];
    for (const [key, text] of this.#kept(prefix)) {
      try {
        found.push([key, JSON.parse(text)]);
      } catch {
        this.#drop(key);
      }
    }
    return found;
  }

  /** Whether an answer would be lost with the page: the browser has no storage for it. */
  get volatile() {
    return this.#memory.size > 0;
  }

  /** Fulfilled when nothing waits. */
  drained() {
    if (!this.#busy && !this.waiting().length) return Promise.resolve();
    return new Promise((done) => this.#idle.push(done));
  }

  #drop(key) {
    this.#memory.delete(key);
    try {
      localStorage.removeItem(key);
    } catch {
      // no storage
    }
  }

  async #send() {
    if (this.#busy) return;
    this.#busy = true;
    let waiting = this.pending();
    try {
      while (waiting.length) {
        this.#told.told("saving", waiting.length);
        await this.#post(waiting.slice(0, MOST));
        this.#wait = WAIT[0];
        waiting = this.pending();
      }
      this.#busy = false;
      this.#told.told("saved", 0);
      for (const done of this.#idle.splice(0)) done();
    } catch (error) {
      this.#told.told("away", waiting.length, error.message);
      setTimeout(() => {
        this.#busy = false;
        this.#send();
      }, this.#wait);
      this.#wait = Math.min(2 * this.#wait, WAIT[1]);
    }
  }

  async #post(answers) {
    const told = await change("/label/answers", { answers: answers.map(([, answer]) => answer) });
    if (!Array.isArray(told.kept)) throw new Error("nobody is logged in");
    if (told.refused.some((one) => one.elsewhere)) throw new Error("another catalogue is served here");
    const why = new Map(told.refused.map((one) => [one.client, one.error]));
    const done = new Set([...told.kept, ...why.keys()]);
    for (const [key, answer] of answers) {
      if (!done.has(answer.client)) throw new Error("the server did not take all");
      const said = why.get(answer.client);
      if (said !== undefined) this.#keep(this.#aside + answer.client, JSON.stringify({ ...answer, why: said }));
      this.#drop(key);
      if (said !== undefined) this.#told.refused(answer);
    }
    this.#told.net(told.net);
  }
}
