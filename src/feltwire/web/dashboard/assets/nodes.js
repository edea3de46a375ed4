/* Puts the server's elements into the page: [tag, attributes, children], text as text. What is there already is kept
   and only what differs is changed, so that focus, hover and open menus stay. No markup is ever read. */
(function () {
  "use strict";
  const fw = (window.feltwire = window.feltwire || {});
  const tags = new Set(("a article b button caption dd details div dl dt h1 h2 h3 hr i input kbd label li main nav ol p pre section span strong "
    + "summary table tbody td th thead time tr ul dialog form mark u em small").split(" "));
  const forbidden = /^(on|srcdoc|src$|formaction|action$|style$|srcset)/;
  const web = /^(https?:\/\/|\/(?!\/)|[?#])/i;

  function attribute(node, name, value) {
    if (name === "style") { style(node, value); return; }
    if (forbidden.test(name)) return;
    if (name === "href" && !web.test(value)) return;
    if (name === "value" && node.tagName === "INPUT") { if (node.defaultValue !== value) { node.defaultValue = value; if (document.activeElement !== node) node.value = value; } return; }
    if (value === true) value = "";
    if (value === false || value === null) { node.removeAttribute(name); return; }
    if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
  function style(node, wanted) {
    const text = JSON.stringify(wanted);
    if (node.styled === text) return;
    node.style.cssText = "";
    for (const key in wanted) node.style.setProperty(key.startsWith("--") ? key : key.replace(/[A-Z]/g, (one) => "-" + one.toLowerCase()), wanted[key]);
    node.styled = text;
  }
  function make(node) {
    if (!Array.isArray(node)) return document.createTextNode(String(node));
    const element = document.createElement(tags.has(node[0]) ? node[0] : "span");
    dress(element, node);
    return element;
  }
  function dress(element, node) {
    const [, given, children] = node;
    for (const one of [...element.attributes]) if (!(one.name in given) && one.name !== "style" && one.name !== "open") element.removeAttribute(one.name);
    if (!given.style && element.styled) { element.style.cssText = ""; element.styled = ""; }
    for (const name in given) attribute(element, name, given[name]);
    fw.show(element, children);
  }
  const fits = (there, node) => Array.isArray(node) ? there.nodeType === 1 && there.tagName.toLowerCase() === node[0] : there.nodeType === 3;
  const key = (node) => Array.isArray(node) ? node[1]["data-id"] : undefined;

  fw.show = function (parent, given) {
    if (!parent) return;
    const nodes = Array.isArray(given) && (typeof given[0] !== "string" || !given[1] || Array.isArray(given[1]) || typeof given[1] !== "object") ? given : [given];
    const keyed = new Map();
    for (const child of parent.children) if (child.dataset.id) keyed.set(child.dataset.id, child);
    let at = parent.firstChild;
    for (const node of nodes) {
      const name = key(node);
      let there = name === undefined ? at : keyed.get(name);
      if (name === undefined && there && there.nodeType === 1 && there.dataset.id) there = null;
      if (there && fits(there, node)) {
        if (there === at) at = at.nextSibling; else parent.insertBefore(there, at);
        if (there.nodeType === 3) { if (there.data !== String(node)) there.data = String(node); } else dress(there, node);
      } else {
        const fresh = make(node);
        if (name === undefined && at && !(at.nodeType === 1 && at.dataset.id)) { const old = at; at = at.nextSibling; parent.replaceChild(fresh, old); } else parent.insertBefore(fresh, at);
      }
    }
    while (at) { const next = at.nextSibling; parent.removeChild(at); at = next; }
  };
})();
