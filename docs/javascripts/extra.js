// What the theme leaves out for those who use a keyboard or a screen reader.

function letTablesScrollByKeyboard() {
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
    else table.removeAttribute("tabindex");
  }
}

addEventListener("load", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  for (const box of document.querySelectorAll(".task-list-control input")) {
    box.ariaHidden = "true"; // it cannot be ticked, and has no name
  }
  letTablesScrollByKeyboard();
});
addEventListener("resize", letTablesScrollByKeyboard);
