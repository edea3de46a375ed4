/* The page's own script: the address is the view; a socket brings the regions; buttons change the address.
   Nothing that people wrote is ever put into markup: text goes into text nodes only. */
(function () {
  "use strict";
  const fw = (window.feltwire = window.feltwire || {});
  Object.assign(fw, { figures: fw.figures || {}, marks: {}, counts: [], on: fw.on || {} });
  const $ = (id) => document.getElementById(id);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const stored = (key) => { try { return localStorage.getItem("feltwire-" + key); } catch (e) { return null; } };
  const store = (key, value) => { try { localStorage.setItem("feltwire-" + key, value); } catch (e) { /* private mode */ } };
  fw.$ = $; fw.stored = stored; fw.store = store;
  fw.paused = false;

  /* ---------- the address ---------- */
  fw.params = () => new URLSearchParams(location.search);
  fw.go = function (params, replace) {
    for (const key of [...params.keys()]) if (!params.get(key)) params.delete(key);
    const text = params.toString().replaceAll("%3A", ":").replaceAll("+", "%20");
    const url = location.pathname + (text ? "?" + text : "");
    if (url === location.pathname + location.search) return;
    history[replace ? "replaceState" : "pushState"](null, "", url);
    look();
  };
  fw.set = function (key, value) {
    const params = fw.params();
    if (key === "track") {
      const others = params.getAll("track").slice(1).filter((name) => name !== value);
      params.delete("track");
      if (value) [value, ...others].forEach((name) => params.append("track", name));
    } else if (value) params.set(key, value); else params.delete(key);
    if (key === "range") { params.delete("from"); params.delete("to"); }
    fw.go(params);
  };
  fw.toggle = function (key, value) {
    const params = fw.params(), values = params.getAll(key), rest = values.filter((one) => one !== value);
    params.delete(key);
    if (key === "track" && !values.length) rest.push("*");
    (rest.length === values.length ? [...values, value] : rest).forEach((one) => params.append(key, one));
    fw.go(params);
  };
  fw.filter = function (text) {
    const params = fw.params(), kind = text.split(":", 1)[0], all = params.getAll("f");
    const rest = all.filter((one) => one.split(":", 1)[0] !== kind);
    params.delete("f");
    rest.forEach((one) => params.append("f", one));
    if (!all.includes(text)) params.append("f", text);
    fw.go(params);
  };

  /* ---------- parts that the server sends ---------- */
  const waiting = {};          // regions held while the pointer or the focus is in them
  const set = (id, children) => { fw.show($(id), children); if (id === "flags" || id === "overlay") fw.layFlags(); };
  const busy = (node) => node && (node.matches(":hover") && matchMedia("(hover: hover)").matches || node.contains(document.activeElement));
  const ready = () => !!($("feed") && $("phonenav") && $("toast"));
  let early = [];

  function take(parts) {
    if (!ready()) { early.push(parts); return; }
    for (const [name, value] of Object.entries(parts)) {
      const colon = name.indexOf(":"), kind = colon < 0 ? name : name.slice(0, colon), id = name.slice(colon + 1);
      if (kind === "children") region(id, value);
      else if (kind === "figure") { fw.figures[id] = value; fw.draw(id); }
      else if (fw.on[kind]) fw.on[kind](value);
    }
    document.documentElement.dataset.ready = "true";
  }
  fw.take = take;
  function region(id, value) {
    if (id === "where" && $("where").childElementCount) return;  // what is chosen there stays
    if (id === "feed" || id === "feednote") { fw.feed(id, value); return; }
    if (id === "use" && !fw.fresh && busy($("use"))) { waiting.use = value; return; }
    if (id === "scope" && document.querySelector("#scope details[open]") && !fw.fresh) { waiting.scope = value; return; }
    delete waiting[id];
    set(id, value);
  }
  fw.apply = set;
  function settle() {
    for (const id of Object.keys(waiting)) {
      const open = id === "scope" ? document.querySelector("#scope details[open]") : busy($(id));
      if (!open) { const value = waiting[id]; delete waiting[id]; set(id, value); }
    }
  }
  document.addEventListener("pointerout", () => setTimeout(settle, 30));
  document.addEventListener("focusout", () => setTimeout(settle, 30));
  fw.on.counts = (value) => { fw.counts = value; };
  fw.on.axis = (value) => { fw.axis = value; };
  fw.on.first = (value) => { fw.first = value; fw.start(); };
  fw.on.seen = (view) => { if (view === location.search) fw.fresh = false; };
  fw.on.posts = (value) => { fw.total = value; fw.start(); };

  /* ---------- the socket ---------- */
  let socket = null, tries = 0, heard = 0, lost = null, timer = null, nextAt = 0;
  const doing = {};
  function connect() {
    clearTimeout(timer);
    nextAt = 0;
    try { if (socket) { socket.onclose = null; socket.close(); } } catch (e) { /* it was closed */ }
    socket = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/_page/live");
    socket.onopen = () => { heard = Date.now(); look(); if (fw.paused) say({ pause: true }); };
    socket.onmessage = (event) => {
      heard = Date.now();
      if (lost) { lost = null; tries = 0; banner(); }
      const message = JSON.parse(event.data);
      if (message.parts) take(message.parts);
      if (message.beat) beat(message.beat);
      if (message.done) { const then = doing[message.for]; delete doing[message.for]; if (then) then(message); }
    };
    socket.onclose = gone;
  }
  function gone() {
    if (!lost) lost = new Date(heard || Date.now());
    tries += 1;
    const wait = Math.min(15000, 500 * 2 ** Math.min(tries, 5));
    nextAt = Date.now() + wait;
    clearTimeout(timer);
    timer = setTimeout(connect, wait);
    banner();
    signedOut();
  }
  /* A session that is over looks like a broken line from here: only a plain request says where to sign in. */
  function signedOut() {
    const here = location.pathname + location.search;
    fetch(location.pathname, { headers: { Accept: "text/html" }, redirect: "manual", cache: "no-store" }).then(
      (answer) => { if (answer.type === "opaqueredirect") location.assign("/login?" + new URLSearchParams({ next: here })); },
      () => { /* the server is away: the next try tells */ });
  }
  fw.retry = () => { connect(); banner(); };
  function say(message) {
    if (socket && socket.readyState === WebSocket.OPEN) { socket.send(JSON.stringify(message)); return true; }
    return false;
  }
  fw.say = say;
  let numbers = 0;
  fw.ask = function (name, given, then) {
    const id = String(++numbers);
    doing[id] = then;
    if (!say({ do: name, for: id, ...given })) { delete doing[id]; then({ error: "Not connected. Nothing was sent." }); }
  };
  function look() {
    fw.fresh = true;           // until all of the answer is here: nothing of it is held, however long it takes
    const page = fw.params().get("page") || "overview";
    document.documentElement.dataset.page = page;
    fw.release(true);
    say({ see: location.search, zone });
  }
  addEventListener("popstate", look);

  let behind = null, trouble = null;
  function beat(value) { behind = value.behind; trouble = value.error; state(); }
  function state() {
    if (!$("livetext")) return;
    const live = $("live");
    let word = fw.paused ? "Paused" : lost ? "Not live" : !heard ? "Connecting" : "Live";
    let more = "";
    if (word === "Live" && fw.total === 0) word = "Waiting for the first post";
    else if (word === "Live" && typeof behind === "number") more = behind < 600 ? behind.toFixed(behind < 10 ? 1 : 0) + " s behind" : "no new posts";
    live.dataset.state = fw.paused ? "paused" : lost ? "lost" : "live";
    if ($("livetext").textContent !== word) $("livetext").textContent = word;
    if ($("behind").textContent !== more) $("behind").textContent = more;
  }
  fw.state = state;
  let said = "";
  function banner() {
    state();
    const box = $("banner");
    if (!box) return;
    if (!lost || Date.now() - lost < 1500) { if (said) { said = ""; box.replaceChildren(); } return; }
    if (!said) {
      box.replaceChildren();
      const bar = document.createElement("div"), icon = document.createElement("span"), text = document.createElement("span");
      bar.className = "bar";
      icon.className = "ic i-off"; icon.setAttribute("aria-hidden", "true");
      const strong = document.createElement("b"); strong.id = "lostsince"; strong.setAttribute("role", "alert");
      strong.textContent = "Not live since " + lost.toLocaleTimeString("en-GB") + ". ";
      const rest = document.createElement("span"); rest.id = "lostrest";
      text.append(strong, rest);
      const space = document.createElement("span"); space.className = "sp";
      const again = document.createElement("button");
      again.type = "button"; again.className = "btn s"; again.dataset.do = "retry"; again.textContent = "Try now";
      bar.append(icon, text, space, again);
      box.append(bar);
      said = "yes";
    }
    const age = Math.round((Date.now() - lost) / 1000), left = Math.max(0, Math.ceil((nextAt - Date.now()) / 1000));
    const long = age < 120 ? age + " s" : Math.round(age / 60) + " min";
    $("lostrest").textContent = "What you see is " + long + " old. " + (nextAt ? "Trying again in " + left + " s." : "Trying now.");
  }
  setInterval(() => {
    if (lost) banner();
    else if (heard && Date.now() - heard > 16000 && socket && socket.readyState === WebSocket.OPEN) { socket.onclose = null; socket.close(); gone(); }
    if (early.length && ready()) { const parts = early; early = []; parts.forEach(take); }
  }, 1000);

  /* ---------- first start ---------- */
  fw.start = function () {
    if (fw.first === undefined) return;
    const empty = fw.first && !stored("seen-all") && !fw.params().get("track");
    document.documentElement.dataset.first = empty ? "true" : "false";
    if (empty) fw.firstPage();
    state();
  };

  /* ---------- start ---------- */
  document.documentElement.dataset.page = fw.params().get("page") || "overview";
  if (stored("paused") === "true") fw.paused = true;
  connect();
  const tick = setInterval(() => {
    if (!ready()) return;
    clearInterval(tick);
    $("app").classList.remove("loading");
    fw.boot();
    const parts = early; early = [];
    parts.forEach(take);
    state();
  }, 15);
})();
