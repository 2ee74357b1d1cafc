// From a line's contact, as people write it, to a link that works. Pure.

/** `{href, text, rest}`: what to link and what stands after it, or null if there is nothing to call. */
export function phoneLink(contact, channel = "tel") {
  // The number stands first and may be followed by words: "113 opción 5", "988 (press 2 …)".
  const match = /^[+*#(\d][\d\s*#().-]*\d\)?/.exec(contact);
  if (match === null) return null;
  const text = match[0];
  const digits = text.replace(/[^\d+*#]/g, "").replaceAll("#", "%23");
  return { href: `${channel}:${digits}`, text, rest: contact.slice(text.length).trim() };
}

/** The address if it is a web address that may be linked, else null. */
export function webLink(url) {
  try {
    const parsed = new URL(url);
    return parsed.protocol === "https:" ? parsed.href : null;
  } catch {
    return null;
  }
}
