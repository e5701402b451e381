// The page's script. Elements are made by litestar_markdown.js, and never of a text.
"use strict";

const $ = (id) => document.getElementById(id);
const drafts = new Map(); // what is typed and not sent, for each conversation
let user = ""; // who is logged in
let shown = ""; // the conversation on the page
let messages = []; // its newest messages, as the server has them
let live = null; // the answer that is under way: {id, after, nodes}
let unsent = null; // what could not be sent, and is in the composer again: {id, text, after}
let atEnd = true; // the newest message is in sight
let lost = false; // the server did not answer the last time
let hurry = () => {}; // tries again at once
let loads = 0; // a load gives way to the next one
let loading = Promise.resolve();

// -- The server --------------------------------------------------------------------------------

const url = (id) => `/agents/sessions/${encodeURIComponent(id)}`;

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({ detail: response.statusText }));
  if (response.status === 401 && path !== "/login") {
    show("door");
    $("refused").textContent = user && "Your login has ended. Log in again: what you typed is kept.";
  }
  throw Object.assign(new Error(detail), { status: response.status });
}

// Reading changes nothing, so it is tried until the server is back, or the page wants something else.
async function read(path, wanted) {
  for (let seconds = 1; ; seconds = Math.min(2 * seconds, 10)) {
    try {
      const found = await (await call("GET", path)).json();
      if (lost) tell(unsent ? "The server is back. Your message was not sent." : "");
      lost = false;
      return found;
    } catch (error) {
      if (!wanted() || (error.status && ![502, 503, 504].includes(error.status))) throw error;
      lost = true;
      show("chat");
      tell("The server does not answer. Trying again…");
      await new Promise((resolve) => {
        hurry = resolve;
        setTimeout(resolve, seconds * 1000);
      });
      if (!wanted()) throw error;
    }
  }
}

// The events of a response: "event: …" and "data: …" lines, an empty line after each event.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\r\n\r\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\r\n").map((line) => line.split(/: (.*)/s)));
      if (fields.event) yield [fields.event, JSON.parse(fields.data)];
    }
  }
}

// -- What is on the page -----------------------------------------------------------------------

function show(which) {
  if (!$(which).hidden) return;
  $("door").hidden = which !== "door";
  $("chat").hidden = which !== "chat";
  $(which === "chat" ? "message" : user ? "password" : "name").focus();
  grow();
}

function tell(text) {
  $("notice").textContent = text;
  $("send").textContent = unsent?.id === shown ? "Send again" : "Send";
}

function type(text) {
  $("message").value = text;
  grow();
}

function grow() {
  $("message").style.height = "auto";
  $("message").style.height = `${$("message").scrollHeight + 2}px`; // and its border
}

// On a phone, the conversations are in a drawer.
function drawer(open) {
  if (open === $("conversation").inert) return;
  $("chat").classList.toggle("open", open);
  $("menu").setAttribute("aria-expanded", open);
  $("conversation").inert = open;
  (open ? $("new") : $("menu")).focus();
}

function toEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

// Who reads the end goes on to read the end; who has scrolled up stays there.
function look() {
  atEnd = $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 40;
  $("newest").hidden = atEnd;
}

function follow(change) {
  change();
  if (atEnd) toEnd(); else look();
}

function bubble(role, ...content) {
  const who = role === "user" ? "You said:" : "The assistant said:";
  return element("li", { className: role },
    element("span", { className: "unseen" }, who), element("div", { className: "text" }, ...content));
}

function toolCall({ tool_name: name, content }, open) {
  let shownContent = content;
  try { shownContent = JSON.stringify(JSON.parse(content), null, 2); } catch { /* as it is */ }
  return element("li", { className: "tool" }, element("details", { open },
    element("summary", {}, open ? `Using ${name}…` : `Used ${name}`), element("pre", {}, shownContent)));
}

// The output goes to its call, which is folded.
function toolOutput(item, name, content) {
  const details = item.firstChild;
  details.open = false;
  details.firstChild.textContent = `Used ${name}`;
  details.append(element("pre", {}, content));
}

function drawMessages() {
  const calls = new Map(), nodes = [];
  const isLive = live?.id === shown;
  for (const message of messages) {
    if (isLive && message.position > live.after) break; // it is shown as it comes
    const { role, content, tool_call_id: callId, tool_name: name } = message;
    if (role === "tool" && calls.has(callId)) toolOutput(calls.get(callId).item, calls.get(callId).name, content);
    else if (role === "tool" || name) {
      const item = toolCall({ tool_name: name ?? "a tool", content }, false);
      if (callId) calls.set(callId, { item, name });
      nodes.push(item);
    } else if (content && role === "user") nodes.push(bubble("user", content));
    else if (content && role === "assistant") nodes.push(bubble("assistant", ...markdown(content)));
  }
  $("messages").replaceChildren(...nodes, ...(isLive ? live.nodes : []));
  $("empty").hidden = $("messages").children.length > 0;
  $("log").setAttribute("aria-live", "off"); // what was said before is not read out
  $("log").setAttribute("aria-busy", isLive);
}

function drawSessions(sessions) {
  const current = sessions.find((each) => each.session_id === shown);
  const name = (each) => each.session_name || each.session_id;
  const focused = $("sessions").contains(document.activeElement) && document.activeElement.href;
  $("sessions").replaceChildren(...sessions.map((each) => {
    const link = element("a", { href: `#${encodeURIComponent(each.session_id)}` }, name(each));
    if (each === current) link.setAttribute("aria-current", "page");
    return element("li", {}, link);
  }));
  [...$("sessions").querySelectorAll("a")].find((link) => link.href === focused)?.focus();
  $("title").textContent = current ? name(current) : "New conversation";
  $("tools").hidden = !current;
}

// -- Conversations -----------------------------------------------------------------------------

// The conversation of the address; "" where there is none. A browser takes "." and ".." out of
// a path, however they are escaped.
function session() {
  try {
    const id = decodeURIComponent(location.hash.slice(1));
    return id === "." || id === ".." ? "" : id;
  } catch {
    return "";
  }
}

function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  location.hash = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Reads everything anew; what is drawn already stays where `drawn` says that it is right.
async function load(drawn) {
  const mine = ++loads, id = session(), wanted = () => mine === loads;
  if (!id) return newSession(); // and that refreshes
  if (id !== shown) {
    drafts.set(shown, $("message").value);
    [shown, messages] = [id, []];
    tell("");
    drawMessages();
    $("earlier").hidden = true;
    type(drafts.get(id) ?? "");
  }
  try {
    const { name } = await read("/me", wanted);
    if (user && user !== name) forget(); // somebody else's
    $("user").textContent = user = name;
    const { items } = await read("/agents/sessions?limit=100", wanted);
    const found = await read(`${url(id)}/messages?limit=100`, wanted)
      .catch((error) => { if (error.status === 404) return []; throw error; }); // a new one
    if (!wanted()) return;
    messages = found;
    $("earlier").hidden = found.length < 100;
    drawSessions(items);
    if (!drawn) drawMessages();
    if (!drawn) toEnd();
    settle();
    show("chat");
  } catch (error) {
    if (wanted() && error.status !== 401) tell(error.message);
  }
}

function refresh(drawn = false) {
  return loading = load(drawn);
}

async function showEarlier() {
  const older = await (await call("GET", `${url(shown)}/messages?limit=100&before=${messages[0].position}`)).json();
  const height = $("scroll").scrollHeight;
  messages = [...older, ...messages];
  $("earlier").hidden = older.length < 100;
  drawMessages();
  $("scroll").scrollTop += $("scroll").scrollHeight - height;
}

function forget() {
  drafts.clear();
  [user, unsent, live, messages] = ["", null, null, []];
  type("");
  tell("");
  drawSessions([]);
  drawMessages();
}

// -- Saying something --------------------------------------------------------------------------

// Whether what seemed unsent had arrived: the conversation tells.
function settle() {
  if (unsent?.id !== shown) return;
  const arrived = messages.findIndex((each) =>
    each.position > unsent.after && each.role === "user" && each.content === unsent.text);
  if (!unsent.cut || arrived < 0) return;
  if (messages.slice(arrived).some((each) => each.role === "assistant" && !each.tool_name)) {
    if ($("message").value === unsent.text) type("");
    unsent = null;
    tell("The connection was lost, but your message had arrived.");
  } else tell("Your message arrived, but the connection was lost before the answer. Send it again?");
}

// Nothing that was typed is lost: it goes back to the composer.
function giveBack(error, text) {
  const { id, after } = live;
  const draft = id === shown ? $("message").value : drafts.get(id);
  const kept = draft ? `${text}\n\n${draft}` : text;
  if (id === shown) type(kept); else drafts.set(id, kept);
  unsent = { id, text, after, cut: !error.status };
}

async function say(text) {
  $("send").disabled = true;
  await loading; // what was said before, which is shown first
  const first = !messages.length, id = shown;
  const run = live = { id, after: messages.at(-1)?.position ?? -1, nodes: [] };
  let answer = null, words = "", frame = 0;
  const put = (node) => {
    run.nodes.push(node);
    if (id === shown) follow(() => $("messages").append(node));
    return node;
  };
  const draw = () => {
    answer ??= put(bubble("assistant"));
    follow(() => answer.lastChild.replaceChildren(...markdown(words)));
  };
  const calls = new Map();
  unsent = null;
  tell("");
  put(bubble("user", text));
  $("empty").hidden = true;
  $("log").setAttribute("aria-live", "polite");
  $("log").setAttribute("aria-busy", true); // it is read out when it is complete
  toEnd();
  try {
    let done = false;
    for await (const [event, data] of events(await call("POST", `${url(id)}/chat/stream`, { message: text }))) {
      if (event === "delta") {
        words += data.text;
        frame ||= requestAnimationFrame(() => { frame = 0; draw(); });
      } else if (event === "tool_call") {
        if (frame) { cancelAnimationFrame(frame); frame = 0; draw(); }
        [answer, words] = [null, ""];
        calls.set(data.tool_call_id, { item: put(toolCall(data, true)), name: data.tool_name });
      } else if (event === "tool_output" && calls.has(data.tool_call_id)) {
        const { item, name } = calls.get(data.tool_call_id);
        follow(() => toolOutput(item, name, data.content));
      } else if (event === "done") {
        cancelAnimationFrame(frame);
        words = typeof data.response === "string" ? data.response : JSON.stringify(data.response);
        draw();
        done = true;
      } else if (event === "error") throw Object.assign(new Error(data.detail), { status: data.status_code });
    }
    if (!done) throw new Error("The connection was lost before the answer was complete.");
    if (first) await call("PATCH", url(id), { session_name: text.slice(0, 40) }).catch(() => {});
  } catch (error) {
    cancelAnimationFrame(frame);
    if (live === run) giveBack(error, text); // and nobody has logged out meanwhile
    tell(error.status ? error.message : "The server does not answer.");
  }
  const drawn = !unsent && run.nodes.every((node) => node.isConnected);
  live = null;
  $("send").disabled = false;
  $("log").setAttribute("aria-busy", false);
  if ($("door").hidden) refresh(drawn);
}

// -- What the user does ------------------------------------------------------------------------

// Runs what a button or a form is for, one at a time, and tells what went wrong.
async function act(event, action, complain = tell) {
  event.preventDefault();
  complain("");
  const button = event.submitter ?? event.currentTarget;
  button.disabled = true;
  try { await action(button); } catch (error) { complain(error.status ? error.message : "The server does not answer."); }
  button.disabled = false;
}

$("login").onsubmit = (event) => act(event, async (button) => {
  const credentials = { name: $("name").value, password: $("password").value };
  if (button.value === "register") await call("POST", "/register", credentials);
  await call("POST", "/login", credentials);
  $("password").value = "";
  await refresh();
}, (text) => { $("refused").textContent = text; });
$("logout").onclick = (event) => act(event, async () => {
  await call("POST", "/logout");
  loads += 1; // what is on its way is not for this user any more
  forget();
  history.replaceState(null, "", "/");
  show("door");
});
$("say").onsubmit = (event) => {
  event.preventDefault();
  const text = $("message").value;
  if (lost) return hurry(); // it would be lost as well
  if ($("send").disabled || !text.trim()) return;
  type("");
  $("message").focus();
  say(text);
};
for (const button of document.querySelectorAll(".suggestion")) {
  button.onclick = () => { if (!$("send").disabled && !lost) say(button.textContent); $("message").focus(); };
}
$("message").oninput = grow;
$("message").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("say").requestSubmit();
};
$("scroll").onscroll = look;
new ResizeObserver(() => { if (atEnd) toEnd(); }).observe($("scroll"));
$("newest").onclick = () => { toEnd(); $("message").focus(); };
$("earlier").onclick = (event) => act(event, showEarlier);

$("rename").onclick = () => { $("new-name").value = $("title").textContent; $("renaming").showModal(); $("new-name").select(); };
$("delete").onclick = () => $("deleting").showModal();
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector("[type=button]").onclick = () => dialog.close();
}
$("renaming").onsubmit = (event) => act(event, async () => {
  $("renaming").close();
  await call("PATCH", url(shown), { session_name: $("new-name").value });
  await refresh(true);
});
$("deleting").onsubmit = (event) => act(event, async () => {
  $("deleting").close();
  await call("DELETE", url(shown));
  newSession();
  $("message").focus();
});

$("new").onclick = () => { drawer(false); newSession(); $("message").focus(); };
$("menu").onclick = () => drawer(true);
$("chat").onclick = ({ target }) => { if (target === $("chat") || target.closest("#sessions a")) drawer(false); };
$("chat").onkeydown = ({ key }) => { if (key === "Escape") drawer(false); };
addEventListener("hashchange", () => refresh());
addEventListener("online", () => hurry());
refresh();
