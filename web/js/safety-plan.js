// The safety plan that was made in the conversation, as a text for the person to keep. The server reads it out of what is
// stored (`safety_plan`). Pure.

/** The exercise that the questions of the plan come with. */
export const SAFETY_PLAN = "safety_plan";

/**
 * A plan as the server tells it, as a text file. `words`: {made, lines, about}; `resources` of the wire, those to be called first
 * first.
 */
export function planText({ title, steps, footer }, resources, words) {
  const plan = steps.map(({ heading, text }, index) => `${index + 1}. ${heading}\n   ${text}`);
  const lines = resources.map(({ name, contact, hours }) => `- ${name}: ${contact}${hours ? ` (${hours})` : ""}`);
  const parts = [`${title}\n${words.made}`, ...plan, footer, `${words.lines}\n${lines.join("\n")}`, words.about];
  // Windows' editor, too, shows lines.
  return `${parts.join("\n\n")}\n`.replaceAll("\n", "\r\n");
}
