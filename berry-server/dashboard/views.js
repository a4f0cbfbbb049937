// The views of the page. They share the token, which is in the page's memory alone, so they are one page.

import { $ } from "./dom.js";

const VIEWS = ["overview", "usage", "keys"];
const entered = new Map();

/** The view that is shown. */
export const view = () => document.body.dataset.view;

/** Calls back whenever a view is shown. */
export const onView = (name, then) => entered.set(name, then);

function show() {
  const wanted = location.hash.slice(1);
  const name = VIEWS.includes(wanted) ? wanted : "overview";
  document.body.dataset.view = name;
  for (const other of VIEWS) {
    const link = $(`to-${other}`);
    if (other === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (other !== "overview") $(other).hidden = other !== name;
  }
  entered.get(name)?.();
}

addEventListener("hashchange", show);
/** Shows the view that the address names. Called once all views are there. */
export const start = show;
