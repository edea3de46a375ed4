/* Buttons, menus, dialogs and keys. One listener: a button says by its data- attributes what it does. */
(function () {
  "use strict";
  const fw = (window.feltwire = window.feltwire || {});
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  fw.on = fw.on || {};

  /* ---------- dialogs, toast ---------- */
  let from = null;
  fw.open = function (id) {
    const dialog = $(id);
    if (!dialog || dialog.open) return;
    from = document.activeElement;
    dialog.showModal();
  };
  fw.close = function () {
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    closeMenus();
  };
  document.addEventListener("close", (event) => {
    if (!(event.target instanceof HTMLDialogElement)) return;
    const to = event.target.returnTo || from;
    event.target.returnTo = null;
    if (to && to.isConnected) to.focus();
  }, true);
  document.addEventListener("click", (event) => { if (event.target instanceof HTMLDialogElement) event.target.close(); });
  let fading = null;
  fw.toast = function (text, action, long) {
    const box = $("toast"), words = document.createElement("span");
    words.textContent = text;
    box.replaceChildren(words);
    if (action) {
      const button = document.createElement("button");
      button.type = "button"; button.className = "ul"; button.textContent = action.text;
      button.addEventListener("click", () => action.then());
      box.append(button);
    }
    box.dataset.on = "true";
    clearTimeout(fading);
    fading = setTimeout(() => { box.dataset.on = "false"; box.replaceChildren(); }, long || 3000);
  };
  function closeMenus(but) {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== but) menu.open = false;
  }
  document.addEventListener("toggle", (event) => { if (event.target.matches && event.target.matches("details.menu") && event.target.open) closeMenus(event.target); }, true);
  document.addEventListener("pointerdown", (event) => { closeMenus(event.target.closest && event.target.closest("details.menu")); });

  /* ---------- what buttons do ---------- */
  const copy = (text, done) => navigator.clipboard ? navigator.clipboard.writeText(text).then(() => fw.toast(done), () => fw.toast("Copying is not allowed here.")) : fw.toast("Copying is not possible here.");
  const article = (node) => node.closest("article");
  const actions = {
    pause() {
      fw.paused = !fw.paused;
      fw.say({ pause: fw.paused });
      if (!fw.paused) fw.say({ see: location.search, zone: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC" });
      showPause(); fw.state();
    },
    share() { copy(location.href, "The link to this view is copied."); },
    copy(node) { copy(node.dataset.text, "Copied."); },
    theme() {
      const theme = root.dataset.theme === "dark" ? "light" : "dark";
      root.dataset.theme = theme;
      fw.store("theme", theme);
    },
    signout() { fetch("/logout", { method: "POST", redirect: "manual" }).finally(() => location.assign("/login")); },
    help() { fw.open("help"); },
    method() { fw.open("method"); },
    close() { fw.close(); if (root.dataset.page === "explain") fw.set("at", ""); },
    retry() { fw.retry(); },
    again(node) { fw.say({ again: node.dataset.region }); },
    set(node) { fw.set(node.dataset.key, node.dataset.value); },
    drop(node) { const params = fw.params(); params.delete(node.dataset.key); if (node.dataset.key === "q") $("search").value = ""; fw.go(params); },
    release() { fw.release(); },
    why(node) { fw.why(article(node)); },
    wrong(node) { fw.wrong(article(node)); },
    correct(node) { fw.correct(node.dataset.value); },
    png() { closeMenus(); fw.picture(); },
    csv(node) {
      closeMenus();
      const link = document.createElement("a");
      link.href = "/_page/" + node.dataset.what + ".csv" + location.search;
      link.download = "feltwire-" + node.dataset.what + ".csv";
      link.click();
    },
    custom() {
      const at = (id) => { const text = $(id).value.trim().replace(" ", "T"); const found = new Date(text.length <= 16 ? text + ":00" : text); return isNaN(found) ? null : found; };
      const low = at("field-from"), high = at("field-to");
      if (!low || !high || high <= low) { $("customerror").textContent = "Two times such as 2026-03-01 14:05, the second later."; return; }
      const params = fw.params(), iso = (date) => date.toISOString().slice(0, 19) + "Z";
      params.delete("range"); params.set("from", iso(low)); params.set("to", iso(high));
      closeMenus();
      fw.go(params);
    },
    newtrack() { closeMenus(); fw.open("newtrack"); },
    addtrack() { fw.addTrack("field-trackname", "field-trackquery", "trackerror"); },
    keys() { fw.store("keys", keysOn() ? "off" : "on"); showKeys(); },
    sheet() { root.dataset.sheet = root.dataset.sheet === "true" ? "false" : "true"; },
    postspage() { root.dataset.phone = "posts"; scrollTo(0, 0); mark(); },
    firstgo() { fw.addTrack("field-firstname", "field-firstquery", "firsterror", true); },
    simulated() { toCopy("In a terminal, beside this one. It has a lake of its own, so nothing of it mixes with what you keep here:", "feltwire demo"); },
    setup(node) { toCopy("Into feltwire.toml; it is read when Feltwire is started the next time:", node.dataset.text); },
    where(node) {
      const on = node.getAttribute("aria-pressed") !== "true";
      node.setAttribute("aria-pressed", String(on));
      node.classList.toggle("on", on);
      $("firsterror").textContent = "";
      match("field-firstquery", "firstmatch");
    },
    seeall() { fw.store("seen-all", "true"); fw.start(); fw.drawAll(); },
  };
  function toCopy(words, lines) {
    const box = $("firsttoml"), text = document.createElement("p"), code = document.createElement("pre"), button = document.createElement("button");
    text.className = "f12 i2";
    text.textContent = words;
    code.textContent = lines; code.tabIndex = 0;
    button.type = "button"; button.className = "btn s"; button.dataset.do = "copy"; button.dataset.text = lines; button.textContent = "Copy";
    box.replaceChildren(text, code, button);
  }
  document.addEventListener("click", (event) => {
    const node = event.target.closest("[data-do],[data-set],[data-toggle],[data-filter],[data-page],[data-explain]");
    if (!node) return;
    const data = node.dataset;
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (data.page !== undefined && node.tagName === "A") {
      event.preventDefault();
      root.dataset.phone = "now";
      const params = fw.params();
      if (data.page === "overview") params.delete("page"); else params.set("page", data.page);
      params.delete("at");
      fw.go(params); mark();
      return;
    }
    if (node.tagName === "A" && data.do) event.preventDefault();
    if (data.set) { fw.set(data.set, data.value); closeMenus(); }
    else if (data.toggle) fw.toggle(data.toggle, data.value);
    else if (data.filter) {
      // The list itself is held while the pointer or the focus is in it.
      if (node.hasAttribute("aria-pressed")) node.setAttribute("aria-pressed", String(node.getAttribute("aria-pressed") !== "true"));
      fw.filter(data.filter);
    }
    else if (data.explain) fw.set("at", fw.params().get("at") === data.explain ? "" : data.explain);
    else if (actions[data.do]) actions[data.do](node);
  });
  function mark() {
    const nav = $("phonenav");
    if (!nav) return;
    for (const link of nav.children) {
      const on = root.dataset.phone === "posts" ? link.dataset.do === "postspage" : link.dataset.page === root.dataset.page;
      if (on) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
  }
  function showPause() {
    const button = document.querySelector("[data-do=pause]");
    button.setAttribute("aria-label", fw.paused ? "Go on" : "Pause");
    button.querySelector(".ic").className = "ic " + (fw.paused ? "i-play" : "i-pause");
    button.querySelector(".word").textContent = fw.paused ? "Go on" : "Pause";
  }
  fw.on.login = (on) => { $("signout").hidden = !on; };
  fw.on.table = (on) => {
    $("charttable").hidden = !on;
    $("plotbox").dataset.table = on ? "true" : "false";
    if (!on) fw.draw("plot");
  };

  /* ---------- a new track ---------- */
  /* the query, narrowed to the sources that are chosen where several are read; null where none is */
  function narrowed(query) {
    const all = [...document.querySelectorAll("#where [data-source]")], on = all.filter((one) => one.getAttribute("aria-pressed") === "true");
    if (all.length && !on.length) return null;
    return on.length === all.length ? query : "(" + query + ") (" + on.map((one) => "source:" + one.dataset.source).join(" OR ") + ")";
  }
  fw.addTrack = function (nameId, queryId, errorId, first) {
    const name = $(nameId).value, typed = $(queryId).value, query = first && typed.trim() ? narrowed(typed.trim()) : typed;
    $(errorId).textContent = query === null ? "Choose one source at least." : "";
    if (query === null) return;
    fw.ask("track", { name, query }, (answer) => {
      if (answer.error) { $(errorId).textContent = answer.error; return; }
      if (answer.added) { fw.close(); fw.store("seen-all", "true"); fw.toast("Listening for " + answer.added + "."); fw.set("track", answer.added); return; }
    });
  };
  let asking = null;
  function match(queryId, boxId) {
    clearTimeout(asking);
    asking = setTimeout(() => {
      const typed = $(queryId).value.trim(), box = $(boxId), query = typed && boxId === "firstmatch" ? narrowed(typed) : typed;
      if (!query) { box.replaceChildren(); return; }
      fw.ask("match", { query }, (answer) => {
        const words = document.createElement("span");
        if (answer.error) words.textContent = answer.error;
        else if (!answer.seen) words.textContent = "No post has come in the last 10 minutes.";
        else words.textContent = answer.seen.toLocaleString("en-GB") + " posts seen in 10 min, " + answer.matched.toLocaleString("en-GB") + " of them match. About " + (answer.matched / answer.minutes >= 10 ? Math.round(answer.matched / answer.minutes) : (answer.matched / answer.minutes).toFixed(1)) + " a minute.";
        const dot = document.createElement("span"); dot.className = "dot";
        box.replaceChildren(dot, words);
      });
    }, 300);
  }
  document.addEventListener("input", (event) => {
    if (event.target.id === "field-trackquery") match("field-trackquery", "trackmatch");
    if (event.target.id === "field-firstquery") match("field-firstquery", "firstmatch");
  });
  let watching = null;
  fw.firstPage = function () {
    if (watching) return;
    watching = setInterval(() => { if (root.dataset.first === "true" && $("field-firstquery") && $("field-firstquery").value.trim()) match("field-firstquery", "firstmatch"); }, 3000);
  };

  /* ---------- keys ---------- */
  const keysOn = () => fw.stored("keys") !== "off";
  function showKeys() {
    const button = document.querySelector("[data-do=keys]");
    if (button) button.setAttribute("aria-pressed", keysOn() ? "true" : "false");
  }
  let chord = 0;
  const step = (selector, by, key) => {
    const all = [...document.querySelectorAll(selector)], at = all.indexOf(document.activeElement.closest(selector));
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const menu = event.target.closest && event.target.closest("details.menu[open]");
      if (menu) { menu.open = false; menu.querySelector("summary").focus(); return; }
      closeMenus();
      root.dataset.sheet = "false";
      if (event.target.id === "search") { event.target.blur(); return; }
      if (event.target.closest && event.target.closest("#feed")) { event.target.blur(); fw.release(); return; }
      if (fw.params().get("at")) fw.set("at", "");
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input,textarea,select,[contenteditable]");
    if (typing || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && event.target.matches && event.target.matches("article.post")) {
      const link = event.target.querySelector("a.act");
      if (link) link.click();
      return;
    }
    if (!keysOn()) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (chord && Date.now() - chord < 1500) {
      chord = 0;
      const page = { o: "overview", c: "compare", h: "health", t: "tickets" }[key];
      const link = page && document.querySelector(`.tabs [data-page=${page}]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const does = {
      p: () => actions.pause(), "/": () => $("search").focus(), "?": () => fw.open("help"),
      j: () => step("#feed article.post", 1), k: () => step("#feed article.post", -1),
      "[": () => step("#flags .flag", -1), "]": () => step("#flags .flag", 1), g: () => { chord = Date.now(); },
    }[key];
    if (does) { event.preventDefault(); does(); }
  });

  /* arrow keys in menus and groups of choices */
  document.addEventListener("keydown", (event) => {
    if (!["ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    const group = event.target.closest && event.target.closest(".pop,.seg,.mini,.ranked,#feed,.tabs");
    if (!group || event.target.closest("input,.tablebox")) return;
    const all = [...group.querySelectorAll(group.id === "feed" ? "article.post" : "button,a,input")].filter((one) => !one.disabled);
    const at = all.indexOf(group.id === "feed" ? event.target.closest("article") : event.target);
    const next = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : at + (event.key === "ArrowDown" || event.key === "ArrowRight" ? 1 : -1);
    if (at < 0 || !all[next]) return;
    event.preventDefault();
    all[next].focus();
  });

  fw.boot = function () { showKeys(); showPause(); mark(); fw.showSearch(); setTimeout(() => fw.drawAll(), 0); };
  addEventListener("popstate", () => { fw.showSearch(); mark(); });
  root.dataset.phone = "now";
})();
