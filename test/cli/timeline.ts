import t from 'tap'
import { Timeline } from '../../src/cli/timeline.ts'
import { mark, status } from '../fixtures/soak-report.ts'

t.test('Timeline adds what the client sends and receives to the column of that time', async (t) => {
  const timeline = new Timeline()
  timeline.status(10, 'client', status(100, 50, 7, 20))
  timeline.status(260, 'client', status(300, 60, 8))
  timeline.status(490, 'client', status(301, 60, 9))
  timeline.status(499, 'server', status(9999, 9999, 5))
  t.equal(timeline.columnMs, 250)
  t.match(timeline.columns, [
    { toServer: 80, toClient: 50, clientRss: 7, serverRss: 0 },
    { toServer: 221, toClient: 10, clientRss: 9, serverRss: 5 },
  ])
})

t.test('Timeline counts the renegotiations of the client, and keeps the longest hold of each end', async (t) => {
  const timeline = new Timeline()
  timeline.mark(600, 'client', mark('local', 3))
  timeline.mark(610, 'client', mark('local', 5))
  timeline.mark(620, 'client', mark('peer', 1))
  timeline.mark(620, 'server', mark('local', 2))
  timeline.mark(630, 'server', mark('peer', 1))
  t.equal(timeline.columns.length, 3)
  t.match(timeline.columns[2], { byClient: 2, byServer: 1, clientHoldMs: 5, serverHoldMs: 2 })
})

t.test('Timeline merges columns in a long run, so that their number is limited and no count is lost', async (t) => {
  const timeline = new Timeline()
  const quarters = 3 * Timeline.MAX_COLUMNS
  for (let i = 0; i <= quarters; i++) {
    timeline.status(i * 250, 'client', status(i * 10, i, i + 1))
    timeline.status(i * 250, 'server', status(0, 0, i + 1))
    timeline.mark(i * 250, 'client', mark(i % 2 ? 'local' : 'peer', i))
    timeline.mark(i * 250, 'server', mark('local', i))
  }
  const { columns } = timeline
  t.equal(timeline.columnMs, 1000)
  t.ok(columns.length <= Timeline.MAX_COLUMNS)
  t.equal(columns.length, Math.floor(quarters / 4) + 1)
  const sum = (name: 'toServer' | 'toClient' | 'byClient' | 'byServer') =>
    columns.reduce((total, column) => total + column[name], 0)
  t.equal(sum('toServer'), quarters * 10)
  t.equal(sum('toClient'), quarters)
  t.equal(sum('byClient') + sum('byServer'), quarters + 1)
  t.match(columns[10], { clientHoldMs: 43, serverHoldMs: 43, clientRss: 44, serverRss: 44 })
})

t.test('Timeline keeps the values of a last column that has no neighbour to merge with', async (t) => {
  const timeline = new Timeline()
  timeline.status(0, 'client', status(5, 0, 7))
  timeline.status(250 * Timeline.MAX_COLUMNS, 'client', status(6, 0, 8))
  t.match(timeline.columns[0], { toServer: 5, clientRss: 7 })
})

t.test('Timeline reports the median memory use of the first and the last third of the run', async (t) => {
  const timeline = new Timeline()
  t.same(timeline.memory('client'), [0, 0])
  for (const [index, rss] of [10, 30, 20, 0, 50, 60, 40].entries()) {
    timeline.status(index * 250, 'client', status(0, 0, rss))
  }
  t.same(timeline.memory('client'), [30, 60])
  t.same(timeline.memory('server'), [0, 0])
})
