// Delays before the next attempt. Pure: randomness comes from the caller.

export const BACKOFF_FIRST_MS = 500;
/** Longest ceiling while the person looks at the page. */
export const BACKOFF_MAX_MS = 4_000;
/** Longest ceiling while the page is not seen; coming back to it tries at once. */
export const BACKOFF_UNSEEN_MS = 15_000;
/** Longest wait between two tries of a message, unless the server asks for more. */
const RETRY_MAX_MS = 30_000;

/**
 * Exponential backoff with full jitter: anywhere between 0 and the ceiling, so that the people a
 * restart cut off at the same instant do not come back at the same instant.
 */
export function backoffMs(attempt, random, max = BACKOFF_MAX_MS) {
  const ceiling = Math.min(max, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.floor(random() * ceiling);
}

/** A wait the server asked for, never shortened, spread over half as much again. */
export function spreadMs(askedMs, random) {
  const asked = Math.max(0, askedMs);
  return asked + Math.floor(random() * Math.max(BACKOFF_FIRST_MS, asked / 2));
}

/** Delay before retry number `tries` of a message: at least `askedMs`, growing, with jitter. */
export function retryMs(askedMs, tries, random) {
  const growing = Math.min(RETRY_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(tries, 16));
  return spreadMs(Math.max(askedMs ?? 0, growing), random);
}
