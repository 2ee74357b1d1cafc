// Loads a part of the page that is a script of its own. In the bundle it stands for `import()`: a script that a gateway of another version does
// not have is tried again, as `early.js` does with the first one, and a browser asks again for it each time.

const AGAIN_MS = [300, 1_000, 3_000];

/** The exports of the module in the script `src`; it takes the `modules` that it shares with the first script. */
export async function part(src, modules) {
  for (const wait of [0, ...AGAIN_MS]) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    const run = await loaded(src);
    if (run !== null) return run(...modules);
  }
  throw new Error(`${src} is not there`);
}

/** The function in the script; null if it did not come. */
function loaded(src) {
  return new Promise((resolve) => {
    const script = document.createElement("script");
    script.onload = () => resolve(script.run);
    script.onerror = () => resolve(null);
    script.src = src;
    document.head.append(script);
  });
}
