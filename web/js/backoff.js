// How long to wait before the next attempt to connect. Pure: randomness comes from the caller.

export const BACKOFF_FIRST_MS = 500;
export const BACKOFF_MAX_MS = 15_000;

/**
 * Exponential backoff with full jitter: anywhere between 0 and the ceiling, so that the people a
 * restart cut off at the same instant do not come back at the same instant.
 */
export function backoffMs(attempt, random) {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.floor(random() * ceiling);
}

/** A wait the server asked for, never shortened, spread over half as much again. */
export function spreadMs(askedMs, random) {
  const asked = Math.max(0, askedMs);
  return asked + Math.floor(random() * Math.max(BACKOFF_FIRST_MS, asked / 2));
}
