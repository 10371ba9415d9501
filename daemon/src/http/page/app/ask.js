// Questions and orders to the daemon.

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
  const why = problem instanceof Problem ? " " + told(problem.message) : "";
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
    tell(problem instanceof Problem ? say("refused", { why: told(problem.message) }) : say("not_sent"), true);
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
    + (single ? " " + told(single) : "");
}

function tell(text, is_bad) {
  $("said").textContent = text;
  $("said").classList.toggle("bad", Boolean(is_bad));
}

function confirm_that(text, verb, is_dangerous, then) {
  $("ask-text").textContent = text;
  $("ask-yes").textContent = verb;
  $("ask-yes").className = is_dangerous ? "danger" : "primary";
  const ask = $("ask");
  ask.returnValue = "no";
  ask.onclose = () => { if (ask.returnValue === "yes") then(); };
  ask.showModal();
}
