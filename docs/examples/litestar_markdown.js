// Markdown as elements: paragraphs, lists, code, bold, italics and links. All text becomes text nodes,
// so that none of it is ever markup, and a link leads to http or https.
"use strict";

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const INLINE = new RegExp([
  "`(?<code>[^`]+)`",
  String.raw`\*\*(?<bold>[^\s*](?:[^\n]*?\S)?)\*\*`,
  String.raw`\*(?<italic>[^\s*](?:[^*\n]*[^\s*])?)\*`,
  String.raw`(?<!\w)_(?<under>[^\s_](?:[^_\n]*[^\s_])?)_(?!\w)`,
  String.raw`\[(?<label>[^\[\]\n]+)\]\((?<href>https?://[^\s()]+)\)`,
  String.raw`(?<url>https?://[^\s<>()]*[^\s<>().,;:!?'"*_])`,
].join("|"), "g");
const ITEM = /^ {0,3}([-*+]|\d{1,9}[.)]) +(.*)$/;

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(INLINE)) {
    const { code, bold, italic, under, label, href, url } = found.groups;
    nodes.push(text.slice(end, found.index));
    if (code) nodes.push(element("code", {}, code));
    else if (bold) nodes.push(element("strong", {}, ...inline(bold)));
    else if (italic ?? under) nodes.push(element("em", {}, ...inline(italic ?? under)));
    else nodes.push(element("a", { href: href ?? url, rel: "noreferrer", target: "_blank" }, label ?? url));
    end = found.index + found[0].length;
  }
  return [...nodes, text.slice(end)];
}

function markdown(text, depth = 0) {
  const lines = text.split("\n"), nodes = [];
  let at = 0;
  const isItem = () => depth < 8 && ITEM.exec(lines[at] ?? "");
  const isFence = () => /^ {0,3}```/.test(lines[at]);
  while (at < lines.length) {
    const heading = /^#{1,6} +(.*)/.exec(lines[at]);
    let item = isItem();
    if (!lines[at].trim()) at += 1;
    else if (isFence()) {
      const code = [];
      for (at += 1; at < lines.length && !isFence(); at += 1) code.push(lines[at]);
      at += 1;
      nodes.push(element("pre", {}, element("code", {}, code.join("\n"))));
    } else if (heading) {
      nodes.push(element("p", {}, element("strong", {}, ...inline(heading[1]))));
      at += 1;
    } else if (item) {
      const number = parseInt(item[1], 10);
      const list = number >= 0 ? element("ol", { start: number }) : element("ul", {});
      for (; item && (parseInt(item[1], 10) >= 0) === number >= 0; item = isItem()) {
        const inside = [];
        // What is indented belongs to the item, with the empty lines in between.
        for (at += 1; /^\s+\S/.test(lines[at] || lines[at + 1] || ""); at += 1) inside.push(lines[at]);
        const indents = inside.filter((line) => line.trim()).map((line) => line.search(/\S/));
        const indent = indents.reduce((least, each) => Math.min(least, each), Infinity);
        const content = [item[2], ...inside.map((line) => line.slice(indent))].join("\n");
        list.append(element("li", {}, ...markdown(content, depth + 1)));
        while (lines[at] === "" && ITEM.test(lines[at + 1] ?? "")) at += 1;
      }
      nodes.push(list);
    } else {
      const from = at;
      do at += 1; while (at < lines.length && lines[at].trim() && !isFence() && !isItem());
      nodes.push(element("p", {}, ...inline(lines.slice(from, at).join("\n"))));
    }
  }
  return nodes;
}
