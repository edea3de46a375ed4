/* The chart as a picture that stands by itself: its heading, both titles, the legend, the flags and where it is from. */
(function () {
  "use strict";
  const fw = (window.feltwire = window.feltwire || {});
  const EDGE = 24, HEAD = 68, FOOT = 36, SCALE = 2;
  function token(name) { return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim(); }
  function write(canvas, text, x, y, font, colour) {
    canvas.font = font;
    canvas.fillStyle = colour;
    canvas.fillText(text, x, y);
  }
  /* What lies over the plot as HTML, painted where it stands. */
  function paint(canvas, node, origin) {
    const style = getComputedStyle(node), box = node.getBoundingClientRect();
    if (style.visibility === "hidden" || style.display === "none" || !box.width) return;
    const x = box.left - origin.left, y = box.top - origin.top;
    if (node.matches(".flag")) {
      canvas.beginPath();
      canvas.roundRect(x, y, box.width, box.height, 4);
      canvas.fillStyle = style.backgroundColor;
      canvas.fill();
      canvas.strokeStyle = style.borderTopColor;
      canvas.stroke();
    }
    if (node.matches(".si")) {
      const sign = ["neg", "mix", "neu", "pos"].find((name) => node.classList.contains("s-" + name));
      canvas.fillStyle = token(sign || "bar");
      canvas.fillRect(x + 1, y + 1, box.width - 2, box.height - 2);
      return;
    }
    for (const child of node.childNodes) {
      if (child.nodeType === Node.ELEMENT_NODE) { paint(canvas, child, origin); continue; }
      if (child.nodeType !== Node.TEXT_NODE || !child.data.trim()) continue;
      const range = document.createRange();
      range.selectNodeContents(child);
      const at = range.getBoundingClientRect();
      write(canvas, child.data, at.left - origin.left, at.top - origin.top + at.height * 0.77, `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`, style.color);
    }
  }
  function words(selector) { const node = document.querySelector(selector); return node ? node.innerText.trim().split("\n")[0] : ""; }
  fw.picture = async function () {
    const host = document.getElementById("plot"), origin = host.getBoundingClientRect();
    const { width, height } = origin;
    const plot = new Image();
    plot.src = await window.Plotly.toImage(host, { format: "png", width, height, scale: SCALE });
    await plot.decode();
    const picture = document.createElement("canvas");
    picture.width = (width + 2 * EDGE) * SCALE;
    picture.height = (HEAD + height + FOOT) * SCALE;
    const canvas = picture.getContext("2d"), family = getComputedStyle(document.body).fontFamily;
    canvas.scale(SCALE, SCALE);
    canvas.fillStyle = token("surface");
    canvas.fillRect(0, 0, width + 2 * EDGE, HEAD + height + FOOT);
    write(canvas, words("#charthead h2"), EDGE, 34, `600 16px ${family}`, token("ink"));
    write(canvas, words("#charthead .details").replace(/ · how spikes are found$/, ""), EDGE, 54, `400 12px ${family}`, token("ink2"));
    canvas.drawImage(plot, EDGE, HEAD, width, height);
    canvas.translate(EDGE, HEAD);
    for (const id of ["overlay", "flags"]) paint(canvas, document.getElementById(id), origin);
    const day = new Date().toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
    write(canvas, `feltwire · ${day} · ${words(".when")}`, 0, height + 22, `400 11px ${family}`, token("ink3"));
    const link = document.createElement("a");
    link.href = picture.toDataURL("image/png");
    link.download = "feltwire.png";
    link.click();
  };
})();
