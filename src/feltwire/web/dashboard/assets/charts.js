/* Drawing: figures come with colours by name; here they become those of the theme. */
(function () {
  "use strict";
  const fw = (window.feltwire = window.feltwire || {});
  const config = { displayModeBar: false, responsive: false, doubleClick: false, showTips: false, locale: "en" };
  function token(name) { return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim() || "#888"; }
  function painted(value) {
    if (typeof value === "string") return value[0] === "@" ? token(value.slice(1)) : value;
    if (Array.isArray(value)) return value.length && typeof value[0] === "number" ? value.slice() : value.map(painted);
    if (value && typeof value === "object") {
      const found = {};
      for (const key in value) found[key] = painted(value[key]);
      return found;
    }
    return value;
  }
  fw.draw = function (id) {
    const host = document.getElementById(id), figure = fw.figures[id];
    if (!host || !figure || !window.Plotly || !host.clientWidth || !host.clientHeight) return;
    const { data, layout } = painted(figure);
    layout.width = host.clientWidth;
    layout.height = host.clientHeight;
    if (matchMedia("(max-width: 700px)").matches && id === "plot") {
      layout.margin.l = 40; layout.margin.r = 40; layout.xaxis.nticks = 4;
    }
    layout.dragmode = matchMedia("(hover: none)").matches ? false : layout.dragmode;
    window.Plotly.react(host, data, layout, config).then(() => {
      if (!host.dataset.wired && host.on) { host.dataset.wired = "true"; wire(host, id); }
      document.documentElement.dataset.drawn = "true";
    });
    if (id === "plot") fw.layFlags();
  };
  /* Flags never cover one another. All begin as their numbers, moved apart as little as is needed; then, the greatest
     first, each says as much as has room beside its line. */
  const BARE = "bare", GAP = 4;
  fw.layFlags = function () {
    const box = document.getElementById("flags"), title = document.querySelector("#overlay .t-mood");
    if (!box) return;
    const phone = matchMedia("(max-width: 700px)").matches, width = box.clientWidth;
    if (!width) return;
    const style = getComputedStyle(box.parentNode), left = parseFloat(style.getPropertyValue("--l")), right = parseFloat(style.getPropertyValue("--r"));
    const flags = [...box.querySelectorAll(".flag")].map((node) => ({ node, rank: Number(node.dataset.rank), x: left + (width - left - right) * parseFloat(node.style.getPropertyValue("--x")) }));
    const dress = (flag, form) => { const name = "flag " + flag.node.dataset.kind + (form ? " " + form : ""); if (flag.node.className !== name) flag.node.className = name; return Math.ceil(flag.node.getBoundingClientRect().width); };
    for (const flag of flags) { flag.wide = phone ? 0 : dress(flag, ""); flag.brief = dress(flag, "brief"); flag.w = dress(flag, BARE); flag.form = BARE; flag.at = flag.x - flag.w / 2; }
    flags.sort((a, b) => a.x - b.x);
    flags.forEach((flag, i) => { if (i) flag.at = Math.max(flag.at, flags[i - 1].at + flags[i - 1].w + GAP); });
    for (let i = flags.length - 1, most = width; i >= 0; i--) { flags[i].at = Math.min(flags[i].at, most - flags[i].w); most = flags[i].at - GAP; }
    const free = (low, high, but) => low >= 0 && high <= width && flags.every((one) => one === but || one.at + one.w + GAP <= low || one.at >= high + GAP);
    for (const flag of [...flags].sort((a, b) => a.rank - b.rank)) {
      for (const [form, w] of [["", flag.wide], ["brief", flag.brief]]) {
        const sides = flag.x > width / 2 ? [flag.x - w, flag.x] : [flag.x, flag.x - w];
        const low = w ? sides.find((one) => free(one, one + w, flag)) : undefined;
        if (low !== undefined) { Object.assign(flag, { form, at: low, w }); break; }
      }
    }
    for (const flag of flags) { dress(flag, flag.form); flag.node.style.setProperty("--at", Math.round(flag.at) + "px"); }
    if (!title) return;
    title.hidden = false;
    const long = title.getBoundingClientRect().width + 12, places = [left, width - right - long + 12];
    const low = places.find((one) => free(one, one + long - 12, null));
    if (low === undefined) title.hidden = true; else title.style.left = Math.round(low) + "px";
  };
  fw.drawAll = function () { for (const id of Object.keys(fw.figures)) fw.draw(id); };
  function wire(host, id) {
    if (id !== "plot") return;
    host.on("plotly_relayout", (change) => {
      const from = change["xaxis.range[0]"], to = change["xaxis.range[1]"];
      if (!from || !to || !fw.axis) return;
      const range = fw.figures.plot.layout.xaxis.range, parse = (text) => Date.parse(String(text).slice(0, 19).replace(" ", "T") + "Z");
      const low = parse(range[0]), high = parse(range[1]);
      const at = (text) => fw.axis[0] + (parse(text) - low) / (high - low) * (fw.axis[1] - fw.axis[0]);
      const iso = (s) => new Date(Math.round(s / 60) * 60000).toISOString().slice(0, 19) + "Z";
      if (at(to) - at(from) < 60) { fw.draw("plot"); return; }
      const params = fw.params();
      params.delete("range");
      params.set("from", iso(at(from)));
      params.set("to", iso(at(to)));
      fw.go(params);
    });
  }
  let sizing = null;
  addEventListener("resize", () => { clearTimeout(sizing); sizing = setTimeout(fw.drawAll, 60); });
  new MutationObserver(fw.drawAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
})();
