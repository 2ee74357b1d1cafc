// Text into the clipboard.

/** Whether `text` is in the clipboard now. Without HTTPS there is only the old way, by a field with the text. */
export async function copyText(text, field = null) {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
    return copyByField(text, field);
  } catch {
    return false;
  }
}

function copyByField(text, field) {
  const { activeElement } = document;
  const holder = field ?? document.createElement("textarea");
  if (field === null) {
    holder.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(holder);
  }
  holder.focus();
  holder.select();
  const copied = document.execCommand("copy");
  if (field === null) {
    holder.remove();
    activeElement?.focus({ preventScroll: true });
  }
  return copied;
}
