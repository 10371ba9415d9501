// The customers, and the detail of one.

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
  const has_some = status.tokens.summary.total > 0;
  set($("empty-text"), has_some ? say("none_match") : say("no_customers") + " " + say("add_customer"));
  $("show-all").hidden = !has_some;
  $("empty").hidden = customers.length > 0;
}

function make_row(id) {
  const node = make("tr", "row");
  const cells = Array.from({ length: 7 }, () => make("td"));
  cells[4].className = "num";
  const state = make("span", "state");
  cells[0].append(state);
  const button = make("button", "id", id);
  button.type = "button";
  button.title = id;
  button.setAttribute("aria-expanded", "false");
  cells[1].append(button);
  node.append(...cells);
  const row = { id, node, cells, state, button, detail: null };
  node.onclick = () => { if (!String(getSelection())) toggle(row); };
  return row;
}

function draw_row(row) {
  const { customer, cells } = row;
  row.state.className = "state " + customer.token_status;
  set(row.state, word("status", customer.token_status));
  set(cells[2], customer.tb_username);
  cells[2].title = customer.tb_username;
  set(cells[3], customer.tb_url.replace(/^https:\/\//, ""));
  cells[3].title = customer.tb_url;
  const failure = customer.failure;
  const count = failure && failure.consecutive > 1 ? " (×" + number(failure.consecutive) + ")" : "";
  set(cells[6], failure ? word("failure", failure.kind) + count : "");
  cells[6].title = failure ? told(failure.message) : "";
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
  const story = make("div", "say");
  const headline = customer.state === "parked" ? say("parked_since", { at: failure ? time(failure.at) : "" })
    : waits ? say("waits") : failure ? counted("failed", failure.consecutive, { at: time(failure.at, true) }) : "";
  story.append(
    ...part(say("what_is"), [headline, "do"], [failure ? told(failure.message) : token_sentence(customer)]),
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
  story.append(buttons);
  const facts = make("dl", "facts");
  const fact = (key, value) => facts.append(make("dt", "", say(key)), make("dd", "", value));
  fact("col_customer", customer.customer_id);
  fact("col_user", customer.tb_username);
  fact("col_server", customer.tb_url);
  const server = server_of(customer);
  if (server) fact("server_state", server_sentence(server));
  fact("expires", customer.tbtokenexpiry ? time(customer.tbtokenexpiry, true) : "–");
  if (customer.check) fact("checked", say("ago", { length: length(now() - Date.parse(customer.check.at)) }) + ": " + word("check", customer.check.found));
  fact("last_success", customer.last_success_at ? time(customer.last_success_at, true) : say("never"));
  fact("renewals", number(customer.renewals));
  row.story.replaceChildren(story, facts);
  if (focused) again.focus();
}

function token_sentence({ tbtokenexpiry, check }) {
  if (!tbtokenexpiry) return say("token_none");
  if (check && check.found === "dead") return say("token_dead");
  return say(Date.parse(tbtokenexpiry) < now() ? "token_over" : "token_good");
}

function what_next(customer) {
  const { state, next_attempt_at, failure } = customer;
  if (state === "refreshing") return say("next_refreshing");
  const at = next_attempt_at && Date.parse(next_attempt_at) > now() ? at_time(next_attempt_at) : "";
  if (!status.cron.running) return say("next_stopped");
  if (state === "parked") {
    if (!at) return say(failure && failure.kind === "attempts_exhausted" ? "next_exhausted" : "next_parked");
    return say(needs_force(customer) ? "next_refresh_token" : "next_parked_at", { at });
  }
  if (failure && failure.waiting) return told(failure.waiting);
  if (at) return say(failure ? "next_retry" : "next_renewal", { at });
  return customer.token_status === "valid" && state === "ok" ? "" : say("next_pass");
}

// Whether only a refresh with force sends its password.
function needs_force({ failure }) {
  return Boolean(failure && failure.permanent) && ["credentials_rejected", "account_locked", "attempts_exhausted"].includes(failure.kind);
}

function refresh_one(customer) {
  const force = needs_force(customer);
  const request = { action: "refresh", customers: [customer.customer_id], ...(force && { force }) };
  if (customer.state !== "parked" && !force) return act(request);
  const risk = say(!force ? "risk_none" : customer.failure.kind === "attempts_exhausted" ? "risk_budget" : "risk_lock");
  confirm_that(`${customer.tb_username}\n${risk}`, say("refresh_this"), force, () => act(request));
}
