// The way in and out, and the keys.

function sign_in(why) {
  clearTimeout(timer);
  turn += 1;
  token = "";
  sessionStorage.removeItem("tbtokend-token");
  [status, right, etag, events, next, open, is_new] = [null, null, "", [], null, null, true];
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
$("stop").onclick = () => confirm_that(say("stop_question"), say("stop"), true, () => act({ action: "stop" }));
$("sort").onchange = sorted;
$("show-all").onclick = () => { filter = "total"; $("search").value = ""; again(); $("search").focus(); };
let typing = 0;
$("search").oninput = () => { clearTimeout(typing); typing = setTimeout(again, 200); };
$("lang").onclick = async () => {
  lang = lang === "de" ? "en" : "de";
  localStorage.setItem("tbtokend-lang", lang);
  await load_words();
  tell("");
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
