// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them: few digits, always a unit, and a space that does not break.

const NB = "\u00a0";
export const NONE = "–";

export function text(value) {
  if (typeof value === "string") return value;
  return value === null || value === undefined ? "" : String(value);
}

export function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

export function list(value) {
  return Array.isArray(value) ? value : [];
}

// Three digits at most, so that a column keeps its width while the numbers move.
function digits(value) {
  if (value === 0) return "0";
  if (value < 0.01) return "<0.01";
  if (value < 1) return value.toFixed(2);
  if (value < 99.95) return value.toFixed(1);
  return Math.round(value).toString();
}

export function scaled(value) {
  if (value < 999.5) return digits(value);
  if (value < 999500) return digits(value / 1e3) + NB + "k";
  if (value < 999.5e6) return digits(value / 1e6) + NB + "M";
  return digits(value / 1e9) + NB + "G";
}

export function count(value) {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function rate(perSecond) {
  return scaled(perSecond) + "/s";
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return (unit === 0 ? Math.round(value).toString() : digits(value)) + NB + units[unit];
}

export function millis(value) {
  if (value === 0) return "0" + NB + "ms";
  if (value < 1) return value.toFixed(2) + NB + "ms";
  if (value < 999.5) return digits(value) + NB + "ms";
  if (value < 120000) return (value / 1000).toFixed(value < 9995 ? 2 : 1) + NB + "s";
  return digits(value / 60000) + NB + "min";
}

export function micros(value) {
  return value < 999.5 ? digits(value) + NB + "µs" : millis(value / 1000);
}

// Never rounded up to 100: one failure in a million is a failure.
export function success(fraction) {
  if (fraction >= 1 || fraction <= 0) return (fraction >= 1 ? "100" : "0") + NB + "%";
  return (Math.floor(fraction * 1000) / 10).toFixed(1) + NB + "%";
}

export function share(fraction) {
  if (fraction === 0 || fraction === 1) return fraction * 100 + NB + "%";
  return (fraction * 100).toFixed(1) + NB + "%";
}

export function roundShare(fraction) {
  return Math.round(fraction * 100) + "%";
}

// Part of a core: most pods cost far less than one percent.
export function core(fraction) {
  return fraction * 100 < 99.95 ? digits(fraction * 100) + NB + "%" : share(fraction);
}

export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return seconds + NB + "s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes + NB + "min" + NB + (seconds % 60) + NB + "s";
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours + NB + "h" + NB + (minutes % 60) + NB + "min";
  return Math.floor(hours / 24) + NB + "d" + NB + (hours % 24) + NB + "h";
}

function two(value) {
  return String(value).padStart(2, "0");
}

export function clock(unixMs) {
  const at = new Date(unixMs);
  return two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
}

export function dayAndClock(unixMs) {
  const at = new Date(unixMs);
  const day = at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate());
  return day + " " + clock(unixMs);
}

export function plural(amount, one, many) {
  return count(amount) + NB + (amount === 1 ? one : many);
}

export function clip(value, length) {
  const letters = [...value];
  return letters.length <= length ? value : letters.slice(0, length - 1).join("") + "…";
}

// v2 before v10, and the same order on every machine.
const NATURAL = new Intl.Collator("en", { numeric: true });

export function byName(left, right) {
  if (left === right) return 0;
  return NATURAL.compare(left, right) || (left < right ? -1 : left > right ? 1 : 0);
}
