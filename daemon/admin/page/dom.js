// SPDX-License-Identifier: Apache-2.0
// Building and changing elements. Names come from pods and their clients, so text only ever
// becomes a text node or an attribute value: this file is the one place where that happens.

const SVG = "http://www.w3.org/2000/svg";

// Control characters and direction overrides can make one name look like another: they are
// written out instead.
const DECEPTIVE_CLASS =
  "[\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f" +
  "\\ufeff\\ufff9-\\ufffb]";
const DECEPTIVE = new RegExp(DECEPTIVE_CLASS);
const EACH_DECEPTIVE = new RegExp(DECEPTIVE_CLASS, "g");

function writtenOut(character) {
  return "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0");
}

export function visible(text) {
  const written = String(text);
  return DECEPTIVE.test(written) ? written.replace(EACH_DECEPTIVE, writtenOut) : written;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

function configure(element, props) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) {
        element.addEventListener(event, handler);
      }
    } else {
      element.setAttribute(name, value === true ? "" : visible(value));
    }
  }
  return element;
}

export function h(tag, props, ...children) {
  return append(configure(document.createElement(tag), props), children);
}

export function svg(tag, props, ...children) {
  return append(configure(document.createElementNS(SVG, tag), props), children);
}

export function byId(id) {
  return document.getElementById(id);
}

// Touches the document only when something changed: most cells of a poll did not.
export function setText(element, text) {
  const wanted = visible(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function setAttr(element, name, value) {
  const isRead = name === "title" || name === "aria-label";
  const wanted = isRead ? visible(value) : String(value);
  if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
}

export function setClass(element, value) {
  setAttr(element, "class", value);
}

export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

export function setWidth(element, fraction) {
  const width = (Math.min(1, Math.max(0, fraction)) * 100).toFixed(2) + "%";
  if (element.style.width !== width) element.style.width = width;
}

// Puts the children into this order and removes the others; those already in place stay
// untouched, so that focus and text selection survive an update.
export function arrange(parent, children) {
  let at = parent.firstChild;
  for (const child of children) {
    if (child === at) {
      at = at.nextSibling;
    } else {
      parent.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// Draws at once when the element is on or near the screen, otherwise when it comes there: a poll
// then costs what is looked at, however long the lists are.
export class Lazily {
  constructor(element, draw) {
    this.draw = draw;
    this.isNear = true;
    this.isDue = false;
    const observer = new IntersectionObserver(
      (entries) => {
        this.isNear = entries[entries.length - 1].isIntersecting;
        if (this.isNear && this.isDue) this.request();
      },
      { rootMargin: "200px" },
    );
    observer.observe(element);
  }

  // The first time always: the page then has its height, and a link into it finds its place.
  request() {
    const isWanted = this.isNear || !this.hasDrawn;
    this.hasDrawn = true;
    this.isDue = !isWanted;
    if (isWanted) this.draw();
  }
}

// Keeps one element per key across updates: make once, change often.
export class Keyed {
  constructor(parent, make, change) {
    this.parent = parent;
    this.make = make;
    this.change = change;
    this.kept = new Map();
  }

  update(items, keyOf) {
    const next = new Map();
    for (const item of items) {
      const key = keyOf(item);
      if (next.has(key)) continue;
      const entry = this.kept.get(key) || this.make(item);
      this.change(entry, item);
      next.set(key, entry);
    }
    this.kept = next;
    arrange(this.parent, [...next.values()].map((entry) => entry.element));
  }
}
