// The rhythm of a breathing exercise. Pure; breath-view.js shows it.

/** Seconds of each part. A long breath out calms most; nobody is asked to hold who is not used to it. */
const RHYTHMS = {
  breath_long: [["in", 4], ["out", 8]],
  breath_box: [["in", 4], ["hold", 4], ["out", 4], ["rest", 4]],
};

/** It ends by itself after this time. */
export const LASTS_S = 5 * 60;

/** `[{part, seconds}]`, null for what is no breathing exercise. */
export function rhythmOf(exercise) {
  return Object.hasOwn(RHYTHMS, exercise) ? RHYTHMS[exercise].map(([part, seconds]) => ({ part, seconds })) : null;
}

/** Where a rhythm stands `elapsed` seconds after its beginning: `{part, seconds, left}`, null at the end. */
export function breathAt(rhythm, elapsed) {
  const cycle = rhythm.reduce((sum, { seconds }) => sum + seconds, 0);
  // Not in the middle of a breath.
  if (elapsed >= Math.ceil(LASTS_S / cycle) * cycle) return null;
  let at = elapsed % cycle;
  for (const { part, seconds } of rhythm) {
    if (at < seconds) return { part, seconds, left: Math.ceil(seconds - at) };
    at -= seconds;
  }
  return null;
}

/** How a device that can be felt tells a part (`navigator.vibrate`): in as a long one, out as two short ones, else a touch. */
export function vibrationOf(part) {
  return { in: [300], out: [120, 120, 120] }[part] ?? [60];
}
