// The page's script. All text is set as textContent, so that none of it is ever markup.
"use strict";

const $ = (id) => document.getElementById(id);
const sessionUrl = (rest = "") => `/agents/sessions/${encodeURIComponent(session())}${rest}`;
let loading = Promise.resolve();

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

async function call(method, url, body) {
  const response = await fetch(url, {
    method,
    headers: { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({ detail: response.statusText }));
  if (response.status === 401) show("login");
  throw Object.assign(new Error(detail), { status: response.status });
}

function show(which) {
  $("login").hidden = which !== "login";
  $("chat").hidden = which !== "chat";
}

function add(role, text) {
  const line = document.createElement("li");
  line.className = role;
  line.textContent = text;
  $("messages").append(line);
  line.scrollIntoView({ block: "nearest" });
  return line;
}

async function showSessions() {
  const { items } = await (await call("GET", "/agents/sessions?limit=100")).json();
  $("sessions").replaceChildren(...items.map((item) => {
    const button = document.createElement("button");
    button.textContent = item.session_name || item.session_id;
    button.setAttribute("aria-current", item.session_id === session());
    button.onclick = () => { location.hash = encodeURIComponent(item.session_id); };
    return button;
  }));
}

async function showMessages() {
  const shown = location.hash;
  const messages = await call("GET", sessionUrl("/messages?limit=100"))
    .then((response) => response.json())
    .catch((error) => { if (error.status === 404) return []; throw error; }); // a new one
  if (shown !== location.hash) return;
  $("messages").replaceChildren();
  for (const message of messages) {
    const tool = message.tool_name || message.role === "tool";
    add(tool ? "tool" : message.role, message.tool_name ? `${message.tool_name}: ${message.content}` : message.content);
  }
}

async function load() {
  try {
    if (!session()) return newSession(); // and that refreshes
    await showSessions();
    await showMessages();
    show("chat");
    $("message").focus();
  } catch (error) {
    if (error.status !== 401) $("notice").textContent = error.message;
  }
}

function refresh() {
  return loading = load();
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

async function say(text) {
  await loading; // what was said before, which is shown first
  const first = !$("messages").children.length;
  const url = sessionUrl(), name = { session_name: text.slice(0, 40) };
  add("user", text);
  const line = add("assistant", "");
  for await (const [event, data] of events(await call("POST", `${url}/chat/stream`, { message: text }))) {
    if (event === "delta") line.textContent += data.text;
    if (event === "done") line.textContent = data.response;
    if (event === "error") throw new Error(data.detail);
  }
  if (first) await call("PATCH", url, name);
  await showSessions();
}

// Runs what a button or a form is for, one at a time, and tells what went wrong.
async function act(event, action) {
  event.preventDefault();
  $("notice").textContent = "";
  const button = event.submitter ?? event.currentTarget;
  button.disabled = true;
  try { await action(button); } catch (error) { $("notice").textContent = error.message; }
  button.disabled = false;
}

$("login").onsubmit = (event) => act(event, async (button) => {
  const credentials = { name: $("name").value, password: $("password").value };
  if (button.value === "register") await call("POST", "/register", credentials);
  await call("POST", "/login", credentials);
  $("password").value = "";
  await refresh();
});
$("say").onsubmit = (event) => act(event, async () => {
  const text = $("message").value;
  $("message").value = "";
  await say(text);
});
$("logout").onclick = (event) => act(event, async () => {
  await call("POST", "/logout");
  $("messages").replaceChildren();
  $("sessions").replaceChildren();
  history.replaceState(null, "", "/");
  show("login");
});
$("new").onclick = newSession;
addEventListener("hashchange", refresh);
refresh();
