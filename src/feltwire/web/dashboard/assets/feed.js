/* The posts: calm to read. The list is held while it is read, words are marked on demand, a label can be corrected. */
(function () {
  "use strict";
  const fw = (window.feltwire = window.feltwire || {});
  const $ = (id) => document.getElementById(id);
  let held = null, heldCounts = null, heldOpen = false;
  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const newest = () => fw.counts.length ? new Map(fw.counts.map(([at, n]) => [at, n])) : new Map();

  function reading() {
    const feed = $("feed");
    if (!feed) return false;
    const box = $("posts");
    return heldOpen || feed.scrollTop > 4 || (matchMedia("(hover: hover)").matches && feed.matches(":hover"))
      || (feed.contains(document.activeElement)) || (document.activeElement && document.activeElement.id === "held" && box.contains(document.activeElement));
  }
  let notes = null;
  fw.feed = function (id, value) {
    if (id === "feednote") { notes = value; if (!held) { fw.apply("feednote", value); } return; }
    if (!fw.fresh && reading() && document.querySelector("#feed article")) {
      if (!held) heldCounts = heldCounts || newest();
      held = value;
      count();
      return;
    }
    show(value);
  };
  function show(value) {
    const before = new Set([...document.querySelectorAll("#feed article")].map((one) => one.dataset.id));
    held = null; heldCounts = null;
    $("held").hidden = true;
    fw.apply("feed", value);
    if (document.querySelector("#feed article")) $("feed").setAttribute("role", "feed"); else $("feed").setAttribute("role", "group");  // a feed without an article is none
    if (notes !== null) fw.apply("feednote", notes);
    $("feed").setAttribute("aria-busy", "false");
    requestAnimationFrame(() => {
      decorate();
      if (!before.size || still()) return;
      for (const article of document.querySelectorAll("#feed article")) {
        if (before.has(article.dataset.id)) continue;
        article.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 150, easing: "ease-out" });
      }
    });
  }
  function count() {
    if (!held) return;
    let many = 0;
    const first = heldCounts && heldCounts.size ? Math.min(...heldCounts.keys()) : 0;
    for (const [at, n] of fw.counts) if (at >= first) many += Math.max(0, n - (heldCounts.get(at) || 0));
    const button = $("held"), text = many ? "Held: " + many.toLocaleString("en-GB") + " new post" + (many === 1 ? "" : "s") : "Held: new posts";
    if (button.textContent !== text) button.textContent = text;
    button.hidden = false;
  }
  fw.release = function (silent) {
    heldOpen = false;
    const feed = $("feed");
    if (!feed) return;
    feed.scrollTop = 0;
    if (!silent && feed.contains(document.activeElement)) document.activeElement.blur();
    if (held) show(held);
  };
  function resume() { setTimeout(() => { if (held && !reading()) show(held); }, 120); }
  document.addEventListener("pointerout", (event) => { if (event.target.closest && event.target.closest("#feed")) resume(); });
  document.addEventListener("focusout", (event) => { if (event.target.closest && event.target.closest("#feed")) resume(); });
  document.addEventListener("scroll", (event) => { if (event.target.id === "feed") resume(); }, true);

  /* ---------- why: words marked ---------- */
  function decorate() {
    for (const article of document.querySelectorAll("#feed article")) {
      const box = article.querySelector(".tx"), found = fw.marks[article.dataset.id], on = box.querySelector("mark");
      if (found && !on) mark(box, found);
      else if (!found && on) box.textContent = box.textContent;
      const button = article.querySelector("[data-do=why]");
      if (button) button.setAttribute("aria-pressed", found ? "true" : "false");
    }
  }
  fw.decorate = decorate;
  function mark(box, found) {
    const points = Array.from(box.textContent), pieces = [];
    let at = 0;
    for (const [start, end, way] of found) {
      if (start < at || end > points.length) continue;
      if (start > at) pieces.push(document.createTextNode(points.slice(at, start).join("")));
      const node = document.createElement("mark"), told = document.createElement("span");
      node.className = way;
      node.textContent = points.slice(start, end).join("");
      node.title = way === "neg" ? "pulls the mood down" : "pulls the mood up";
      told.className = "vh";
      told.textContent = "";
      pieces.push(node);
      at = end;
    }
    pieces.push(document.createTextNode(points.slice(at).join("")));
    box.replaceChildren(...pieces);
  }
  fw.why = function (article) {
    const id = article.dataset.id;
    if (fw.marks[id]) { delete fw.marks[id]; decorate(); return; }
    const button = article.querySelector("[data-do=why]");
    button.setAttribute("aria-busy", "true");
    fw.ask("why", { id }, (answer) => {
      button.removeAttribute("aria-busy");
      if (answer.error) { fw.toast("Why is not known: " + answer.error); return; }
      fw.marks[id] = answer.marks;
      decorate();
      if (!answer.marks.length) fw.toast("No single word moved this label.");
      else fw.toast(answer.marks.map(([s, e, way]) => Array.from(article.querySelector(".tx").textContent).slice(s, e).join("") + (way === "neg" ? " pulls down" : " pulls up")).join(", "), null, 4000);
    });
  };

  /* ---------- wrong?: a correction, with five seconds to take it back ---------- */
  let about = null, pending = null;
  fw.wrong = function (article) {
    about = article;
    heldOpen = true;
    const dialog = $("wrong");
    for (const button of dialog.querySelectorAll("[data-do=correct]")) button.disabled = button.dataset.value === article.dataset.label;
    dialog.returnTo = article;
    fw.open("wrong");
  };
  fw.correct = function (value) {
    const id = about && about.dataset.id;
    fw.close();
    if (!id) return;
    if (pending) pending.send();
    const send = () => {
      clearTimeout(mine.timer);
      if (pending === mine) pending = null;
      fw.ask("correct", { id, value }, (answer) => {
        if (answer.error) fw.toast("Not stored: " + answer.error);
        else { const shown = [...document.querySelectorAll("#feed article")].find((one) => one.dataset.id === id); if (shown) shown.dataset.corrected = value; fw.toast("Stored: " + value + "."); }
      });
    };
    const mine = { send, timer: setTimeout(() => mine.send(), 5000) };
    pending = mine;
    fw.toast("Stored as " + value + " in 5 s.", { text: "Undo", then: () => { clearTimeout(mine.timer); if (pending === mine) pending = null; fw.toast("Taken back."); } }, 5000);
  };
  addEventListener("pagehide", () => { if (pending) pending.send(); });
  document.addEventListener("close", (event) => { if (event.target.id === "wrong") { heldOpen = false; resume(); } }, true);

  /* ---------- search ---------- */
  let typing = null;
  document.addEventListener("input", (event) => {
    if (event.target.id !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(() => { const params = fw.params(), text = event.target.value.trim(); if (text) params.set("q", text); else params.delete("q"); fw.go(params, true); }, 350);
  });
  fw.showSearch = function () {
    const box = $("search"), text = fw.params().get("q") || "";
    if (box && document.activeElement !== box && box.value !== text) box.value = text;
  };
})();
