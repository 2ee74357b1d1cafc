// Light or dark: the system's choice until the person makes their own.

export class Theme {
  #storage;
  #system = matchMedia("(prefers-color-scheme: dark)");
  #changed;

  /** `changed(theme)` runs at once and after every change. */
  constructor(storage, changed) {
    this.#storage = storage;
    this.#changed = changed;
    this.#system.addEventListener("change", () => this.#apply());
    this.#apply();
  }

  get current() {
    const chosen = this.#storage.get("theme");
    if (chosen === "light" || chosen === "dark") return chosen;
    return this.#systemTheme;
  }

  toggle() {
    const wanted = this.current === "dark" ? "light" : "dark";
    // Back to what the system says means "follow the system" again, or the choice could never be undone.
    if (wanted === this.#systemTheme) this.#storage.remove("theme");
    else this.#storage.set("theme", wanted);
    this.#apply();
  }

  get #systemTheme() {
    return this.#system.matches ? "dark" : "light";
  }

  #apply() {
    const root = document.documentElement;
    root.dataset.theme = this.current;
    const page = getComputedStyle(root).getPropertyValue("--page").trim();
    document.querySelector('meta[name="theme-color"]').content = page;
    this.#changed(this.current);
  }
}
