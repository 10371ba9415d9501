"use strict";
// The admin page. The daemon sends the files of this folder as one script, so they share their names.
// Every value is put in with textContent, so that no name of a user can become a part of the page.

const API = "/api/cron/refresh-tokens";
const LIMIT = 500;
const MOST_CAUSES = 4;
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
let is_new = true; // Nothing was shown yet.
const rows = new Map();

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}
