// From a help line, as the wire or help-lines.json has it, to what a person can do with it. Pure.

const DIRECT = /^[+(\d][\d\s().-]*\d/;
/** Starts with `*` or `#`: phones do not take such a number from a link. */
const SERVICE_CODE = /^[*#][\d*#\s]*\d#?/;

/**
 * The ways to reach a line, the one to try first first: `{how, text, href?, to?, body?}`, `how` one of `call`, `copy` (a number
 * to be dialled by hand), `sms`, `whatsapp`, `site` and `words` (nothing that can be pressed).
 */
export function waysOf({ contact = "", dial, sms, whatsapp, url }) {
  const ways = [];
  const number = dial ?? DIRECT.exec(contact)?.[0];
  const code = SERVICE_CODE.exec(contact)?.[0];
  if (number) ways.push({ how: "call", text: contact || number, href: telLink(number) });
  else if (code) ways.push({ how: "copy", text: code });
  if (sms?.to) ways.push({ how: "sms", text: sms.to, href: smsLink(sms), to: sms.to, body: sms.body || null });
  const chat = whatsapp ? `https://wa.me/${digitsOf(whatsapp)}` : null;
  if (chat) ways.push({ how: "whatsapp", text: whatsapp, href: chat });
  const site = url ? webLink(url) : null;
  if (site) ways.push({ how: "site", text: new URL(site).host.replace(/^www\./, ""), href: site });
  return ways.length > 0 ? ways : [{ how: "words", text: contact }];
}

function telLink(number) {
  return `tel:${number.replace(/[^\d+]/g, "")}`;
}

/** RFC 5724. */
function smsLink({ to, body }) {
  const number = to.replace(/[^\d+]/g, "");
  return body ? `sms:${number}?body=${encodeURIComponent(body)}` : `sms:${number}`;
}

function digitsOf(number) {
  return number.replace(/\D/g, "");
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
