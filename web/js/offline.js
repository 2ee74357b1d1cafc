// The worker that keeps the page, the help lines and the exercises for the time without a connection (sw.js), and the change to a
// new version: the person's choice, and never half of it.

export class Offline {
  #workers;
  #on;
  #registration = null;
  /** This page asked for the new version. */
  #renewing = false;

  /** @param workers `navigator.serviceWorker`, undefined where there is none; on {ready() (a new version is there), reload()} */
  constructor(workers, on) {
    this.#workers = workers;
    this.#on = on;
  }

  /** Without a worker the page works as long as there is a connection. */
  async start() {
    if (this.#workers === undefined) return;
    // The first worker of a browser is no new version.
    let known = this.#workers.controller !== null;
    this.#workers.addEventListener("controllerchange", () => {
      if (this.#renewing) this.#on.reload();
      else if (known) this.#on.ready();
      known = true;
    });
    try {
      this.#registration = await this.#workers.register("sw.js");
    } catch {
      return;
    }
    if (this.#registration.waiting !== null) this.#on.ready();
    this.#registration.addEventListener("updatefound", () => this.#follow(this.#registration.installing));
  }

  /** Loads the page again, in the newest version there is. */
  async renew() {
    const worker = await this.#newest();
    this.#renewing = true;
    if (worker === null) this.#on.reload();
    else worker.postMessage("skip-waiting");
  }

  async #follow(worker) {
    const known = this.#workers.controller !== null;
    if ((await installed(worker)) && known) this.#on.ready();
  }

  /** The worker of a newer version; null if there is none. */
  async #newest() {
    const registration = this.#registration;
    if (registration === null) return null;
    if (registration.waiting === null) await registration.update().catch(() => {});
    if (registration.installing !== null) await installed(registration.installing);
    return registration.waiting;
  }
}

/** Waits until the worker has all its files; false if it could not get them. */
function installed(worker) {
  return new Promise((resolve) => {
    worker.addEventListener("statechange", () => {
      if (worker.state !== "installing") resolve(worker.state === "installed");
    });
  });
}
