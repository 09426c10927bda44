// SPDX-License-Identifier: Apache-2.0
// Asks for one address again and again, never twice at a time, and not while nobody looks.

const TIMEOUT_MS = 5000;

export async function getJson(path) {
  const answer = await fetch(path, {
    cache: "no-store",
    credentials: "same-origin",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!answer.ok) {
    const error = new Error("the daemon answered " + answer.status);
    error.status = answer.status;
    throw error;
  }
  return answer.json();
}

export class Poller {
  constructor({ path, everyMs, onData, onFailure }) {
    Object.assign(this, { path, everyMs, onData, onFailure });
    this.isWanted = true;
    this.isRunning = false;
    this.timer = null;
    document.addEventListener("visibilitychange", () => this.wake());
  }

  want(isWanted) {
    this.isWanted = isWanted;
    this.wake();
  }

  // What is asked for has changed: not after the usual time.
  again() {
    this.isStale = this.isRunning;
    this.wake();
  }

  isActive() {
    return this.isWanted && document.visibilityState !== "hidden";
  }

  wake() {
    clearTimeout(this.timer);
    if (this.isActive() && !this.isRunning) this.run();
  }

  async run() {
    this.isRunning = true;
    const begun = performance.now();
    let wait = this.everyMs;
    try {
      const data = await getJson(this.path());
      wait = this.onData(data) ?? this.everyMs;
    } catch (error) {
      // A mistake in drawing is a failure too: the page must not look live and be frozen.
      console.error(error);
      this.onFailure(error);
    }
    this.isRunning = false;
    clearTimeout(this.timer);
    if (!this.isActive()) return;
    if (this.isStale) {
      this.isStale = false;
      wait = 0;
    }
    const spent = performance.now() - begun;
    this.timer = setTimeout(() => this.wake(), Math.max(200, wait - spent));
  }
}
