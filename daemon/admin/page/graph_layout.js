// SPDX-License-Identifier: Apache-2.0
// A layered drawing, callers left of the called. The same services always give the same
// picture: every choice is broken by name, nothing is random.

const BEND_GAP = 10;
const SWEEPS = 8;

function adjacency(nodes, edges, from, to) {
  const next = new Map(nodes.map((node) => [node.id, []]));
  for (const edge of edges) if (edge[from] !== edge[to]) next.get(edge[from]).push(edge[to]);
  return next;
}

// Edges that close a cycle are laid out the other way round.
function findBackEdges(nodes, edges) {
  const next = adjacency(nodes, edges, "source", "target");
  const called = new Set(edges.filter((e) => e.source !== e.target).map((e) => e.target));
  const roots = nodes.filter((node) => !called.has(node.id));
  const state = new Map();
  const back = new Set();
  for (const root of [...roots, ...nodes]) {
    if (state.has(root.id)) continue;
    state.set(root.id, "open");
    const stack = [{ id: root.id, i: 0 }];
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const targets = next.get(top.id);
      if (top.i === targets.length) {
        state.set(top.id, "done");
        stack.pop();
        continue;
      }
      const target = targets[top.i];
      top.i += 1;
      if (state.get(target) === "open") back.add(top.id + "\u0000" + target);
      if (state.has(target)) continue;
      state.set(target, "open");
      stack.push({ id: target, i: 0 });
    }
  }
  return back;
}

function forward(edges, back) {
  return edges
    .filter((edge) => edge.source !== edge.target)
    .map((edge) => {
      const isBack = back.has(edge.source + "\u0000" + edge.target);
      const [tail, head] = isBack ? [edge.target, edge.source] : [edge.source, edge.target];
      return { id: edge.id, tail, head, isBack };
    });
}

// The longest path from a caller that nobody calls; such a caller then moves next to what it
// calls first.
function assignLayers(nodes, links) {
  const next = adjacency(nodes, links, "tail", "head");
  const waiting = new Map(nodes.map((node) => [node.id, 0]));
  for (const link of links) waiting.set(link.head, waiting.get(link.head) + 1);
  const layers = new Map(nodes.map((node) => [node.id, 0]));
  const queue = nodes.filter((node) => waiting.get(node.id) === 0).map((node) => node.id);
  const roots = [...queue];
  for (let i = 0; i < queue.length; i += 1) {
    for (const head of next.get(queue[i])) {
      layers.set(head, Math.max(layers.get(head), layers.get(queue[i]) + 1));
      waiting.set(head, waiting.get(head) - 1);
      if (waiting.get(head) === 0) queue.push(head);
    }
  }
  for (const id of roots) {
    const heads = next.get(id).map((head) => layers.get(head));
    if (heads.length > 0) layers.set(id, Math.min(...heads) - 1);
  }
  return layers;
}

// A link over several layers passes through a point of each: it then has its own lane.
function buildLayers(nodes, links, layerOf) {
  const layers = [];
  const put = (layer, item) => (layers[layer] = layers[layer] || []).push(item);
  const items = new Map();
  for (const node of nodes) {
    const item = { node, height: node.height, layer: layerOf.get(node.id), left: [], right: [] };
    items.set(node.id, item);
    put(item.layer, item);
  }
  for (const link of links) {
    link.chain = [items.get(link.tail)];
    for (let i = layerOf.get(link.tail) + 1; i < layerOf.get(link.head); i += 1) {
      const bend = { node: null, height: 1, layer: i, left: [], right: [] };
      put(i, bend);
      link.chain.push(bend);
    }
    link.chain.push(items.get(link.head));
    for (let i = 1; i < link.chain.length; i += 1) {
      link.chain[i - 1].right.push(link.chain[i]);
      link.chain[i].left.push(link.chain[i - 1]);
    }
  }
  return { layers: Array.from(layers, (layer) => layer || []), items };
}

function number(layer) {
  layer.forEach((item, i) => {
    item.order = i;
  });
}

// Each item moves to the middle of its neighbours in the layer before, to and fro.
function orderLayers(layers) {
  layers.forEach(number);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const side = sweep % 2 === 0 ? "left" : "right";
    const path = sweep % 2 === 0 ? layers : [...layers].reverse();
    for (const layer of path) {
      for (const item of layer) {
        const near = item[side];
        const sum = near.reduce((total, other) => total + other.order, 0);
        item.wish = near.length > 0 ? sum / near.length : item.order;
      }
      layer.sort((a, b) => a.wish - b.wish || a.order - b.order);
      number(layer);
    }
  }
}

// Tall nodes carry labelled lines, which need room.
function gapBetween(above, below) {
  const nodeGap = Math.min(above.height, below.height) > 40 ? 30 : 14;
  const gap = above.node && below.node ? nodeGap : BEND_GAP;
  return gap + (above.height + below.height) / 2;
}

// Two placements that keep the distances, one pushed down and one pushed up; their mean keeps
// them as well and stays close to the wishes.
function placeNear(layer) {
  const down = [];
  layer.forEach((item, i) => {
    const least = i === 0 ? -Infinity : down[i - 1] + gapBetween(layer[i - 1], item);
    down.push(Math.max(item.wish, least));
  });
  const up = [];
  for (let i = layer.length - 1; i >= 0; i -= 1) {
    const isLast = i === layer.length - 1;
    const most = isLast ? Infinity : up[i + 1] - gapBetween(layer[i], layer[i + 1]);
    up[i] = Math.min(layer[i].wish, most);
  }
  layer.forEach((item, i) => {
    item.y = (down[i] + up[i]) / 2;
  });
}

function placeVertically(layers) {
  for (const layer of layers) {
    let y = 0;
    layer.forEach((item, i) => {
      y += i === 0 ? 0 : gapBetween(layer[i - 1], item);
      item.y = y;
    });
    const middle = y / 2;
    for (const item of layer) item.y -= middle;
  }
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const path = sweep % 2 === 0 ? layers : [...layers].reverse();
    for (const layer of path) {
      for (const item of layer) {
        const near = [...item.left, ...item.right];
        const sum = near.reduce((total, other) => total + other.y, 0);
        item.wish = near.length > 0 ? sum / near.length : item.y;
      }
      placeNear(layer);
    }
  }
}

function moveToOrigin(layers, padding) {
  let top = Infinity;
  let bottom = -Infinity;
  for (const item of layers.flat()) {
    top = Math.min(top, item.y - item.height / 2);
    bottom = Math.max(bottom, item.y + item.height / 2);
  }
  for (const item of layers.flat()) item.y += padding - top;
  return bottom - top + 2 * padding;
}

// Narrower nodes first, then narrower gaps; a drawing that still does not fit is scrolled.
function columns(amount, free, { minNode, maxNode, minGap, wantedGap, maxGap }) {
  const gaps = Math.max(1, amount - 1);
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const nodeWidth = clamp((free - gaps * wantedGap) / amount, minNode, maxNode);
  return { nodeWidth, gap: clamp((free - amount * nodeWidth) / gaps, minGap, maxGap) };
}

// nodes: {id, height}; edges: {id, source, target}. Gives the middle of each node and, per
// edge, the points it passes.
export function layOut(nodes, edges, shape) {
  const { width, padding } = shape;
  const back = findBackEdges(nodes, edges);
  const links = forward(edges, back);
  const { layers, items } = buildLayers(nodes, links, assignLayers(nodes, links));
  orderLayers(layers);
  placeVertically(layers);
  const height = moveToOrigin(layers, padding);
  const { nodeWidth, gap } = columns(layers.length, width - 2 * padding, shape);
  const used = layers.length * (nodeWidth + gap) - gap + 2 * padding;
  const inset = Math.max(padding, (width - used) / 2 + padding);
  const xOf = (layer) => inset + nodeWidth / 2 + layer * (nodeWidth + gap);
  const places = new Map();
  for (const [id, item] of items) places.set(id, { x: xOf(item.layer), y: item.y });
  const routes = new Map();
  for (const link of links) {
    const points = link.chain.map((item) => ({ x: xOf(item.layer), y: item.y }));
    routes.set(link.id, { points, isBack: link.isBack });
  }
  return { width: Math.max(width, used), height, nodeWidth, places, routes };
}
