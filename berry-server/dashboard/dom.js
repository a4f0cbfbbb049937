// The page's elements. Everything that comes from data goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/** A new element; a child that is no node becomes text, and one that is null is left out. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") element.className = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** One of the page's icons. It stands beside words that say the same. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Sets a text, unless it is there: what does not change is not announced, nor loses a selection. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Fills an element anew, unless `key` says that the same is in it. */
export function fill(element, key, make) {
  if (element.filledWith === key) return;
  element.filledWith = key;
  element.replaceChildren(...[make()].flat());
}

/** What a region says: an icon and words, announced where the region is live. */
export function say(element, tone, words) {
  element.dataset.tone = tone ?? "";
  fill(element, `${tone}\n${words}`, () => {
    const shown = { ok: "ok", warn: "warn", bad: "bad" }[tone];
    return words ? [...(shown ? [icon(shown)] : []), h("span", {}, words)] : [];
  });
}
