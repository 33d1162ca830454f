'use strict';
(() => {
  // A sign-in service's answer must not stay in the address bar and the history.
  if (location.pathname + location.search !== '/') history.replaceState(null, '', '/');

  const content = document.getElementById('content');
  let ahead = 0; // of the browser's clock, in seconds

  const now = () => Math.floor(Date.now() / 1000) + ahead;
  const counted = (count, unit) => `${count} ${unit}${count === 1 ? '' : 's'} ago`;

  function ago(at) {
    const seconds = now() - at;
    if (seconds < 60) return 'just now';
    if (seconds < 3600) return counted(Math.floor(seconds / 60), 'minute');
    if (seconds < 86400) return counted(Math.floor(seconds / 3600), 'hour');
    return counted(Math.floor(seconds / 86400), 'day');
  }

  function left(until) {
    const seconds = Math.max(0, until - now());
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  }

  function write(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function tick() {
    for (const node of content.querySelectorAll('[data-at]')) write(node, ago(Number(node.dataset.at)));
    for (const node of content.querySelectorAll('[data-until]')) {
      if (Number(node.dataset.until) > now()) write(node, left(Number(node.dataset.until)));
      else write(node.parentElement, 'The code has expired.');
    }
  }

  const isSame = (a, b) =>
    a.nodeName === b.nodeName && a.id === b.id && (a.dataset || a).key === (b.dataset || b).key;

  // Makes `old` like `fresh` and touches only what differs, so that focus, selection and screen readers stay.
  function merge(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    let place = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      let found = place;
      while (found && !isSame(found, wanted)) found = found.nextSibling;
      if (!found) {
        old.insertBefore(wanted, place);
        continue;
      }
      while (place !== found) {
        const next = place.nextSibling;
        place.remove();
        place = next;
      }
      merge(found, wanted);
      place = found.nextSibling;
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  const panel = () => document.getElementById('next-sign-in') || document.getElementById('all-done');

  function adopt() {
    document.body.dataset.state = content.dataset.state;
    if (document.title !== content.dataset.title) document.title = content.dataset.title;
    const icon = document.getElementById('icon');
    if (icon.getAttribute('href') !== content.dataset.icon) icon.setAttribute('href', content.dataset.icon);
    ahead = Number(content.dataset.now) - Math.floor(Date.now() / 1000);
    tick();
  }

  function show(html) {
    const fresh = document.createElement('template');
    fresh.innerHTML = html;
    // That is for pages without a script; here the rule below decides.
    for (const node of fresh.content.querySelectorAll('[autofocus]')) node.autofocus = false;
    const before = panel();
    const key = before?.dataset.key;
    merge(content, fresh.content.firstElementChild);
    adopt();
    // Focus comes along only if nobody has it: it never moves away from where the user put it.
    const after = panel();
    if (after && after.dataset.key !== key && (document.activeElement || document.body) === document.body) {
      after.querySelector('[data-primary]')?.focus();
    }
  }

  function over() {
    document.body.dataset.state = 'ended';
    write(document.getElementById('overall'), content.dataset.over);
    document.title = `${content.dataset.over} – cms`;
    for (const button of content.querySelectorAll('button')) button.disabled = true;
  }

  let stream, pause, doubt;
  let pauseMillis = 1000;

  function connect() {
    clearTimeout(pause);
    stream?.close();
    stream = new EventSource('/events');
    stream.addEventListener('page', (event) => {
      clearTimeout(doubt);
      doubt = undefined;
      pauseMillis = 1000;
      show(event.data);
    });
    stream.addEventListener('ended', over);
    // The browser would try again by itself, but not after every kind of error, and never more slowly.
    stream.addEventListener('error', () => {
      stream.close();
      doubt ??= setTimeout(over, 1200);
      pause = setTimeout(connect, pauseMillis);
      pauseMillis = Math.min(pauseMillis * 1.5, 10000);
    });
  }

  addEventListener('pagehide', () => {
    clearTimeout(pause);
    clearTimeout(doubt);
    doubt = undefined;
    stream?.close();
  });
  addEventListener('pageshow', (event) => {
    if (event.persisted) connect();
  });
  addEventListener('online', connect);

  adopt();
  setInterval(tick, 1000);
  connect();
})();
