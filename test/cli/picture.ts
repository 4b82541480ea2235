import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { chromium } from 'playwright-core'
import t from 'tap'
import { picture } from '../../src/cli/picture.ts'
import type { SoakReport } from '../../src/cli/soak.ts'
import { Timeline } from '../../src/cli/timeline.ts'
import { find } from '../fixtures/servers.ts'
import { mark, status } from '../fixtures/soak-report.ts'

const MiB = 1024 * 1024

/** Returns the report of a run of one minute, in which the ends took turns to renegotiate every 10 s. */
function report(more: Partial<SoakReport> = {}): SoakReport {
  const timeline = new Timeline()
  for (let quarter = 0; quarter < 240; quarter++) {
    const at = quarter * 250
    timeline.status(at, 'client', status(quarter * 20 * MiB, quarter * 10 * MiB, 100 * MiB))
    timeline.status(at, 'server', status(0, 0, 90 * MiB))
    if (quarter % 40 !== 20) continue
    const origin = quarter % 80 === 20 ? 'local' : 'peer'
    timeline.mark(at, 'client', mark(origin, 2))
    timeline.mark(at, 'server', mark(origin === 'peer' ? 'local' : 'peer', 3))
  }
  // A second renegotiation in the same column.
  timeline.mark(55_000, 'client', mark('peer', 1))
  const hold = { count: 7, minMs: 1, meanMs: 2, maxMs: 3 }
  return {
    verdict: 'passed',
    problems: [],
    startedAt: new Date(0).toISOString(),
    node: '20.19.0',
    openssl: '3.0.16',
    protocol: 'TLSv1.2',
    cipher: 'ECDHE-PSK-CHACHA20-POLY1305',
    kind: 'renegotiation',
    options: {
      tls: '1.2',
      duration: 60_000,
      everyMs: [7000, 14_000],
      chunkBytes: [1, 2],
      seed: 1,
      stall: 60_000,
      server: null,
      mode: 'both ends are ours',
    },
    interrupted: false,
    milliseconds: 60_000,
    bytes: { toServer: 4800 * MiB, toClient: 2400 * MiB },
    intact: true,
    renegotiations: { byClient: 3, byServer: 4, unanswered: 0 },
    hold: { client: hold, server: hold },
    rss: { client: [1, 1], server: [1, 1] },
    timeline: { columnMs: timeline.columnMs, columns: timeline.columns },
    ...more,
  }
}

const executablePath = ['chromium', 'chromium-browser', 'google-chrome'].map(find).find((path) => path !== undefined)

t.test('a browser shows the soak picture', { skip: executablePath === undefined && 'needs Chromium' }, async (t) => {
  const directory = t.testdir({ 'soak.svg': picture(report()) })
  const browser = await chromium.launch({ executablePath: executablePath as string, args: ['--no-sandbox'] })
  t.teardown(() => browser.close())
  const page = await browser.newPage({ viewport: { width: 1240, height: 800 } })
  await page.goto(pathToFileURL(join(directory, 'soak.svg')).href)

  t.test('the picture marks every renegotiation, visibly and in order', async (t) => {
    for (const [begunBy, count] of Object.entries({ client: 3, server: 3 })) {
      const marks = await page.locator(`g.renegotiation.${begunBy}`).all()
      t.equal(marks.length, count)
      let last = 0
      for (const each of marks) {
        t.ok(await each.isVisible())
        const { x, y, width, height } = (await each.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 }
        t.ok(
          x > last && width > 0 && height > 100 && x + width < 1240 && y + height < 800,
          `${x}, ${y}, ${width}, ${height}`,
        )
        last = x
      }
    }
    const titles = await page.locator('g.renegotiation title').allTextContents()
    t.equal(titles[0], 'renegotiation begun by the client at 5 s')
    t.equal(titles.at(-1), '2 renegotiations begun by the server at 55 s')
  })

  t.test('the picture shows how long each end held its writes', async (t) => {
    const holds = page.locator('circle.hold')
    t.equal(await holds.count(), 12)
    t.equal(await holds.first().locator('title').textContent(), 'client held for 2.00 ms at 5 s')
  })

  t.test('no text of the picture overlaps another text or leaves the picture', async (t) => {
    const boxes = await page.locator('text').evaluateAll((texts) =>
      texts.map((text) => {
        const { left, right, top, bottom } = (
          text as unknown as { getBoundingClientRect(): Box }
        ).getBoundingClientRect()
        return { words: text.textContent, left, right, top, bottom }
      }),
    )
    t.ok(boxes.length > 15)
    const upon = boxes.flatMap((one, index) =>
      boxes.slice(index + 1).flatMap((other) => (overlap(one, other) ? [`${one.words} | ${other.words}`] : [])),
    )
    t.same(upon, [])
    t.same(
      boxes.filter(({ left, right, top, bottom }) => left < 0 || top < 0 || right > 1240 || bottom > 800),
      [],
    )
  })

  t.test('the picture refers to no other file, and has a text alternative for screen readers', async (t) => {
    t.notMatch(picture(report()), /(?:href|src|url\()/)
    t.equal(await page.locator('svg').getAttribute('aria-label'), 'passed: 1 min, 7 renegotiations, both ends')
  })
})

interface Box {
  left: number
  right: number
  top: number
  bottom: number
}

function overlap(one: Box, other: Box): boolean {
  const apart = one.right <= other.left || other.right <= one.left || one.bottom <= other.top || other.bottom <= one.top
  return !apart
}

t.test('picture() draws a run that failed before it began', async (t) => {
  const svg = picture(
    report({
      verdict: 'failed',
      protocol: null,
      cipher: null,
      milliseconds: 0,
      bytes: { toServer: 0, toClient: 0 },
      hold: { client: null, server: null },
      timeline: { columnMs: 250, columns: [] },
    }),
  )
  t.match(svg, /failed: 0 s/)
  t.notMatch(svg, /NaN|Infinity|undefined|null/)
})

t.test('picture() draws a run of several weeks', async (t) => {
  const { columns } = report().timeline
  const svg = picture(report({ timeline: { columnMs: 10_000_000, columns } }))
  t.match(svg, />168 h</)
  t.notMatch(svg, /NaN|Infinity|undefined/)
})

t.test('picture() draws a run of a single column', async (t) => {
  const [column] = report().timeline.columns
  t.notMatch(
    picture(report({ timeline: { columnMs: 250, columns: column ? [column] : [] } })),
    /NaN|Infinity|undefined/,
  )
})

t.test("picture() escapes special characters in the server's name", async (t) => {
  const { options } = report()
  const svg = picture(report({ options: { ...options, server: '<&">:1' } }))
  t.match(svg, /&#60;&#38;&#34;&#62;:1/)
  t.notMatch(svg, '<&">')
})
