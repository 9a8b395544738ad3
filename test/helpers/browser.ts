import { existsSync } from 'node:fs';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import type { Test } from 'tap';
import type { Owner } from './backend.js';

const program = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path));

const advice = 'Chromium is missing: apt-get install chromium';

/** Whether Chromium is installed. Where it is not, says so: a skipped test, or under `CI=true` a failed one. */
export function hasBrowser(t: Pick<Test, 'pass' | 'fail'>): boolean {
  if (program !== undefined) return true;
  if (process.env.CI === 'true') t.fail(advice);
  else t.pass('Chromium', { skip: advice });
  return false;
}

/**
 * Starts Chromium without a window; it is closed when the test ends.
 *
 * @throws where it does not start; call `hasBrowser` first
 */
export async function startBrowser(t: Owner): Promise<Browser> {
  // Its sandbox needs rights that containers do not give; it loads nothing but the test's own pages.
  const browser = await chromium.launch({ executablePath: program ?? 'chromium', args: ['--no-sandbox'] });
  t.teardown(() => browser.close());
  return browser;
}

/** What a script gives to fetch(). */
export interface ScriptRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly credentials?: 'include' | 'omit';
}

/** What a script is told: an answer with the fields that it may read, or the name of the exception. */
export type ScriptAnswer =
  | {
      readonly status: number;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: string;
      readonly error?: undefined;
    }
  | {
      readonly status?: undefined;
      readonly headers?: undefined;
      readonly body?: undefined;
      readonly error: string;
    };

/** A script of a page. */
export interface Script {
  fetch(url: string, init?: ScriptRequest): Promise<ScriptAnswer>;
}

/** Opens a page, with an empty cache and the cookies given, whose script can be told to fetch something. */
export async function openPage(
  browser: Browser,
  url: string,
  cookies: Parameters<BrowserContext['addCookies']>[0] = [],
): Promise<Script> {
  const context = await browser.newContext();
  await context.addCookies(cookies);
  const page = await context.newPage();
  await page.goto(url);
  return { fetch: (target, init = {}) => fetchFrom(page, target, init) };
}

function fetchFrom(page: Page, url: string, init: ScriptRequest): Promise<ScriptAnswer> {
  return page.evaluate(
    async ([target, options]): Promise<ScriptAnswer> => {
      try {
        const response = await fetch(target, options);
        const { status, headers } = response;
        return { status, headers: Object.fromEntries(headers.entries()), body: await response.text() };
      } catch (thrown) {
        return { error: (thrown as Error).name };
      }
    },
    [url, init] as const,
  );
}
