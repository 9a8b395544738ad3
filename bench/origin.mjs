// The API behind everything: nginx with static files, and a PUT that it answers without a file.
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { find, freePort, start } from './machine.mjs';

const program = find('nginx');
const isRoot = process.getuid?.() === 0;

/** Sizes of the bodies that are read, by the name of their files. */
const sizes = { '1k': 1024, '64k': 64 * 1024 };

/**
 * Paths, each with anything behind it: `/native/1k/` answers with nginx's own tag, `/plain/1k/` without a validator,
 * `/versioned/` with the tag that the request names, so that an honest tag changes with each write though nothing is kept.
 */
export async function startOrigin() {
  if (program === undefined) throw new Error('nginx is missing: apt-get install nginx-light');
  const folder = folderOfFiles();
  const port = await freePort();
  writeFileSync(join(folder, 'nginx.conf'), configuration(folder, port));
  const origin = await startNginx('others', folder, port);
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    /** Requests that it was sent so far. */
    async requests() {
      const text = await (await fetch(`http://127.0.0.1:${port}/status`)).text();
      // Without this question and those before it.
      return Number(/\n\s*\d+ \d+ (\d+)/.exec(text)?.[1]);
    },
    async stop() {
      await origin.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

/** nginx as a peer: plain proxy_pass with connections kept. */
export async function startNginxProxy(origin, port) {
  const folder = mkdtempSync(join(tmpdir(), 'ifmatch-bench-'));
  mkdirSync(join(folder, 'temporary'));
  const server = `
    upstream origin { server 127.0.0.1:${origin.port}; keepalive 64; }
    server {
      listen 127.0.0.1:${port};
      location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
    }`;
  writeFileSync(join(folder, 'nginx.conf'), around(folder, server));
  return startNginx('measured', folder, port);
}

function startNginx(core, folder, port) {
  return start({ core, command: program, args: ['-p', folder, '-c', join(folder, 'nginx.conf')], port });
}

function folderOfFiles() {
  const folder = mkdtempSync(join(tmpdir(), 'ifmatch-bench-'));
  for (const name of ['files', 'temporary']) mkdirSync(join(folder, name));
  // Old enough for a tag of size and time to be told from the next one.
  const lastYear = Date.now() / 1000 - 365 * 24 * 3600;
  for (const [name, size] of Object.entries(sizes)) {
    const path = join(folder, 'files', `${name}.json`);
    writeFileSync(path, JSON.stringify({ filler: 'x'.repeat(size - 13) }));
    utimesSync(path, lastYear, lastYear);
  }
  return folder;
}

function configuration(folder, port) {
  const put = 'if ($request_method = PUT) { return 204; }';
  const files = Object.keys(sizes).map(
    (name) => `
      location /native/${name}/ { ${put} try_files /${name}.json =404; }
      location /plain/${name}/ { ${put} etag off; add_header Last-Modified ""; try_files /${name}.json =404; }`,
  );
  return around(
    folder,
    `map $request_method $version { PUT $http_x_cloud_trace_context; default $http_x_correlation_id; }
    server {
      listen 127.0.0.1:${port};
      root ${join(folder, 'files')};
      ${files.join('')}
      location /versioned/ {
        etag off;
        add_header Last-Modified "";
        add_header ETag '"$version"';
        if ($request_method = PUT) { return 204; }
        try_files /1k.json =404;
      }
      location = /status { stub_status; }
    }`,
  );
}

/** Root must not become nobody: its files. */
function around(folder, server) {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(folder, 'temporary', name)};`,
  );
  return `
daemon off;
${isRoot ? 'user root root;' : ''}
worker_processes 1;
pid ${join(folder, 'nginx.pid')};
error_log stderr;
events { worker_connections 2048; }
http {
  access_log off;
  default_type application/json;
  keepalive_requests 100000000;
  open_file_cache max=100;
  ${temporary.join('\n  ')}
  ${server}
}
`;
}
