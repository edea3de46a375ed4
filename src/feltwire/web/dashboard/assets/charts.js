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
