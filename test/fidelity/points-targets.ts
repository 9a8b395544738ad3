import { chunked, exchange, type Point, printable, request } from './point.js';

const targets = [
  ['double-slash', '//x'],
  ['inner-slashes', '/a//b///'],
  ['dot-dot', '/a/../b'],
  ['dot', '/a/./b'],
  ['encoded-slash', '/a%2Fb'],
  ['encoded-dots', '/a/%2e%2e/b'],
  ['plus', '/a+b?c+d=e+f'],
  ['encoded-utf-8', '/caf%C3%A9?q=%E2%82%AC'],
  ['raw-utf-8', '/caf\xc3\xa9?q=\xe2\x82\xac'],
  ['encoded-tilde', '/%7euser'],
  ['lower-hex', '/%c3%a9%3F'],
  ['broken-percent', '/100%?q=%zz'],
  ['empty-query', '/x?'],
  ['question-marks', '/x??a=b?c'],
  ['semicolons', '/a;v=1/b;w?c;d'],
  ['query-order', '/x?b=1&&a=2&b=&=3'],
  ['query-rare', '/x?q="<>`{}|^[]\''],
  ['path-rare', '/a:b@c!$&\'()*,="<>{}|^`'],
  ['colon', '/http://b.example/x'],
  ['long', `/${'p'.repeat(3000)}?${'q'.repeat(3000)}`],
] as const;

const methods = ['PROPFIND', 'REPORT', 'PURGE', 'SEARCH', 'QUERY', 'MKCALENDAR', 'M-SEARCH', 'TRACE', 'LINK', 'BREW'];

/** Request-targets and methods. */
export const targetPoints: readonly Point[] = [
  ...targets.map(([id, target]) => ({
    id: `target-${id}`,
    title: `Target \`${target.length > 60 ? `${target.slice(0, 20)}...\` of ${target.length} octets` : `${printable(target).replaceAll('`', "'")}\``}`,
    run: exchange({ sends: [request(`GET ${target}`), request(`PUT ${target}`, ['Content-Length: 1'], 'x')] }),
  })),
  {
    id: 'target-absolute',
    title: 'Target in absolute form',
    run: exchange({ sends: request('GET http://b.example:81/a/../b?c') }),
  },
  { id: 'target-asterisk', title: '`OPTIONS *`', run: exchange({ sends: request('OPTIONS *') }) },
  ...methods.map((method) => ({
    id: `method-${method.toLowerCase()}`,
    title: `Method ${method}`,
    run: exchange({
      sends:
        method === 'TRACE'
          ? request('TRACE /x')
          : [
              request(`${method} /x`, ['Content-Length: 4'], 'body'),
              request(`${method} /x`, ['Transfer-Encoding: chunked'], chunked(['body'])),
            ],
    }),
  })),
];
