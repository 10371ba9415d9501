"use strict";
// The admin page. Every value is put in with textContent, so that no name of a user can become a part of the page.

const API = "/api/cron/refresh-tokens";
const LIMIT = 500;
const COUNTS = [
  ["total", {}, ""], ["valid", { status: "valid" }, ""], ["expiring_soon", { status: "expiring_soon" }, "warn"],
  ["expired", { status: "expired" }, "bad"], ["missing", { status: "missing" }, "bad"],
  ["parked", { state: "parked" }, "bad"], ["retrying", { state: "retrying" }, "warn"],
];
const $ = (id) => document.getElementById(id);

let words = null;
let lang = localStorage.getItem("tbtokend-lang") || (navigator.language.startsWith("de") ? "de" : "en");
let token = sessionStorage.getItem("tbtokend-token") || "";
let right = null;
let status = null;
let etag = "";
let filter = "total";
let open = null;
let offset = 0; // What the daemon's clock is ahead of this one, in milliseconds.
let events = [];
let next = null;
let timer = 0;
let turn = 0; // Counts the changes of what is asked: an answer to an older question is dropped.
let failures = 0;
let since = null; // When the daemon was first not reached.
let busy = false;
const rows = new Map();

// Words

const say = (key, values = {}) =>
  (words.page[key] || key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const word = (list, key) => (words[list] && words[list][key]) || String(key).replace(/_/g, " ");
const number = (n) => new Intl.NumberFormat(lang).format(n);
const counted = (key, n, values = {}) => say(n === 1 && words.page[key + "_one"] ? key + "_one" : key, { n: number(n), ...values });

async function load_words() {
  words = await (await fetch("/admin/words.json?lang=" + lang)).json();
  document.documentElement.lang = lang;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = say(node.dataset.t);
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = say(node.dataset.hint);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
  $("lang").textContent = lang === "de" ? "English" : "Deutsch";
  $("lang").lang = lang === "de" ? "en" : "de";
  make_heads();
  make_counts();
}

// Times

const now = () => Date.now() + offset;
function length(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h";
  return counted("days", Math.floor(s / 86400));
}
function time(text, with_seconds) {
  const at = new Date(text);
  const same = at.toDateString() === new Date(now()).toDateString();
  const clock = { hour: "2-digit", minute: "2-digit", ...(with_seconds && { second: "2-digit" }) };
  return new Intl.DateTimeFormat(lang, same ? clock : { day: "numeric", month: "short", ...clock }).format(at);
}
// "at 18:55", "on Dec 1 at 18:55".
function at_time(text) {
  const at = new Date(text);
  const clock = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(at);
  if (at.toDateString() === new Date(now()).toDateString()) return say("at_today", { time: clock });
  return say("at_day", { day: new Intl.DateTimeFormat(lang, { day: "numeric", month: "short" }).format(at), time: clock });
}
function left(expiry) {
  if (!expiry) return "–";
  const ms = Date.parse(expiry) - now();
  return ms < 0 ? "−" + length(-ms) : length(ms);
}

// Asking

class Problem extends Error {
  constructor(code, text) { super(text); this.code = code; }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = "Bearer " + token;
  const answer = await fetch(path, { cache: "no-store", ...options, headers });
  const date = Date.parse(answer.headers.get("Date") || "");
  // The header knows whole seconds.
  if (date && Math.abs(date - now()) > 1500) offset = date + 500 - Date.now();
  if (answer.status === 304) return null;
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) throw new Problem("unauthorized", body.error || "");
  if (!answer.ok || body.success === false) throw new Problem(body.code || "internal", body.error || answer.statusText);
  right = answer.headers.get("Tbtokend-Right") || right;
  if (options.method !== "POST") etag = path.startsWith(API) ? answer.headers.get("ETag") || "" : etag;
  return body;
}

function question() {
  const [, want] = COUNTS.find(([name]) => name === filter);
  const query = new URLSearchParams({ ...want, sort: $("sort").value, limit: LIMIT });
  const text = $("search").value.trim();
  if (text) query.set("text", text);
  return API + "?" + query;
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  const mine = turn;
  const began = performance.now();
  let wait = 2000;
  try {
    const answer = await ask(question(), etag ? { headers: { "If-None-Match": etag } } : {});
    if (mine !== turn) return;
    if (answer) { status = answer; draw(); }
    const recent = await ask("/api/events?" + new URLSearchParams(next === null ? { limit: 100 } : { since: next, limit: 100 }));
    if (mine !== turn) return;
    if (recent && (recent.events.length || next === null)) {
      events = events.concat(recent.events).slice(-200);
      draw_events();
    }
    if (recent) next = recent.next;
    reached();
    if (performance.now() - began > 1000) wait = 10000;
  } catch (problem) {
    if (mine !== turn) return;
    if (problem.code === "unauthorized") return sign_in(token ? say("door_wrong") : "");
    wait = not_reached(problem);
  }
  timer = setTimeout(poll, wait);
}

function again() {
  turn += 1;
  etag = "";
  poll();
}

function reached() {
  failures = 0;
  since = null;
  $("banner").hidden = true;
  $("board").classList.remove("away");
  steer();
}

function not_reached(problem) {
  since = since || new Date(now());
  const why = problem instanceof Problem ? " " + problem.message : "";
  $("banner").textContent = say("away", { at: time(since, true) }) + why;
  $("banner").hidden = false;
  $("board").classList.add("away");
  failures += 1;
  steer();
  return Math.min(30000, 1000 * 2 ** failures);
}

async function act(request) {
  busy = true;
  steer();
  tell(request.action === "refresh" ? say("refreshing") : "");
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await ask(API, { method: "POST", headers, body: JSON.stringify(request) });
    tell(outcome(request, answer), answer.result && !answer.result.success);
  } catch (problem) {
    if (problem.code === "unauthorized") return sign_in(say("door_wrong"));
    tell(problem instanceof Problem ? say("refused", { why: problem.message }) : say("not_sent"), true);
  } finally {
    busy = false;
    steer();
  }
  again();
}

function outcome(request, answer) {
  if (request.action !== "refresh") return say(request.action + "_done");
  const { updated, errors, total, details } = answer.result;
  if (!total) return say("nothing_due");
  const single = details.length === 1 && details[0].message;
  return say("refreshed", { updated: number(updated), errors: number(errors), rest: number(total - updated - errors) })
    + (single ? " " + single.charAt(0).toUpperCase() + single.slice(1) + "." : "");
}

function tell(text, is_bad) {
  $("said").textContent = text;
  $("said").classList.toggle("bad", Boolean(is_bad));
}

function confirm_that(text, verb, then) {
  $("ask-text").textContent = text;
  $("ask-yes").textContent = verb;
  const ask = $("ask");
  ask.returnValue = "no";
  ask.onclose = () => { if (ask.returnValue === "yes") then(); };
  ask.showModal();
}

// Drawing

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function make_counts() {
  $("counts").replaceChildren(...COUNTS.map(([name, , weight]) => {
    const button = make("button", "count " + weight);
    button.type = "button";
    button.dataset.count = name;
    button.append(make("b", "", "–"), make("span", "", say("count_" + name)));
    button.onclick = () => { filter = filter === name ? "total" : name; draw_counts(); again(); };
    return button;
  }));
}

function make_heads() {
  for (const head of document.querySelectorAll("th[data-sort]")) {
    const button = make("button", "", head.textContent);
    button.type = "button";
    button.onclick = () => { $("sort").value = head.dataset.sort; sorted(); };
    head.replaceChildren(button);
  }
  show_sort();
}

function show_sort() {
  for (const head of document.querySelectorAll("th[data-sort]")) {
    if (head.dataset.sort === $("sort").value) head.setAttribute("aria-sort", "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function sorted() {
  show_sort();
  again();
}

function draw() {
  $("board").hidden = false;
  $("door").hidden = true;
  $("out").hidden = !token;
  const { tokens, daemon } = status;
  set($("store"), daemon.store);
  const trouble = !tokens.success ? say("store_away") : !daemon.store_ok ? say("store_refuses") : "";
  const why = tokens.error || daemon.store_error || "";
  const warning = [trouble && trouble + " " + why, daemon.http && daemon.http.warning].filter(Boolean).join(" ");
  set($("warning"), warning);
  $("warning").hidden = !warning;
  draw_headline();
  draw_counts();
  draw_rows();
  draw_servers();
  draw_daemon();
  steer();
  tick();
}

function draw_headline() {
  const { summary, as_of } = status.tokens;
  const head = $("headline");
  let text = counted("all_fine", summary.total);
  if (!as_of) text = say("first_read");
  else if (!summary.total) text = say("no_customers");
  else if (summary.in_trouble) text = counted("in_trouble", summary.in_trouble, { total: number(summary.total) });
  else if (summary.valid < summary.total) text = counted("being_renewed", summary.total - summary.valid);
  set(head, text);
  head.className = summary.in_trouble ? "bad" : as_of && summary.total ? "fine" : "";
  document.title = (summary.in_trouble ? "(" + summary.in_trouble + ") " : "") + "tbtokend";
  const run = status.cron.last_run;
  set($("last"), run
    ? say("last_run", { at: time(run.finished_at, true), updated: number(run.updated), errors: number(run.errors), length: (run.duration_ms / 1000).toLocaleString(lang, { maximumFractionDigits: 1 }) })
    : say("no_run"));
}

function draw_counts() {
  const summary = status ? status.tokens.summary : {};
  for (const button of $("counts").children) {
    const name = button.dataset.count;
    set(button.firstChild, name in summary ? number(summary[name]) : "–");
    button.classList.toggle("some", summary[name] > 0);
    button.setAttribute("aria-pressed", String(filter === name));
  }
  if (!status) return;
  const parts = ["valid", "expiring_soon", "expired", "missing"];
  if (!$("share").children.length) $("share").append(...parts.map((part) => make("span", part)));
  parts.forEach((part, place) => {
    const bar = $("share").children[place];
    bar.style.flexGrow = summary[part];
    bar.hidden = !summary[part];
  });
  const trouble = parts.slice(1).concat("parked").filter((part) => summary[part]);
  const live = [`${number(summary.total)} ${say("count_total")}`].concat(trouble.map((part) => `${number(summary[part])} ${say("count_" + part)}`)).join(", ");
  set($("live"), live);
}

function draw_rows() {
  const body = $("rows");
  const { customers, matched } = status.tokens;
  const seen = new Set();
  let place = body.firstElementChild;
  for (const customer of customers) {
    const id = customer.customer_id;
    seen.add(id);
    let row = rows.get(id);
    if (!row) rows.set(id, row = make_row(id));
    row.customer = customer;
    draw_row(row);
    for (const node of row.detail ? [row.node, row.detail] : [row.node]) {
      if (node === place) place = place.nextElementSibling;
      else body.insertBefore(node, place);
    }
  }
  for (const [id, row] of rows) {
    if (seen.has(id)) continue;
    row.node.remove();
    if (row.detail) row.detail.remove();
    rows.delete(id);
  }
  set($("matched"), say("matched", { n: number(matched), total: number(status.tokens.summary.total) }));
  const more = matched - customers.length;
  set($("more"), counted("more", more));
  $("more").hidden = more <= 0;
  set($("empty"), status.tokens.summary.total ? say("none_match") : say("no_customers"));
  $("empty").hidden = customers.length > 0;
}

function make_row(id) {
  const node = make("tr", "row");
  const cells = Array.from({ length: 7 }, () => make("td"));
  cells[4].className = "num";
  const state = make("span", "state");
  const tag = make("span", "tag");
  cells[0].append(state, tag);
  const button = make("button", "id", id);
  button.type = "button";
  button.title = id;
  button.setAttribute("aria-expanded", "false");
  cells[1].append(button);
  node.append(...cells);
  const row = { id, node, cells, state, tag, button, detail: null };
  node.onclick = () => { if (!String(getSelection())) toggle(row); };
  return row;
}

function draw_row(row) {
  const { customer, cells } = row;
  row.state.className = "state " + customer.token_status;
  set(row.state, word("status", customer.token_status));
  row.tag.className = "tag " + customer.state;
  row.tag.hidden = customer.state === "ok" || customer.state === "due";
  set(row.tag, word("state", customer.state));
  set(cells[2], customer.tb_username);
  cells[2].title = customer.tb_username;
  set(cells[3], customer.tb_url.replace(/^https:\/\//, ""));
  cells[3].title = customer.tb_url;
  const failure = customer.failure;
  const count = failure && failure.consecutive > 1 ? " (×" + number(failure.consecutive) + ")" : "";
  set(cells[6], failure ? word("failure", failure.kind) + count : "");
  cells[6].title = failure ? failure.message : "";
  if (open === row.id && !row.detail) expand(row);
  if (row.detail) draw_detail(row);
}

function toggle(row) {
  const was = open && rows.get(open);
  if (was && was.detail) {
    was.detail.remove();
    was.detail = null;
    was.node.classList.remove("open");
    was.button.setAttribute("aria-expanded", "false");
  }
  open = open === row.id ? null : row.id;
  if (open) { expand(row); draw_detail(row); row.node.after(row.detail); }
}

function expand(row) {
  row.node.classList.add("open");
  row.button.setAttribute("aria-expanded", "true");
  const cell = make("td");
  cell.colSpan = 7;
  row.detail = make("tr", "detail");
  row.story = make("div", "story");
  cell.append(row.story);
  row.detail.append(cell);
}

// The cause, what happens next, what to do: as tbctl show.
function draw_detail(row) {
  const customer = row.customer;
  const { failure } = customer;
  const text = JSON.stringify([customer, status.cron.running, right, busy, since !== null, lang]);
  if (row.drawn === text && row.story.firstChild) return;
  row.drawn = text;
  const focused = row.story.contains(document.activeElement);
  const waits = failure && failure.consecutive === 0 && customer.state !== "parked";
  row.story.className = "story " + (customer.state === "parked" || customer.token_status === "expired" || customer.token_status === "missing" ? "bad" : failure ? "warn" : "");
  const part = (title, ...texts) => {
    const box = make("div");
    box.append(make("h3", "", title), ...texts.filter(([text]) => text).map(([text, name]) => make("p", name, text)));
    return box.children.length > 1 ? [box] : [];
  };
  const told = make("div", "say");
  const headline = customer.state === "parked" ? say("parked_since", { at: failure ? time(failure.at) : "" })
    : waits ? say("waits") : failure ? counted("failed", failure.consecutive, { at: time(failure.at, true) }) : "";
  // The daemon's own sentences are English; another language puts its own before them.
  const cause = failure ? (words.cause || {})[failure.kind] : say(customer.tbtokenexpiry ? Date.parse(customer.tbtokenexpiry) < now() ? "token_over" : "token_good" : "token_none");
  const message = failure ? say("message", { text: failure.message }) : "";
  told.append(
    ...part(say("what_is"), [headline, "do"], [cause], [message, cause ? "muted" : ""]),
    ...part(say("what_next"), [what_next(customer)]),
    ...(failure ? part(say("what_to_do"), [words.remedy && words.remedy[failure.kind] || failure.remedy, "do"]) : []),
  );
  const buttons = make("div", "buttons");
  const again = make("button", "", say("refresh_this"));
  again.type = "button";
  again.disabled = cannot_act();
  again.title = right === "read" ? say("read_only") : "";
  again.onclick = () => refresh_one(row.customer);
  const copy = make("button", "", say("copy"));
  copy.type = "button";
  copy.onclick = () => navigator.clipboard && navigator.clipboard.writeText(customer.customer_id).then(() => tell(say("copied")));
  buttons.append(again);
  if (navigator.clipboard) buttons.append(copy);
  told.append(buttons);
  const facts = make("dl", "facts");
  const fact = (key, value) => facts.append(make("dt", "", say(key)), make("dd", "", value));
  fact("col_customer", customer.customer_id);
  fact("col_user", customer.tb_username);
  fact("col_server", customer.tb_url);
  fact("expires", customer.tbtokenexpiry ? time(customer.tbtokenexpiry, true) : "–");
  fact("last_success", customer.last_success_at ? time(customer.last_success_at, true) : say("never"));
  fact("renewals", number(customer.renewals));
  if (failure) fact("kind", word("failure", failure.kind));
  row.story.replaceChildren(told, facts);
  if (focused) again.focus();
}

function what_next(customer) {
  const { state, next_attempt_at, failure } = customer;
  if (state === "refreshing") return say("next_refreshing");
  const at = next_attempt_at && Date.parse(next_attempt_at) > now() ? at_time(next_attempt_at) : "";
  if (!status.cron.running) return say("next_stopped");
  if (state === "parked") return at ? say("next_parked_at", { at }) : say("next_parked");
  if (failure && failure.waiting) return say("next_waiting", { text: failure.waiting });
  if (at) return say(failure ? "next_retry" : "next_renewal", { at });
  return customer.token_status === "valid" && state === "ok" ? "" : say("next_pass");
}

function refresh_one(customer) {
  const kind = customer.failure && customer.failure.permanent && customer.failure.kind;
  const needs_force = ["credentials_rejected", "account_locked", "attempts_exhausted"].includes(kind);
  const request = { action: "refresh", customers: [customer.customer_id], ...(needs_force && { force: true }) };
  if (customer.state !== "parked") return act(request);
  const risk = needs_force ? say(kind === "attempts_exhausted" ? "risk_budget" : "risk_lock") : say("risk_none");
  confirm_that(`${customer.tb_username}\n${risk}`, say("refresh_this"), () => act(request));
}

function draw_servers() {
  const servers = status.servers || [];
  const list = servers.slice().sort((a, b) => (a.breaker === "open") - (b.breaker === "open") || a.server.localeCompare(b.server));
  $("servers").replaceChildren(...list.map((server) => {
    const item = make("li");
    item.append(make("b", "", server.server));
    const name = server.breaker === "open" ? "bad" : server.breaker === "half_open" ? "warn" : "muted";
    item.append(make("span", name, server.breaker === "closed" ? counted("server_closed", server.limit) : say("server_" + server.breaker)));
    if (Math.abs(server.skew_ms || 0) >= 1000) item.append(make("span", "muted", say(server.skew_ms < 0 ? "clock_behind" : "clock_ahead", { length: length(Math.abs(server.skew_ms)) })));
    return item;
  }));
  if (!list.length) $("servers").append(make("li", "muted", say("no_servers")));
}

function draw_daemon() {
  const { daemon, tokens } = status;
  const facts = [];
  const fact = (key, value, name) => facts.push(make("dt", "", say(key)), make("dd", name || "", value));
  fact("store", daemon.store);
  const is_well = tokens.success && daemon.store_ok;
  fact("store_state", is_well ? say("store_ok") : tokens.error || daemon.store_error || say("store_away"), is_well ? "" : "bad");
  fact("as_of", tokens.as_of ? time(tokens.as_of, true) : say("never"));
  if (daemon.ledger) fact("ledger", daemon.ledger);
  fact("version", `tbtokend ${daemon.version}, pid ${daemon.pid}`);
  fact("up_since", time(daemon.started_at));
  fact("renewed_by", say("renewed_by_value", { login: number(daemon.renewals_by_login), refresh: number(daemon.renewals_by_refresh_token) }));
  if (daemon.http) fact("listens", daemon.http.listen);
  $("daemon").replaceChildren(...facts);
}

function draw_events() {
  const bad = ["failed", "parked", "expired", "store_lost"];
  $("events").replaceChildren(...events.slice().reverse().map((event) => {
    const item = make("li");
    const at = make("time", "", time(event.at, true));
    at.dateTime = event.at;
    const label = event.customer_id ? event.customer_id + ": " : "";
    item.append(at, make("span", bad.includes(event.kind) ? "bad" : "", word("event", event.kind)), make("span", "", label + event.message));
    return item;
  }));
  if (!events.length) $("events").append(make("li", "muted", say("no_events")));
}

// Draws what changes with the clock alone.
function tick() {
  if (!status || $("board").hidden) return;
  const { running, refreshing, next_run_at } = status.cron;
  const loop = $("loop");
  const strong = make("strong", "", say(running ? "running" : "stopped"));
  const text = !running ? say("stopped_text") : refreshing ? say("pass_running")
    : next_run_at ? say("next_run", { length: length(Date.parse(next_run_at) - now()) }) : "";
  if (loop.textContent !== strong.textContent + " " + text) loop.replaceChildren(strong, " " + text);
  loop.classList.toggle("stopped", !running);
  for (const { customer, cells } of rows.values()) {
    set(cells[4], left(customer.tbtokenexpiry));
    const ms = Date.parse(customer.next_attempt_at) - now();
    set(cells[5], customer.state === "parked" ? word("state", "parked") : customer.state === "refreshing" ? say("at_once") : !running ? word("event", "stopped") : ms > 0 ? say("in", { length: length(ms) }) : customer.state === "ok" ? "–" : say("soon"));
  }
}

const cannot_act = () => right === "read" || busy || since !== null;

function steer() {
  if (!status) return;
  const off = cannot_act();
  $("refresh").disabled = off;
  $("start").disabled = off || status.cron.running;
  $("stop").disabled = off || !status.cron.running;
  $("right").hidden = right !== "read";
  const row = open && rows.get(open);
  if (row && row.detail) draw_detail(row);
}

// The door

function sign_in(why) {
  clearTimeout(timer);
  turn += 1;
  token = "";
  sessionStorage.removeItem("tbtokend-token");
  [status, right, etag, events, next, open] = [null, null, "", [], null, null];
  rows.clear();
  $("rows").replaceChildren();
  for (const id of ["board", "out", "banner", "warning"]) $(id).hidden = true;
  $("store").textContent = "";
  $("door").hidden = false;
  $("door-error").textContent = why;
  $("token").value = "";
  $("token").focus();
}

$("form").onsubmit = (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("tbtokend-token", token);
  $("door-error").textContent = "";
  again();
};
$("out").onclick = () => sign_in("");
$("refresh").onclick = () => act({ action: "refresh" });
$("start").onclick = () => act({ action: "start" });
$("stop").onclick = () => confirm_that(say("stop_question"), say("stop"), () => act({ action: "stop" }));
$("sort").onchange = sorted;
let typing = 0;
$("search").oninput = () => { clearTimeout(typing); typing = setTimeout(again, 200); };
$("lang").onclick = async () => {
  lang = lang === "de" ? "en" : "de";
  localStorage.setItem("tbtokend-lang", lang);
  await load_words();
  if (status) { draw(); draw_events(); }
};
document.addEventListener("visibilitychange", () => { if (!document.hidden && $("door").hidden) poll(); });
document.addEventListener("keydown", (event) => {
  const in_field = /INPUT|SELECT|TEXTAREA/.test(event.target.tagName);
  if (event.key === "/" && !in_field && status) { event.preventDefault(); $("search").focus(); }
  if (event.key === "Escape" && event.target === $("search") && $("search").value) { $("search").value = ""; again(); }
  if (event.key === "Escape" && !in_field && open && rows.get(open) && !$("ask").open) { const row = rows.get(open); toggle(row); row.button.focus(); }
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && event.target.classList.contains("id")) {
    const all = [...document.querySelectorAll("#rows .id")];
    const to = all[all.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)];
    if (to) { event.preventDefault(); to.focus(); }
  }
});
setInterval(tick, 1000);
load_words().then(poll);
