// Two editors of one document. What matters is in `save`: it sends the ETag that came with what the user has read.

const byId = (id) => document.getElementById(id);
const chosen = byId('document');
const unconditional = byId('unconditional');

/** The save that succeeded last, to see when another one replaces it unread. */
let lastSave;

/** One line for each exchange, the newest first. */
function record(person, request, outcome, succeeded) {
  const line = document.createElement('li');
  for (const [text, className] of [[person], [request], [outcome, succeeded ? 'passed' : 'failed']]) {
    const part = document.createElement('span');
    part.textContent = text;
    if (className) part.className = className;
    line.append(part);
  }
  const wire = byId('wire');
  wire.prepend(line);
  while (wire.children.length > 30) wire.lastChild.remove();
}

/** Sends a request and records it. The answer's body comes as text; a network failure is thrown on. */
async function exchange(person, method, path, headers = {}, body = undefined) {
  const shown = `${method} ${path}${headers['If-Match'] ? `  If-Match: ${headers['If-Match']}` : ''}`;
  try {
    const answer = await fetch(path, { method, headers, body, cache: 'no-store' });
    const text = await answer.text();
    record(person, shown, `${answer.status} ${answer.statusText}`, answer.ok);
    return { ok: answer.ok, status: answer.status, etag: answer.headers.get('ETag'), text };
  } catch (error) {
    record(person, shown, 'no answer', false);
    throw error;
  }
}

/**
 * Longest common subsequence of lines, as steps: `same`, `mine` (only in the first text), `theirs` (only in the second).
 */
function compareLines(mine, theirs) {
  const a = mine.split('\n');
  const b = theirs.split('\n');
  const length = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  const steps = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      steps.push({ kind: 'same', line: a[i] });
      i++;
      j++;
    } else if (j === b.length || (i < a.length && length[i + 1][j] >= length[i][j + 1])) {
      steps.push({ kind: 'mine', line: a[i++] });
    } else {
      steps.push({ kind: 'theirs', line: b[j++] });
    }
  }
  return steps;
}

/**
 * Both sides' changes to what they started from. A line that only one side still has, and that was there before, was
 * removed by the other side; one that is new stays. Where both changed a line, both versions of it stay, to be seen.
 */
function mergeLines(base, mine, theirs) {
  const before = new Set(base.split('\n'));
  return compareLines(mine, theirs)
    .filter(({ kind, line }) => kind === 'same' || !before.has(line))
    .map(({ line }) => line)
    .join('\n');
}

/** The members that this page edits, as strings; the others are kept as they are. */
function read(text) {
  const content = JSON.parse(text);
  return { content, title: String(content.title ?? ''), text: String(content.text ?? ''), raw: text };
}

/** Adds one person's editor to the page; returns what the page needs of it. */
function createEditor(person) {
  const root = byId('editor').content.firstElementChild.cloneNode(true);
  const part = (selector) => root.querySelector(selector);
  const titleField = part('[name=title]');
  const textField = part('[name=text]');

  /** What this person has read: the document and the ETag that came with it. */
  let base;
  let etag;
  /** The current document while it is being compared, with its ETag. */
  let current;

  const path = () => `/docs/${encodeURIComponent(chosen.value)}`;
  const isChanged = () => base !== undefined && (titleField.value !== base.title || textField.value !== base.text);

  function say(text, good = false) {
    part('.status').textContent = text;
    part('.status').classList.toggle('good', good);
  }

  function adopt(document, tag) {
    base = document;
    etag = tag;
    part('.version').textContent = etag ?? 'no version known';
    part('.version').title = etag ? `ETag: ${etag}` : '';
  }

  function fill({ title, text }) {
    titleField.value = title;
    textField.value = text;
  }

  function showCurrent(document) {
    current = document;
    part('.current').hidden = current === undefined;
    part('.merge').hidden = current === undefined;
    if (current === undefined) return;
    part('.problem').hidden = true;
    part('.current-title').textContent = current.title;
    const lines = compareLines(textField.value, current.text).map(({ kind, line }) => {
      const span = globalThis.document.createElement(kind === 'mine' ? 'del' : kind === 'theirs' ? 'ins' : 'span');
      span.className = kind;
      span.textContent = line || ' ';
      return span;
    });
    part('pre').replaceChildren(...lines);
  }

  function showProblem(answer) {
    let problem = {};
    try {
      problem = JSON.parse(answer.text);
    } catch {
      problem = { detail: answer.text };
    }
    part('.problem h3').textContent = `${answer.status} ${problem.title ?? 'The request failed'}`;
    part('.detail').textContent = problem.detail ?? problem.error ?? '';
    part('.next').textContent = problem.next ?? '';
    part('[name=compare]').hidden = answer.status !== 412;
    part('.problem').hidden = false;
  }

  function clear() {
    part('.problem').hidden = true;
    showCurrent(undefined);
  }

  /** Reads the document. What the person has typed stays, with the current text beside it. */
  async function load() {
    const keep = isChanged();
    const answer = await exchange(person, 'GET', path(), { Accept: 'application/json' });
    clear();
    if (!answer.ok) {
      say('');
      showProblem(answer);
      return;
    }
    const document = { ...read(answer.text), etag: answer.etag };
    if (keep && document.raw !== base.raw) {
      showCurrent(document);
      say('Your text is still here; the current one stands beside it.');
      return;
    }
    adopt(document, document.etag);
    if (!keep) fill(document);
    say(
      etag ? (keep ? 'Nobody changed it meanwhile.' : 'Loaded.') : 'Loaded without an ETag: saves cannot be checked.',
    );
  }

  async function save() {
    const isUnchecked = unconditional.checked;
    if (base === undefined || (!etag && !isUnchecked)) {
      say('Load it first: a save with If-Match needs the ETag of what you have read.');
      return;
    }
    byId('lost').hidden = true;
    const body = JSON.stringify({ ...base.content, title: titleField.value, text: textField.value });
    const headers = { 'Content-Type': 'application/json', Accept: 'application/json' };
    if (!isUnchecked) headers['If-Match'] = etag;
    const answer = await exchange(person, 'PUT', path(), headers, body);
    clear();
    if (!answer.ok) {
      say('Not saved. Your text is untouched.');
      showProblem(answer);
      return;
    }
    if (isUnchecked) reportLoss();
    lastSave = { person, path: path(), raw: body };
    adopt(read(body), answer.etag);
    if (etag) say('Saved.', true);
    else say('Saved unchecked. The answer carries no ETag: load it before the next save with If-Match.');
  }

  /** A save that replaced another person's, which this one had never read: what If-Match prevents. */
  function reportLoss() {
    if (lastSave === undefined || lastSave.person === person || lastSave.path !== path()) return;
    if (lastSave.raw === base.raw) return;
    byId('lost').textContent =
      `Lost update: ${person}’s save replaced ${lastSave.person}’s, which ${person} had never read. Nobody was told.`;
    byId('lost').hidden = false;
  }

  /** Ends the comparison: from here on this person has read the current document. */
  function resolve({ title, text }, message) {
    adopt(current, current.etag);
    fill({ title, text });
    showCurrent(undefined);
    say(message);
    part('[name=save]').focus();
  }

  const mine = () => ({ title: titleField.value, text: textField.value });

  const actions = {
    load,
    save,
    compare: load,
    merge() {
      const title = titleField.value === base.title ? current.title : titleField.value;
      const text = mergeLines(base.text, textField.value, current.text);
      resolve({ title, text }, 'Merged. Look it over, then save.');
    },
    keep: () => resolve(mine(), 'Kept yours. The next save replaces the current one, knowingly.'),
    take: () => resolve(current, 'Took the current one.'),
  };

  /** One action at a time; a failure of the network is said, not thrown. */
  async function run(action) {
    if (root.ariaBusy === 'true') return;
    root.ariaBusy = 'true';
    try {
      await action();
    } catch (error) {
      say(`No answer: ${error.message}.`);
    } finally {
      root.ariaBusy = 'false';
    }
  }

  root.dataset.person = person;
  root.setAttribute('aria-label', `${person}’s editor`);
  part('.initial').textContent = person[0];
  part('h2').textContent = person;
  root.addEventListener('click', (event) => {
    const action = actions[event.target.closest('button')?.name];
    if (action) void run(action);
  });
  byId('editors').append(root);

  return {
    /** Forgets what was typed and loads the chosen document. */
    open() {
      base = undefined;
      return run(load);
    },
  };
}

async function start() {
  const editors = [createEditor('Ada'), createEditor('Grace')];
  const answer = await exchange('Page', 'GET', '/docs', { Accept: 'application/json' });
  for (const { id, title } of answer.ok ? JSON.parse(answer.text) : []) {
    chosen.append(new Option(`${id}: ${title ?? ''}`, id));
  }
  const open = () => Promise.all(editors.map((editor) => editor.open()));
  chosen.addEventListener('change', open);
  await open();
}

await start();
