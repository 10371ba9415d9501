// Words in the language of the reader, and times.

const say = (key, values = {}) =>
  (words.page[key] || key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const word = (list, key) => (words[list] && words[list][key]) || String(key).replace(/_/g, " ");
const number = (n) => new Intl.NumberFormat(lang).format(n);
const counted = (key, n, values = {}) => say(n === 1 && words.page[key + "_one"] ? key + "_one" : key, { n: number(n), ...values });

// The daemon's sentences are English. Another language has them as patterns with places for names and numbers. What fits no
// pattern, such as a text of a server, is quoted as it is.
let patterns = [];
const known = new Map();

function told(text) {
  if (known.size > 5000) known.clear();
  const own = words.messages ? translation(text) ?? say("original", { text }) : text;
  return sentence(own).replace(/(?<!such as |wie )\d{4}-\d\d-\d\dT[\d:]{8}Z/g, (at) => time(at, true));
}

function translation(text) {
  if (!known.has(text)) known.set(text, translated_pair(text) ?? translated_pattern(text));
  return known.get(text);
}

// Two sentences are two patterns.
function translated_pair(text) {
  for (const mark of [". ", "; "]) {
    for (let at = text.indexOf(mark); at > 0; at = text.indexOf(mark, at + 1)) {
      const [first, second] = [translation(text.slice(0, at)), translation(text.slice(at + 2))];
      if (first && second) return sentence(first) + " " + sentence(second);
    }
  }
  return null;
}

function translated_pattern(text) {
  for (const [pattern, own] of patterns) {
    const found = pattern.exec(text);
    if (found) return own.replace(/\{(\d)\}/g, (_, place) => translated_part(found[place]));
  }
  return null;
}

function translated_part(part) {
  const [, mark, text] = /^([:;] )?(.*)$/s.exec(part);
  const plain = text.replace(/ and (?=tb_)/g, " und ");
  const is_quoted = /\s/.test(text) && plain === text && !/^\d/.test(text);
  return (mark || "") + (translation(text) ?? (is_quoted ? "„" + text + "“" : plain));
}

// As the other clients: the name of a program, column or setting keeps its small letter.
function sentence(text) {
  const first = text.split(/\s/)[0].replace(/[.:,;]+$/, "");
  const is_name = /[_.]/.test(first) || /^(tbtokend|tbctl|tbtui|systemctl|journalctl)$/.test(first);
  return (is_name ? text : text.charAt(0).toUpperCase() + text.slice(1)) + (/[.!?:…]$/.test(text) || !text ? "" : ".");
}

async function load_words() {
  words = await (await fetch("/admin/words.json?lang=" + lang)).json();
  const escaped = (text) => text.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
  patterns = Object.entries(words.messages || {}).sort(([a], [b]) => b.length - a.length)
    .map(([english, own]) => [new RegExp("^" + escaped(english).replaceAll("{}", "(.*?)") + "$", "s"), own]);
  known.clear();
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
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(with_seconds && { second: "2-digit" }) };
  return new Intl.DateTimeFormat(lang, same ? clock : { day: "numeric", month: "short", ...clock }).format(at);
}
// "at 18:55", "on Dec 1 at 18:55".
function at_time(text) {
  const at = new Date(text);
  const clock = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(at);
  if (at.toDateString() === new Date(now()).toDateString()) return say("at_today", { time: clock });
  return say("at_day", { day: new Intl.DateTimeFormat(lang, { day: "numeric", month: "short" }).format(at), time: clock });
}
function left(expiry) {
  if (!expiry) return "–";
  const ms = Date.parse(expiry) - now();
  return ms < 0 ? "−" + length(-ms) : length(ms);
}
