// What is around the customers: the counts, the servers, the events, the daemon.

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
  const whys = [tokens.error || daemon.store_error, daemon.key_mismatch, daemon.http && daemon.http.warning];
  const warning = [trouble, ...whys.filter(Boolean).map(told)].join(" ").trim();
  set($("warning"), warning);
  $("warning").hidden = !warning;
  draw_headline();
  draw_causes();
  draw_counts();
  draw_rows();
  draw_former();
  draw_servers();
  draw_daemon();
  steer();
  tick();
  // At the beginning the customer that needs help most is open: which one, why, and what to do.
  const [first] = status.tokens.customers;
  if (is_new && first && status.tokens.summary.in_trouble) toggle(rows.get(first.customer_id));
  is_new = is_new && !status.tokens.as_of;
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

// What is wrong with the customers in trouble, the most frequent first.
function draw_causes() {
  const is_whole = filter === "total" && !$("search").value.trim() && $("sort").value === "problems";
  const counts = new Map();
  for (const { token_status, state, failure } of is_whole ? status.tokens.customers : []) {
    if (failure && (state === "parked" || token_status === "expired" || token_status === "missing")) {
      counts.set(failure.kind, (counts.get(failure.kind) || 0) + 1);
    }
  }
  const causes = [...counts].sort(([, a], [, b]) => b - a).map(([kind, count]) => number(count) + " × " + word("failure", kind));
  const more = causes.length > MOST_CAUSES || status.tokens.summary.in_trouble > LIMIT ? " …" : "";
  const shown = causes.slice(0, MOST_CAUSES);
  $("causes").replaceChildren(...shown.map((cause, place) => make("li", "", cause + (place === shown.length - 1 ? more : ""))));
  $("causes").hidden = !causes.length;
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
// Customers that are not renewed any more, and the reason.
function draw_former() {
  const former = status.tokens.ineligible || [];
  $("former").hidden = !former.length;
  $("former-list").replaceChildren(...former.map((customer) => {
    const item = make("li");
    const end = customer.tbtokenexpiry;
    item.append(make("b", "", customer.customer_id), make("span", "bad", told(customer.reason)));
    if (end) item.append(make("span", "muted", say(Date.parse(end) < now() ? "last_token_over" : "last_token", { at: at_time(end) })));
    return item;
  }));
}

// The name of a server is the beginning of the URLs of its customers.
function server_of(customer) {
  const url = URL.canParse(customer.tb_url) ? new URL(customer.tb_url).href : "";
  const servers = (status.servers || []).filter(({ server }) => url.startsWith(server));
  return servers.sort((a, b) => b.server.length - a.server.length)[0];
}

function server_sentence({ breaker, limit, skew_ms }) {
  const skew = skew_ms || 0;
  const clock = Math.abs(skew) < 1000 ? "" : say(skew < 0 ? "clock_behind" : "clock_ahead", { length: length(Math.abs(skew)) });
  return [breaker === "closed" ? counted("server_closed", limit) : say("server_" + breaker), clock].join(" ").trim();
}

function draw_servers() {
  const weights = { open: "bad", half_open: "warn" };
  const rank = ({ breaker }) => ["closed", "half_open", "open"].indexOf(breaker);
  const list = (status.servers || []).slice().sort((a, b) => rank(b) - rank(a) || a.server.localeCompare(b.server));
  $("servers").replaceChildren(...list.map((server) => {
    const item = make("li");
    item.append(make("b", "", server.server), make("span", weights[server.breaker] || "muted", server_sentence(server)));
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
  fact("store_state", is_well ? say("store_ok") : told(tokens.error || daemon.store_error || say("store_away")), is_well ? "" : "bad");
  fact("as_of", tokens.as_of ? time(tokens.as_of, true) : say("never"));
  if (daemon.ledger) fact("ledger", told(daemon.ledger));
  fact("version", `tbtokend ${daemon.version}, pid ${daemon.pid}`);
  fact("up_since", time(daemon.started_at));
  fact("renewed_by", say("renewed_by_value", { login: number(daemon.renewals_by_login), refresh: number(daemon.renewals_by_refresh_token) }));
  if (daemon.http) fact("listens", daemon.http.listen);
  $("daemon").replaceChildren(...facts);
}

function draw_events() {
  const bad = ["failed", "parked", "expired", "ineligible", "token_dead", "token_disputed", "store_lost"];
  $("events").replaceChildren(...events.slice().reverse().map((event) => {
    const item = make("li");
    const at = make("time", "", time(event.at, true));
    at.dateTime = event.at;
    const text = make("span", "", told(event.message));
    if (event.customer_id) text.prepend(make("b", "", event.customer_id), " ");
    item.append(at, make("span", bad.includes(event.kind) ? "bad" : "", word("event", event.kind)), text);
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
    cells[5].classList.toggle("bad-text", customer.state === "parked");
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
