// The conversation as files: as text, as JSON, and as something to take to a therapist. Pure.

/** Entries of the wire as lines: who, when, what. `words`: {who(role), when(date), day(date)}. */
function lines(entries, words) {
  let day = null;
  return entries.flatMap((entry) => {
    const at = new Date(entry.at);
    const today = words.day(at);
    const heading = today === day ? [] : [`— ${today} —`];
    day = today;
    return [...heading, `${words.who(entry.role)} (${words.when(at)})\n${entry.text}`];
  });
}

/** `words` as of {@link lines}, with {title, about}. */
export function asText(entries, words) {
  return file([words.title, words.about, ...lines(entries, words)]);
}

/** What the server has, as it has it. */
export function asJson(entries, { exported_at }) {
  return `${JSON.stringify({ format: "psicoia.conversation.1", exported_at, entries: entries.map(({ type, ...entry }) => entry) }, null, 2)}\n`;
}

/**
 * For a professional: first what the person has written down (plan and mood, of which either may be empty), then the conversation.
 * `words` as of {@link asText}, with {planTitle, moodTitle, talkTitle}.
 */
export function forTherapist(entries, { plan, moods }, words) {
  const steps = plan.map(({ heading, text }) => `${heading}:\n${text}`);
  const notes = moods.map(({ when, words: mood }) => `${when}: ${mood}`);
  return file([
    words.title, words.about,
    ...(steps.length > 0 ? [words.planTitle, ...steps] : []),
    ...(notes.length > 0 ? [words.moodTitle, notes.join("\n")] : []),
    words.talkTitle, ...lines(entries, words),
  ]);
}

/** Windows' editor, too, shows lines. */
function file(parts) {
  return `${parts.join("\n\n")}\n`.replaceAll("\n", "\r\n");
}
