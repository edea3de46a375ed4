/* Compare, Health and the explanation: links inside the page, the outlined span, figures whose place came later. */
(function () {
  "use strict";
  const fw = (window.feltwire = window.feltwire || {});
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  /* links that change the address without leaving the page */
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[data-goto]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    fw.go(new URLSearchParams(link.getAttribute("href").replace(/^\?/, "")));
  });

  /* the span that is explained: outlined in the plot, both spans under the axis */
  let span = null;
  function place() {
    const box = $("plotbox");
    if (!box) return;
    let layer = $("spans");
    if (!layer) {
      layer = document.createElement("div");
      layer.id = "spans"; layer.className = "spans"; layer.setAttribute("aria-hidden", "true");
      for (const kind of ["s-chosen", "s-now", "s-before"]) { const part = document.createElement("i"); part.className = kind; layer.append(part); }
      box.append(layer);
    }
    layer.hidden = !span || !fw.axis;
    if (layer.hidden) return;
    const [low, high] = fw.axis, at = (t) => Math.max(0, Math.min(1, (t - low) / (high - low)));
    const put = (node, from, to) => { node.hidden = at(to) <= at(from); node.style.setProperty("--from", at(from)); node.style.setProperty("--till", at(to)); };
    put(layer.children[0], span[0], span[1]);
    put(layer.children[1], span[0], span[1]);
    put(layer.children[2], span[2], span[3]);
  }
  fw.on.span = (value) => { span = value; place(); };
  const axis = fw.on.axis;
  fw.on.axis = (value) => { if (axis) axis(value); fw.axis = value; place(); };

  /* the panel: the frame makes room for it, and it takes the focus once when it opens */
  let opened = "", byLink = !!fw.params().get("at");  // the panel of a link that was opened leaves the focus where it is
  function watch() {
    const aside = $("aside"), other = $("other");
    if (!aside || !other) { setTimeout(watch, 50); return; }
    const look = () => {
      const open = !!aside.firstElementChild, at = open ? fw.params().get("at") || "" : "";
      const was = root.dataset.aside;
      root.dataset.aside = open ? "true" : "false";
      if (was !== root.dataset.aside) setTimeout(fw.drawAll, 0);
      if (at && at !== opened) { const title = $("explain-title"); if (title && !opened && !byLink) title.focus({ preventScroll: true }); const body = aside.querySelector(".xbody"); if (body) body.scrollTop = 0; }
      if (opened && !at) { const flag = document.querySelector(`[data-explain="${opened}"]`); if (flag && flag.offsetParent) flag.focus({ preventScroll: true }); }
      if (open) byLink = false;
      opened = at;
    };
    new MutationObserver(look).observe(aside, { childList: true });
    new MutationObserver(draw).observe(other, { childList: true, subtree: true });
    look();
    draw();
  }
  /* Figures live in elements of this script's own, which are put back into their places whenever the server's
     elements were changed: what Plotly drew is kept. */
  const hosts = {};
  const shown = {};
  function draw() {
    for (const slot of document.querySelectorAll("#other .figure-slot")) {
      const id = slot.dataset.figure;
      if (!hosts[id]) { hosts[id] = document.createElement("div"); hosts[id].id = id; hosts[id].className = "figure-host"; }
      if (hosts[id].parentNode !== slot) { slot.append(hosts[id]); fw.draw(id); }
    }
    for (const button of document.querySelectorAll("#other [data-table]")) table(button);
  }

  /* tables behind the charts of these pages */
  function table(button) {
    const node = $(button.dataset.table), on = !!shown[button.dataset.table];
    if (!node) return;
    if (node.hidden === on) node.hidden = !on;
    if (button.getAttribute("aria-pressed") !== String(on)) button.setAttribute("aria-pressed", String(on));
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("#other [data-table]");
    if (!button) return;
    shown[button.dataset.table] = !shown[button.dataset.table];
    table(button);
  });
  watch();
})();
