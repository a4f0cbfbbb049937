// Light, dark, or as the system has it. It runs before the page is painted. The choice is all that
// this page ever stores.
(() => {
  "use strict";
  const KEY = "berry-theme";
  const NEXT = { auto: "light", light: "dark", dark: "auto" };
  const root = document.documentElement;

  const stored = () => {
    try {
      const theme = localStorage.getItem(KEY);
      return theme in NEXT ? theme : "auto";
    } catch {
      return "auto"; // Storage may be switched off.
    }
  };

  let theme = stored();
  root.dataset.theme = theme;

  const changed = () => document.dispatchEvent(new Event("berry:theme"));

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => {
      button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
      button.setAttribute("aria-label", `Theme: ${theme}. Switch to ${NEXT[theme]}`);
    };
    show();
    button.addEventListener("click", () => {
      theme = NEXT[theme];
      root.dataset.theme = theme;
      try {
        if (theme === "auto") localStorage.removeItem(KEY);
        else localStorage.setItem(KEY, theme);
      } catch {
        // It holds until the page is closed.
      }
      show();
      changed();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  });
})();
