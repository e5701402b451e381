// What the theme leaves out for those who use a keyboard or a screen reader.

function letTablesScrollByKeyboard() {
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
    else table.removeAttribute("tabindex");
  }
}

addEventListener("load", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  letTablesScrollByKeyboard();
});
addEventListener("resize", letTablesScrollByKeyboard);
